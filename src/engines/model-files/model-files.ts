/**
 * How large a model is, from its files: those on this machine first, then what a hub says of them, then what it said
 * earlier. Never rejects: what cannot be found out comes with the reason and what would help.
 */
import type { ModelSize } from '../../core/memory/model-shape.ts';
import type { Platform } from '../../platform/platform.ts';
import { MINUTE, type Milliseconds } from '../../units.ts';
import { sizeFrom, type RepoFacts, type SizeHints } from './facts.ts';
import { hubGguf, localGguf, urlGguf } from './gguf-files.ts';
import { baseNames, ggufOf, type GgufReference } from './gguf-reference.ts';
import { createHub, type Hub } from './hub-client.ts';
import { askFacts, askInfo, filePath, type HubLook, type Place } from './hub-facts.ts';
import { fieldOf, objectAt, type JsonObject } from './json.ts';
import { factsOfFolder, snapshotFolder, type LocalFacts } from './local-files.ts';
import { quietly } from './quietly.ts';
import { createSizeStore, type SizeStore } from './size-store.ts';

export interface ModelFilesOptions {
  readonly platform: Pick<Platform, 'files' | 'http' | 'clock'>;
  /** `https://huggingface.co` or a mirror. */
  readonly hub: string;
  /** Folders that hold `models--ORG--NAME`. */
  readonly cacheFolders: readonly string[];
  readonly token: string | null;
  /** A file that holds the token, read when it is needed; null = none. */
  readonly tokenFile?: string | null;
  /** Asks no hub. */
  readonly offline: boolean;
  /** Where answers are kept; null = nowhere. */
  readonly stateDir?: string | null;
}

export interface ModelFiles {
  /** Ends within two minutes. */
  size(repo: string, hints: SizeHints, signal?: AbortSignal): Promise<ModelSize>;
  /** All files of the weights, and the configuration, are on this machine. */
  isCached(repo: string, revision?: string | null): Promise<boolean>;
  /** For a GGUF model: a repository with its tokenizer and config.json that was seen to be there; null = use what is in the file. */
  tokenizerRepo(repo: string, signal?: AbortSignal): Promise<string | null>;
}

const LONGEST_LOOK: Milliseconds = 2 * MINUTE;
/** As the hub allows; what begins with a dash would pass for a flag of the engine. */
const HUB_NAME = /^\w[\w.-]*(?:\/\w[\w.-]*)?$/;
const REVISION = /^[\w.-]+(?:\/[\w.-]+)*$/;

export function createModelFiles(options: ModelFilesOptions): ModelFiles {
  const { platform } = options;
  const stateDir = options.stateDir ?? null;
  return new LookedUpFiles(options, stateDir === null ? null : createSizeStore(platform, stateDir));
}

class LookedUpFiles implements ModelFiles {
  readonly #options: ModelFilesOptions;
  readonly #store: SizeStore | null;

  constructor(options: ModelFilesOptions, store: SizeStore | null) {
    this.#options = options;
    this.#store = store;
  }

  async size(repo: string, hints: SizeHints, signal?: AbortSignal): Promise<ModelSize> {
    try {
      return await this.#size(repo, hints, signal);
    } catch (error) {
      // Files that nobody has foreseen (nested without end, say) cost an estimate, not the start.
      const name = error instanceof Error ? error.name : 'an error';
      return unknown(`the files of ${repo} could not be read (${name})`, true);
    }
  }

