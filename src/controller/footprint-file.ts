/**
 * What was learned of models' memory, kept over restarts in `state_dir/footprints.json`. A cache of what can be measured
 * again: whatever is wrong with it costs a warning, never a start.
 */
import { LEAST_FOOTPRINT, type Footprint } from '../core/memory/footprint.ts';
import { LatestText } from '../platform/latest-text.ts';
import type { Files, Platform } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { MIB } from '../units.ts';
import { isRecord, parseJson, signatureOf } from './learned-json.ts';

const VERSION = 1;
const NAME = 'footprints.json';
/** Under this name the original kept its own, usually in the same folder. */
const LEGACY_NAME = 'memory_footprints.json';
/** Models come and go; the file must not grow for ever. The oldest go. */
const MOST_KEPT = 1_000;
const LARGEST = 16 * MIB;

export interface FootprintFileOptions {
  readonly platform: Pick<Platform, 'clock'> & {
    readonly files: Pick<Files, 'stat' | 'readText' | 'rename' | 'writeAtomic'>;
  };
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** `state_dir`. */
  readonly folder: string;
  /** Where the original kept its footprints (`MEMORY_FOOTPRINT_FILE`); null = where it would have been here. */
  readonly legacyPath: string | null;
}

export class FootprintFile {
  readonly #options: FootprintFileOptions;
  readonly #path: string;
  readonly #text: LatestText;
  readonly #kept = new Map<string, Footprint>();

  constructor(options: FootprintFileOptions) {
    this.#options = options;
    this.#path = `${options.folder}/${NAME}`;
    this.#text = new LatestText(options.platform.files, this.#path);
  }

