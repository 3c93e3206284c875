/** Asks a hub what a repository holds: its list of files with sizes, else each file, else what its index states. */
import type { Bytes } from '../../units.ts';
import { MIB } from '../../units.ts';
import type { RepoFacts, WeightFacts } from './facts.ts';
import type { Hub, HubAnswer } from './hub-client.ts';
import { asObject, fieldOf, listAt, objectAt, parseObject, sizeAt, textAt, type JsonObject } from './json.ts';
import { countedElements } from './safetensors-header.ts';
import {
  bytesOf,
  INDEX_NAMES,
  readIndex,
  selectWeights,
  type WeightFile,
  type WeightIndex,
  type WeightSet,
} from './weight-files.ts';

export type HubFailure = HubAnswer & { readonly kind: 'failed' };
export type HubLook<Found> = { readonly kind: 'found'; readonly found: Found } | HubFailure;

export interface Place {
  readonly repo: string;
  readonly revision: string;
  readonly signal?: AbortSignal | undefined;
}

const MAX_INDEX: Bytes = 64 * MIB;
/** As many requests as there are shards; more shards than this are not counted one by one. */
const MAX_SHARDS_ASKED = 256;
const ASKED_AT_ONCE = 4;

export const filePath = ({ repo, revision }: Place, name: string): string =>
  `/${repo}/resolve/${encodeURIComponent(revision)}/${name.split('/').map(encodeURIComponent).join('/')}`;

/** The list of a repository's files, sizes included, and what else the hub knows of it. */
export async function askInfo(hub: Hub, place: Place): Promise<HubLook<JsonObject>> {
  const at = place.revision === 'main' ? '' : `/revision/${encodeURIComponent(place.revision)}`;
  const asked = await hub.ask({
    path: `/api/models/${place.repo}${at}?blobs=true`,
    repo: place.repo,
    signal: place.signal,
  });
  return asked.kind === 'failed' ? asked : found(parseObject(asked.answer.body) ?? {});
}

export function filesOf(info: JsonObject): WeightFile[] {
  return (listAt(info, 'siblings') ?? []).flatMap((each) => {
    const sibling = asObject(each);
    const name = sibling === null ? null : textAt(sibling, 'rfilename');
    if (sibling === null || name === null) return [];
    // Of a file in large-file storage the plain size may be that of its pointer.
    const stored = objectAt(sibling, 'lfs');
    return [{ name, size: (stored === null ? null : sizeAt(stored, 'size')) ?? sizeAt(sibling, 'size') }];
  });
}

export async function askFacts(hub: Hub, place: Place): Promise<HubLook<RepoFacts>> {
  const info = await askInfo(hub, place);
  // A mirror may have the files without the list of them.
  if (info.kind === 'failed' && info.status !== 404) return info;
  const known = info.kind === 'found' ? info.found : {};
  const files = filesOf(known);
  const listed = (name: string): boolean => files.length === 0 || files.some((file) => file.name === name);

  const config = await askJson(hub, place, listed('config.json') ? 'config.json' : 'params.json');
  if (config.kind === 'failed' && config.status !== 404) return config;
  if (config.kind === 'failed' && info.kind === 'failed') return info;
  if (config.kind === 'failed' && files.some(({ name }) => name.endsWith('.gguf'))) {
    const reason = `${place.repo} holds GGUF files only: name one of them as ${place.repo}:QUANT, such as :Q4_K_M`;
    return { kind: 'failed', reason, passing: false, status: null };
  }
  const quantConfig = files.some(({ name }) => name === 'hf_quant_config.json')
    ? await askJson(hub, place, 'hf_quant_config.json')
    : null;
  if (quantConfig?.kind === 'failed' && quantConfig.status !== 404) return quantConfig;

  const weights = await askWeights(hub, place, known, files);
  if (weights.kind === 'failed') return weights;
  return found({
    config: config.kind === 'found' ? config.found : null,
    quantConfig: quantConfig?.kind === 'found' ? quantConfig.found : null,
    ...weights.found,
  });
}

type Weights = Pick<RepoFacts, 'weights' | 'statedBytes'>;