  async #size(repo: string, hints: SizeHints, signal: AbortSignal | undefined): Promise<ModelSize> {
    const limit = new AbortController();
    using _timer = this.#options.platform.clock.after(LONGEST_LOOK, () => limit.abort());
    const ended = signal === undefined ? limit.signal : AbortSignal.any([signal, limit.signal]);
    const revision = hints.revision ?? 'main';
    if (!isRevision(revision)) return unknown(`${revision} is no revision of a repository`, false);
    const gguf = ggufOf(repo);
    if (gguf !== null) return await this.#sizeOfGguf(repo, gguf, hints, { repo: gguf.repo, revision, signal: ended });
    if (isPath(repo)) return await this.#sizeOfFolder(repo, hints);
    if (!isHubName(repo)) return unknown(`${repo} is neither a path nor a name of the hub`, false);
    return await this.#sizeOfRepo({ repo, revision, signal: ended }, hints);
  }

  async isCached(repo: string, revision?: string | null): Promise<boolean> {
    const { platform, cacheFolders } = this.#options;
    const wanted = revision ?? 'main';
    if (!isRevision(wanted)) return false;
    const gguf = ggufOf(repo);
    if (gguf !== null) return (await localGguf(platform.files, cacheFolders, gguf, wanted)) !== null;
    const facts = await this.#localFacts(repo, wanted);
    return facts !== null && facts.complete && facts.config !== null;
  }

  async tokenizerRepo(repo: string, signal?: AbortSignal): Promise<string | null> {
    const gguf = ggufOf(repo);
    if (gguf?.kind !== 'repo' || this.#options.offline) return null;
    const hub = await this.#hub();
    const info = await askInfo(hub, { repo: gguf.repo, revision: 'main', signal });
    const named = info.kind === 'found' ? baseModelsOf(info.found) : [];
    for (const candidate of new Set([...named, ...baseNames(gguf.repo)])) {
      if (!isHubName(candidate)) continue;
      const place: Place = { repo: candidate, revision: 'main', signal };
      const asked = await hub.ask({ path: filePath(place, 'config.json'), repo: candidate, method: 'HEAD', signal });
      if (asked.kind === 'answered') return candidate;
    }
    return null;
  }

  async #sizeOfFolder(folder: string, hints: SizeHints): Promise<ModelSize> {
    const { files } = this.#options.platform;
    const there = (await quietly(() => files.stat(folder)))?.kind === 'folder';
    // A container may see what the gateway does not.
    if (!there) return unknown(`the gateway sees no folder ${folder}`, true);
    return sizeFrom(await factsOfFolder(files, folder, `in ${folder}`), hints);
  }

  async #sizeOfRepo(place: Place, hints: SizeHints): Promise<ModelSize> {
    const local = await this.#localFacts(place.repo, place.revision);
    if (local !== null && local.complete && local.config !== null) return sizeFrom(local, hints);
    const look = await this.#lookUp(place.repo, place.revision, async () => askFacts(await this.#hub(), place));
    if (look.kind === 'found') return sizeFrom(look.found, hints);
    // Half a download says enough where its index, or the build of its class, tells the rest.
    if (local !== null && local.config !== null) {
      const size = sizeFrom(local, hints);
      if (size.kind === 'shape' && size.shape.weightBytes !== null) return size;
    }
    return unknown(look.reason, look.passing);
  }

  async #sizeOfGguf(repo: string, gguf: GgufReference, hints: SizeHints, place: Place): Promise<ModelSize> {
    const { platform, cacheFolders, hub: origin } = this.#options;
    const local = await localGguf(platform.files, cacheFolders, gguf, place.revision);
    if (local !== null) return sizeFrom(local, hints);
    if (gguf.kind === 'file') return unknown(`the gateway sees no GGUF model at ${repo}`, true);
    const look = await this.#lookUp(repo, place.revision, async () =>
      gguf.kind === 'url'
        ? urlGguf(platform, { origin, token: await this.#token() }, gguf, place.signal)
        : hubGguf(await this.#hub(), place, gguf),
    );
    return look.kind === 'found' ? sizeFrom(look.found, hints) : unknown(look.reason, look.passing);
  }

  /** From what was kept, while it is fresh; from the hub; when that fails, from what was kept whatever its age. */
  async #lookUp(repo: string, revision: string, ask: () => Promise<HubLook<RepoFacts>>): Promise<HubLook<RepoFacts>> {
    const { hub, offline, cacheFolders } = this.#options;
    const key = `${hub} ${repo}@${revision}`;
    const kept = (await this.#store?.find(key)) ?? null;
    if (kept !== null && (kept.isFresh || offline)) return { kind: 'found', found: kept.facts };
    if (offline) {
      const places = cacheFolders.length === 0 ? '' : ` (${cacheFolders.join(', ')})`;
      const reason = `the files of ${repo} are not in the cache${places}, and HF_HUB_OFFLINE keeps the gateway from asking the hub`;
      return { kind: 'failed', reason, passing: true, status: null };
    }
    const look = await ask();
    if (look.kind === 'found') {
      const { config, weights, statedBytes } = look.found;
      if (config !== null && (weights !== null || statedBytes !== null)) await this.#store?.keep(key, look.found);
      return look;
    }
    return kept !== null && look.passing ? { kind: 'found', found: kept.facts } : look;
  }

  async #localFacts(repo: string, revision: string): Promise<LocalFacts | null> {
    const { platform, cacheFolders } = this.#options;
    if (isPath(repo)) return factsOfFolder(platform.files, repo, `in ${repo}`);
    if (!isHubName(repo)) return null;
    const folder = await snapshotFolder(platform.files, cacheFolders, repo, revision);
    return folder === null ? null : factsOfFolder(platform.files, folder, 'of the local cache');
  }

  async #hub(): Promise<Hub> {
    const { platform, hub } = this.#options;
    return createHub({ platform, origin: hub, token: await this.#token() });
  }

  async #token(): Promise<string | null> {
    const { platform, token, tokenFile = null } = this.#options;
    if (token !== null || tokenFile === null) return token;
    const text = (await quietly(() => platform.files.readText(tokenFile)))?.trim();
    return text === undefined || text === '' ? null : text;
  }
}

function unknown(reason: string, passing: boolean): ModelSize {
  return { kind: 'unknown', reason, passing };
}

const hasDots = (text: string): boolean => text.split('/').some((part) => part === '.' || part === '..');
const isPath = (repo: string): boolean => /^(?:\/|\.{1,2}\/|~\/)/.test(repo) || repo === '.';
const isHubName = (repo: string): boolean => HUB_NAME.test(repo) && !hasDots(repo);
const isRevision = (revision: string): boolean => REVISION.test(revision) && !hasDots(revision);

/** As its publisher names them. */
function baseModelsOf(info: JsonObject): string[] {
  const named = fieldOf(objectAt(info, 'cardData') ?? {}, 'base_model');
  return [named].flat().filter((each) => typeof each === 'string');
}
