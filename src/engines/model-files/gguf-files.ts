/** GGUF models on this machine and on a hub: which files they are, how large, and what the head of the first one says. */
import type { Files, Platform } from '../../platform/platform.ts';
import { MIB, type Bytes } from '../../units.ts';
import type { RepoFacts } from './facts.ts';
import { configOfGguf, readGgufHeader } from './gguf-header.ts';
import { chooseGguf, type GgufReference } from './gguf-reference.ts';
import { createHub, parseUrl, type Hub } from './hub-client.ts';
import { askInfo, askSize, filePath, filesOf, type HubFailure, type HubLook, type Place } from './hub-facts.ts';
import { listFilesBelow, snapshotFolder } from './local-files.ts';
import { quietly } from './quietly.ts';
import type { WeightFile } from './weight-files.ts';

/** The pairs that size a model stand before its vocabulary. */
const HEADER_BYTES: Bytes = MIB;

export function factsOfGguf(header: Uint8Array | null, files: readonly WeightFile[], where: string): RepoFacts | null {
  const pairs = header === null ? null : readGgufHeader(header);
  const config = pairs === null ? null : configOfGguf(pairs);
  const bytes = files.reduce((sum, { size }) => sum + (size ?? 0), 0);
  if (config === null || bytes === 0) return null;
  const from = `${files.length === 1 ? 'one GGUF file' : `${files.length} GGUF files`} ${where}`;
  // One byte: neither wide nor narrow, so that nothing is made of it for another precision.
  return { config, quantConfig: null, weights: { bytes, elementBytes: 1, from }, statedBytes: null };
}

/** Null = not there, or not whole. */
export async function localGguf(
  files: Files,
  cacheFolders: readonly string[],
  reference: GgufReference,
  revision: string,
): Promise<RepoFacts | null> {
  if (reference.kind === 'url') return null;
  const folder =
    reference.kind === 'repo'
      ? await snapshotFolder(files, cacheFolders, reference.repo, revision)
      : reference.repo.slice(0, Math.max(0, reference.repo.lastIndexOf('/'))) || '.';
  if (folder === null) return null;
  const file = reference.kind === 'file' ? reference.repo.slice(reference.repo.lastIndexOf('/') + 1) : reference.file;
  const all = await listFilesBelow(files, folder);
  const choice = chooseGguf(all, { ...reference, file });
  const [first] = choice.kind === 'chosen' ? choice.files : [];
  if (choice.kind !== 'chosen' || first === undefined) return null;
  const header = await quietly(() => files.readBytes(`${folder}/${first.name}`, 0, HEADER_BYTES));
  return factsOfGguf(header ?? null, choice.files, 'on this machine');
}

export async function hubGguf(hub: Hub, place: Place, reference: GgufReference): Promise<HubLook<RepoFacts>> {
  const info = await askInfo(hub, place);
  if (info.kind === 'failed') return info;
  const choice = chooseGguf(filesOf(info.found), reference);
  if (choice.kind === 'none') return failure(choice.reason);
  const sized: WeightFile[] = [];
  for (const file of choice.files) {
    const look = await askSize(hub, place, file);
    if (look.kind === 'failed') return look;
    if (look.found.size === null) return failure(`${hub.host} does not say how large ${file.name} is`);
    sized.push(look.found);
  }
  const first = sized[0];
  return first === undefined
    ? failure(`${place.repo} is empty`)
    : headOf(hub, place, filePath(place, first.name), sized);
}

async function headOf(hub: Hub, place: Place, path: string, sized: readonly WeightFile[]): Promise<HubLook<RepoFacts>> {
  const head = await hub.ask({ path, repo: place.repo, firstBytes: HEADER_BYTES, signal: place.signal });
  if (head.kind === 'failed') return head;
  const facts = factsOfGguf(head.answer.bytes ?? null, sized, `on ${hub.host}`);
  return facts === null
    ? failure(`the head of ${place.repo} is not that of a GGUF file`)
    : { kind: 'found', found: facts };
}

/** A file at an address of its own; the token goes along only where the address is of the hub itself. */
export async function urlGguf(
  platform: Pick<Platform, 'http' | 'clock'>,
  hubOptions: { readonly origin: string; readonly token: string | null },
  reference: GgufReference,
  signal: AbortSignal | undefined,
): Promise<HubLook<RepoFacts>> {
  const url = parseUrl(reference.repo);
  if (url === null) return failure('it is no address of a file');
  const isHub = url.origin === parseUrl(hubOptions.origin)?.origin;
  const hub = createHub({ platform, origin: url.origin, token: isHub ? hubOptions.token : null });
  const name = url.pathname.slice(url.pathname.lastIndexOf('/') + 1);
  const place: Place = { repo: name, revision: 'main', signal };
  // The page of a file on the hub, as people copy it.
  const path = `${isHub ? url.pathname.replace('/blob/', '/resolve/') : url.pathname}${url.search}`;
  const asked = await hub.ask({
    path,
    repo: name,
    method: 'HEAD',
    signal,
    until: ({ headers }) => headers?.['x-linked-size'] !== undefined,
  });
  if (asked.kind === 'failed') return asked;
  const size = Number(asked.answer.headers?.['x-linked-size'] ?? asked.answer.headers?.['content-length'] ?? 0);
  if (!Number.isSafeInteger(size) || size <= 0) return failure(`${url.host} does not say how large ${name} is`);
  return headOf(hub, place, path, [{ name, size }]);
}

function failure(reason: string): HubFailure {
  return { kind: 'failed', reason, passing: false, status: null };
}