  /** What earlier runs learned; of the original's file once, when there is no own one yet. Never rejects. */
  async load(): Promise<readonly Footprint[]> {
    const own = await this.#read(this.#path);
    const found = own === undefined || this.#isLegacy(own) ? await this.#legacy() : await this.#parse(own);
    for (const footprint of found) this.#kept.set(keyOf(footprint), footprint);
    return [...this.#kept.values()];
  }

  /** Returns at once; the newest of a kind goes over the older one. */
  learned(footprint: Footprint): void {
    for (const [key, other] of this.#kept) {
      if (other.model === footprint.model && other.signature.specHash === '') this.#kept.delete(key);
    }
    // Last in the order of the map: the first is the one that was learned longest ago.
    this.#kept.delete(keyOf(footprint));
    this.#kept.set(keyOf(footprint), footprint);
    for (const key of this.#kept.keys()) {
      if (this.#kept.size <= MOST_KEPT) break;
      this.#kept.delete(key);
    }
    this.#save();
  }

  /** Resolves when everything that was learned is on disk, or could not be written. */
  get written(): Promise<void> {
    return this.#text.written;
  }

  #save(): void {
    const { log } = this.#options;
    this.#text
      .write(`${JSON.stringify({ version: VERSION, footprints: [...this.#kept.values()] }, null, 2)}\n`)
      .catch((error: unknown) => log.error({ err: error, path: this.#path }, 'learned footprints cannot be kept'));
  }

  /** Undefined when absent or unreadable, which is told. */
  async #read(path: string): Promise<string | undefined> {
    const { platform, log } = this.#options;
    try {
      const stat = await platform.files.stat(path);
      if (stat?.kind === 'folder') {
        log.warn(
          { path },
          'a folder is where the file of learned footprints should be; what a container mounts must be a folder that holds the file, not the file itself. Nothing is read from it',
        );
        return undefined;
      }
      if (stat !== undefined && stat.size > LARGEST) {
        log.warn(
          { path, bytes: stat.size },
          'this is no file of learned footprints: it is far too large; it is not read',
        );
        return undefined;
      }
      return await platform.files.readText(path);
    } catch (error) {
      log.warn({ err: error, path }, 'the file of learned footprints cannot be read; models are measured again');
      return undefined;
    }
  }

  async #parse(text: string): Promise<readonly Footprint[]> {
    const value = parseJson(text);
    if (!isRecord(value) || value['version'] !== VERSION || !Array.isArray(value['footprints'])) {
      await this.#putAside(isRecord(value) && typeof value['version'] === 'number' ? 'of another version' : 'damaged');
      return [];
    }
    const entries: readonly unknown[] = value['footprints'];
    const sound = entries.flatMap((entry) => footprintOf(entry) ?? []);
    const dropped = entries.length - sound.length;
    if (dropped > 0) {
      const { log } = this.#options;
      log.warn(
        { path: this.#path, dropped },
        'damaged entries of learned footprints are dropped; those are measured again',
      );
    }
    return sound;
  }

  async #putAside(what: string): Promise<void> {
    const { platform, log } = this.#options;
    const aside = `${this.#path}.bad-${Math.round(platform.clock.wall())}`;
    const told = `the file of learned footprints is ${what}; it is put aside and models are measured again`;
    try {
      await platform.files.rename(this.#path, aside);
      log.warn({ path: this.#path, aside }, told);
    } catch (error) {
      log.warn({ err: error, path: this.#path }, told);
    }
  }

  /** The original was told to keep its own under the very same name; what is learned next is written over it. */
  #isLegacy(text: string): boolean {
    if (this.#options.legacyPath !== this.#path) return false;
    const value = parseJson(text);
    return isRecord(value) && !('version' in value);
  }

  /** Numbers of the original say nothing about this engine's settings: they are shown, and never planned with. */
  async #legacy(): Promise<readonly Footprint[]> {
    const { log, folder, legacyPath } = this.#options;
    const path = legacyPath ?? `${folder}/${LEGACY_NAME}`;
    const text = await this.#read(path);
    if (text === undefined) return [];
    const value = parseJson(text);
    if (!isRecord(value)) {
      log.warn({ path }, 'the footprints of the earlier gateway are damaged; models are measured again');
      return [];
    }
    const entries = Object.entries(value);
    const found = entries.flatMap(([model, entry]) => legacyFootprint(model, entry) ?? []);
    log.info(
      { path, found: found.length, dropped: entries.length - found.length },
      'footprints of the earlier gateway are shown until each model is measured again',
    );
    return found;
  }
}

function keyOf({ model, signature }: Footprint): string {
  return JSON.stringify([model, signature.deviceClass, signature.tensorParallel]);
}

/** A number of MiB, or a record with `per_gpu_mib` and `effective_tp`. */
function legacyFootprint(model: string, entry: unknown): Footprint | undefined {
  const record = isRecord(entry) ? entry : { per_gpu_mib: entry };
  const mib = record['per_gpu_mib'];
  if (!isPositive(mib)) return undefined;
  const parallel = record['effective_tp'];
  const share = record['effective_util'];
  const measured = record['measured_at'];
  const bytes = Math.round(mib * MIB);
  return {
    model,
    signature: {
      specHash: '',
      image: null,
      deviceClass: '',
      tensorParallel: isPositive(parallel) ? Math.round(parallel) : 1,
    },
    steadyBytes: bytes,
    peakBytes: bytes,
    utilization: isPositive(share) && share <= 1 ? share : null,
    kvCacheBytes: null,
    kvCacheTokens: null,
    startTime: 0,
    measuredAt: isPositive(measured) ? Math.round(measured * 1_000) : 0,
    source: 'device',
  };
}

function footprintOf(entry: unknown): Footprint | undefined {
  if (!isRecord(entry)) return undefined;
  const { model, steadyBytes, peakBytes, utilization, kvCacheBytes, kvCacheTokens, startTime, measuredAt, source } =
    entry;
  const signature = signatureOf(entry['signature']);
  if (typeof model !== 'string' || model === '' || signature === undefined) return undefined;
  if (!isPositive(steadyBytes) || steadyBytes < LEAST_FOOTPRINT || !isPositive(peakBytes)) return undefined;
  if (source !== 'process' && source !== 'device' && source !== 'engine') return undefined;
  return {
    model,
    signature,
    steadyBytes: Math.round(steadyBytes),
    peakBytes: Math.round(Math.max(peakBytes, steadyBytes)),
    utilization: isPositive(utilization) && utilization <= 1 ? utilization : null,
    kvCacheBytes: isPositive(kvCacheBytes) ? Math.round(kvCacheBytes) : null,
    kvCacheTokens: isPositive(kvCacheTokens) ? Math.round(kvCacheTokens) : null,
    startTime: isPositive(startTime) ? startTime : 0,
    measuredAt: isPositive(measuredAt) ? measuredAt : 0,
    source,
  };
}

function isPositive(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0;
}