async function askWeights(
  hub: Hub,
  place: Place,
  info: JsonObject,
  files: readonly WeightFile[],
): Promise<HubLook<Weights>> {
  const counted = countedOf(info);
  // Bytes that hold several weights each are counted as weights for some models and as bytes for others.
  const isCounted = counted !== null && !counted.hasBytes;
  const elementBytes = counted?.elementBytes ?? null;
  const facts = (bytes: Bytes, from: string): HubLook<Weights> =>
    found({ weights: { bytes, elementBytes, from }, statedBytes: null });

  const listedSet = selectWeights(files, null);
  const listedBytes = isUsual(listedSet) ? bytesOf(listedSet.files) : null;
  if (listedSet !== null && listedBytes !== null) return facts(listedBytes, told(listedSet, hub));

  const index = await askIndex(hub, place, files);
  if (index?.kind === 'failed') return index;
  const set = selectWeights(files.length === 0 ? namesOnly(index?.found ?? null) : files, index?.found ?? null);
  if (set !== null) {
    const sized = await askSizes(hub, place, set.files);
    if (sized.kind === 'failed' && !isCounted) return sized;
    const bytes = sized.kind === 'failed' ? null : bytesOf(sized.found);
    if (bytes !== null && bytes > 0) return facts(bytes, told(set, hub));
  }
  if (isCounted) return facts(counted.bytes, `counted by ${hub.host}`);
  return found({ weights: null, statedBytes: index?.found?.totalSize ?? null });
}

/** Names that leave no doubt which files are loaded, so that no index has to be read. */
function isUsual(set: WeightSet | null): set is WeightSet {
  const usual = /^(?:model|pytorch_model|consolidated)(?:[-.]\d+-of-\d+)?\.(?:safetensors|bin)$/;
  return set !== null && set.complete && set.files.every(({ name }) => usual.test(name));
}

function told(set: WeightSet, hub: Hub): string {
  return `${set.files.length === 1 ? 'one file' : `${set.files.length} files`} on ${hub.host}`;
}

function namesOnly(index: WeightIndex | null): WeightFile[] {
  const names = index === null || index.names.length === 0 ? ['model.safetensors'] : index.names;
  return names.map((name) => ({ name, size: null }));
}

async function askIndex(
  hub: Hub,
  place: Place,
  files: readonly WeightFile[],
): Promise<HubLook<WeightIndex | null> | null> {
  const names = INDEX_NAMES.filter((name) => files.some((file) => file.name === name));
  const name = files.length === 0 ? INDEX_NAMES[0] : names[0];
  if (name === undefined) return null;
  const asked = await hub.ask({
    path: filePath(place, name),
    repo: place.repo,
    maxBytes: MAX_INDEX,
    signal: place.signal,
  });
  if (asked.kind === 'failed') return asked.status === 404 ? null : asked;
  return found(readIndex(asked.answer.body));
}

/** Sizes that the list leaves out, file by file. Files without a size stay without one. */
async function askSizes(hub: Hub, place: Place, files: readonly WeightFile[]): Promise<HubLook<WeightFile[]>> {
  if (files.length > MAX_SHARDS_ASKED) return found([...files]);
  const sized: WeightFile[] = [];
  for (let first = 0; first < files.length; first += ASKED_AT_ONCE) {
    const some = files.slice(first, first + ASKED_AT_ONCE);
    const looks = await Promise.all(some.map((file) => askSize(hub, place, file)));
    for (const look of looks) {
      if (look.kind === 'failed') return look;
      sized.push(look.found);
    }
  }
  return found(sized);
}

export async function askSize(hub: Hub, place: Place, file: WeightFile): Promise<HubLook<WeightFile>> {
  if (file.size !== null) return found(file);
  const asked = await hub.ask({
    path: filePath(place, file.name),
    repo: place.repo,
    method: 'HEAD',
    signal: place.signal,
    until: ({ headers }) => byteCount(headers?.['x-linked-size']) !== null,
  });
  if (asked.kind === 'failed') return asked.status === 404 ? found(file) : asked;
  const { headers = {} } = asked.answer;
  return found({ ...file, size: byteCount(headers['x-linked-size']) ?? byteCount(headers['content-length']) });
}

function byteCount(text: string | undefined): Bytes | null {
  const count = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : 0;
  return count > 0 && Number.isSafeInteger(count) ? count : null;
}

async function askJson(hub: Hub, place: Place, name: string): Promise<HubLook<JsonObject | null>> {
  const asked = await hub.ask({ path: filePath(place, name), repo: place.repo, signal: place.signal });
  return asked.kind === 'failed' ? asked : found(parseObject(asked.answer.body));
}

/** What the hub counted in the heads of the files. */
function countedOf(
  info: JsonObject,
): (Pick<WeightFacts, 'bytes' | 'elementBytes'> & { readonly hasBytes: boolean }) | null {
  const parameters = objectAt(objectAt(info, 'safetensors') ?? {}, 'parameters');
  if (parameters === null) return null;
  const counts = Object.keys(parameters).flatMap((type) => {
    const count = fieldOf(parameters, type);
    return typeof count === 'number' && Number.isSafeInteger(count) && count > 0 ? [[type, count] as const] : [];
  });
  const counted = countedElements(counts);
  return counted === null ? null : { ...counted, hasBytes: counts.some(([type]) => type === 'U8') };
}

function found<Found>(value: Found): { readonly kind: 'found'; readonly found: Found } {
  return { kind: 'found', found: value };
}
