/**
 * Which files of a repository an engine loads as the weights: one set of them. Repositories hold copies in other formats,
 * precisions and shard layouts; adding those up counts a model twice or more.
 */
import type { Bytes } from '../../units.ts';
import { fieldOf, objectAt, parseObject, sizeAt } from './json.ts';

export interface WeightFile {
  /** Below the root of the repository, with `/`. */
  readonly name: string;
  /** Null = not said. */
  readonly size: Bytes | null;
}

export interface WeightSet {
  readonly files: readonly WeightFile[];
  readonly format: 'safetensors' | 'bin' | 'pt';
  /** Shards that a name or the index promises are all there. */
  readonly complete: boolean;
}

export interface WeightIndex {
  /** Names of the files that hold the weights. */
  readonly names: readonly string[];
  /** As the publisher counted it: not always the bytes of the files. */
  readonly totalSize: Bytes | null;
}

export const INDEX_NAMES = ['model.safetensors.index.json', 'pytorch_model.bin.index.json'];
const MAX_SHARDS = 4096;

/** No name of a file of weights leaves its folder. */
const isPlainName = (name: string): boolean =>
  !name.split('/').some((part) => part === '' || part === '..' || part === '.');

export function readIndex(text: string): WeightIndex | null {
  const index = parseObject(text);
  if (index === null) return null;
  const metadata = objectAt(index, 'metadata') ?? {};
  const map = objectAt(index, 'weight_map') ?? {};
  const names = new Set<string>();
  for (const tensor of Object.keys(map)) {
    const name = fieldOf(map, tensor);
    if (typeof name === 'string' && isPlainName(name)) names.add(name);
    if (names.size > MAX_SHARDS) return null;
  }
  return { names: [...names], totalSize: sizeAt(metadata, 'total_size') };
}

/** `index`: what the repository's own index says, when it has one. Null = no weights that an engine would load. */
export function selectWeights(all: readonly WeightFile[], index: WeightIndex | null): WeightSet | null {
  const files = all.filter(({ name }) => isPlainName(name));
  const indexed = byIndex(files, index);
  if (indexed !== null) return indexed;
  const own = files.filter(({ name }) => !name.includes('/'));
  return safetensors(own) ?? pickled(own);
}

function byIndex(files: readonly WeightFile[], index: WeightIndex | null): WeightSet | null {
  if (index === null || index.names.length === 0) return null;
  const named = new Set(index.names);
  const found = files.filter(({ name }) => named.has(name));
  // An index without its files is left over from another format.
  if (found.length === 0) return null;
  const format = found.every(({ name }) => name.endsWith('.safetensors')) ? 'safetensors' : 'bin';
  return { files: found, format, complete: found.length === named.size };
}

function safetensors(files: readonly WeightFile[]): WeightSet | null {
  const own = files.filter(
    ({ name }) => name.endsWith('.safetensors') && !/^adapter_|^optimizer|^scheduler/.test(name),
  );
  const usual = ownShards(own, /^model-(\d+)-of-(\d+)\.safetensors$/) ?? only(own, 'model.safetensors');
  if (usual !== null) return { ...usual, format: 'safetensors' };
  const others = own.filter(({ name }) => !/^consolidated|\.(?:fp32|fp16|bf16|non_ema)\b/.test(name));
  const left = ownShards(others, /^.+?[-_](\d+)-of-(\d+)\.safetensors$/) ?? every(others);
  const chosen = left ?? every(own);
  return chosen === null ? null : { ...chosen, format: 'safetensors' };
}

function pickled(files: readonly WeightFile[]): WeightSet | null {
  const bins = files.filter(
    ({ name }) => name.endsWith('.bin') && !/^(?:training_args|optimizer|scheduler|adapter_)/.test(name),
  );
  const bin = ownShards(bins, /^pytorch_model-(\d+)-of-(\d+)\.bin$/) ?? only(bins, 'pytorch_model.bin') ?? every(bins);
  if (bin !== null) return { ...bin, format: 'bin' };
  const tensors = every(files.filter(({ name }) => /\.(?:pt|pth)$/.test(name)));
  return tensors === null ? null : { ...tensors, format: 'pt' };
}

type Chosen = Omit<WeightSet, 'format'>;

/** The shards whose names agree on how many there are; the largest such set. */
function ownShards(files: readonly WeightFile[], pattern: RegExp): Chosen | null {
  const sets = new Map<number, WeightFile[]>();
  for (const file of files) {
    const count = Number(pattern.exec(file.name)?.[2] ?? 0);
    if (count > 0 && count <= MAX_SHARDS) sets.set(count, [...(sets.get(count) ?? []), file]);
  }
  const best = [...sets].toSorted((a, b) => b[1].length / b[0] - a[1].length / a[0] || b[0] - a[0])[0];
  return best === undefined ? null : { files: best[1], complete: best[1].length === best[0] };
}

function only(files: readonly WeightFile[], name: string): Chosen | null {
  const file = files.find((each) => each.name === name);
  return file === undefined ? null : { files: [file], complete: true };
}

const every = (files: readonly WeightFile[]): Chosen | null => (files.length === 0 ? null : { files, complete: true });

/** Null when the size of one is not known. */
export function bytesOf(files: readonly WeightFile[]): Bytes | null {
  let bytes = 0;
  for (const { size } of files) {
    if (size === null) return null;
    bytes += size;
  }
  return bytes;
}
