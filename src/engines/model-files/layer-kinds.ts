/** What each layer keeps, in order, from whichever of the many spellings a config.json uses. */
import { asObject, countAt, flagAt, listAt, numberAt, objectAt, textAt, type JsonObject } from './json.ts';
import type { TextConfig } from './text-config.ts';

/** `both`: attention and constant state side by side. `none`: nothing is kept. */
export type LayerKind = 'full' | 'sliding' | 'chunked' | 'state' | 'both' | 'cross' | 'none';

type Kinds = readonly LayerKind[];
type Reader = (fields: JsonObject, layers: number) => Kinds | null;

/** In the order of their authority: lists that name each layer, then rules, then what a class does. */
const READERS: readonly Reader[] = [
  byLayerTypes,
  byOverridePattern,
  byBlockList,
  byIndexList,
  byTypeNumbers,
  byPeriod,
  byInterval,
  byChunks,
  byWindow,
];

export function layerKinds({ fields, modelType }: TextConfig, layers: number): Kinds {
  const named = READERS.reduce<Kinds | null>((found, read) => found ?? read(fields, layers), null);
  const kinds = named ?? repeat(stateOnly(modelType) ? 'state' : 'full', layers);
  return withParallelState(modelType, withoutShared(fields, withCross(fields, kinds)));
}

export function slidingWindow(fields: JsonObject): number | null {
  return countAt(fields, 'sliding_window', 'sliding_window_size', 'window_size');
}

export const chunkSize = (fields: JsonObject): number | null => countAt(fields, 'attention_chunk_size');

const repeat = (kind: LayerKind, layers: number): Kinds => Array.from({ length: layers }, () => kind);
const stateOnly = (modelType: string): boolean => /^(?:falcon_)?mamba2?$/.test(modelType);

/** A word of `layer_types`; what nobody knows keeps everything, which is the most. */
function kindOf(word: unknown): LayerKind {
  if (typeof word !== 'string') return 'full';
  const name = word.toLowerCase();
  if (name === 'hybrid') return 'both';
  if (/sliding|local|swa/.test(name)) return 'sliding';
  if (name.includes('chunked')) return 'chunked';
  if (/linear|recurrent|mamba|ssm|gated_delta|delta_net|conv|kda|lightning/.test(name)) return 'state';
  return name === 'mlp' || name === 'moe' || name === 'none' ? 'none' : 'full';
}

function byLayerTypes(fields: JsonObject, layers: number): Kinds | null {
  for (const name of ['layer_types', 'layers_block_type', 'attention_layers']) {
    const list = listAt(fields, name);
    if (list !== null && list.length > 0) return Array.from({ length: layers }, (_, index) => kindOf(list[index]));
  }
  // A short list that repeats.
  const block = listAt(fields, 'block_types') ?? listAt(fields, '_block_types');
  if (block === null || block.length === 0) return null;
  return Array.from({ length: layers }, (_, index) => kindOf(block[index % block.length]));
}

const PATTERN_LETTERS: Readonly<Record<string, LayerKind>> = { M: 'state', '*': 'full', '-': 'none', E: 'none' };

function byOverridePattern(fields: JsonObject, layers: number): Kinds | null {
  const pattern = textAt(fields, 'hybrid_override_pattern');
  if (pattern === null || pattern === '') return null;
  return Array.from({ length: layers }, (_, index) => PATTERN_LETTERS[pattern[index] ?? '*'] ?? 'full');
}

/** Pruned models say for each block whether its attention is still there. */
function byBlockList(fields: JsonObject, layers: number): Kinds | null {
  const blocks = listAt(fields, 'block_configs');
  if (blocks === null || blocks.length === 0) return null;
  return Array.from({ length: layers }, (_, index) => {
    const attention = objectAt(asObject(blocks[index]) ?? {}, 'attention') ?? {};
    return flagAt(attention, 'no_op') === true || flagAt(attention, 'replace_with_linear') === true ? 'none' : 'full';
  });
}

function byIndexList(fields: JsonObject, layers: number): Kinds | null {
  const linear = objectAt(fields, 'linear_attn_config') ?? {};
  const lists = [
    { list: listAt(fields, 'attn_layer_indices'), first: 0 },
    { list: listAt(fields, 'full_attn_idxs'), first: 0 },
    { list: listAt(fields, 'full_attention_idxs'), first: 0 },
    { list: listAt(linear, 'full_attn_layers'), first: 1 },
  ];
  for (const { list, first } of lists) {
    if (list === null || list.length === 0) continue;
    const full = new Set(list);
    return Array.from({ length: layers }, (_, index) => (full.has(index + first) ? 'full' : 'state'));
  }
  return null;
}

function byTypeNumbers(fields: JsonObject, layers: number): Kinds | null {
  const linear = listAt(fields, 'attn_type_list');
  if (linear !== null && linear.length > 0) {
    return Array.from({ length: layers }, (_, index) => (linear[index] === 0 ? 'state' : 'full'));
  }
  const windowed = listAt(fields, 'hybrid_layer_pattern');
  if (windowed === null || windowed.length === 0 || slidingWindow(fields) === null) return null;
  return Array.from({ length: layers }, (_, index) => (windowed[index] === 1 ? 'sliding' : 'full'));
}

function byPeriod(fields: JsonObject, layers: number): Kinds | null {
  const period = countAt(fields, 'attn_layer_period');
  if (period === null) return null;
  const offset = numberAt(fields, 'attn_layer_offset') ?? 0;
  return Array.from({ length: layers }, (_, index) => (index % period === offset % period ? 'full' : 'state'));
}

function byInterval(fields: JsonObject, layers: number): Kinds | null {
  const interval = countAt(fields, 'full_attention_interval');
  if (interval === null) return null;
  return Array.from({ length: layers }, (_, index) => ((index + 1) % interval === 0 ? 'full' : 'state'));
}

function byChunks(fields: JsonObject, layers: number): Kinds | null {
  if (chunkSize(fields) === null) return null;
  // 1 = with positions, and those look at their chunk only.
  const withPositions = listAt(fields, 'no_rope_layers');
  if (withPositions !== null && withPositions.length > 0) {
    return Array.from({ length: layers }, (_, index) => (withPositions[index] === 1 ? 'chunked' : 'full'));
  }
  const interval = countAt(fields, 'no_rope_layer_interval');
  if (interval === null) return null;
  return Array.from({ length: layers }, (_, index) => ((index + 1) % interval === 0 ? 'full' : 'chunked'));
}

function byWindow(fields: JsonObject, layers: number): Kinds | null {
  if (countAt(fields, 'sliding_window') === null || flagAt(fields, 'use_sliding_window') === false) return null;
  const letters = textAt(fields, 'sliding_window_pattern');
  if (letters !== null && letters !== '') {
    return Array.from({ length: layers }, (_, index) => (letters[index % letters.length] === 'L' ? 'sliding' : 'full'));
  }
  const pattern = countAt(fields, '_sliding_window_pattern') ?? countAt(fields, 'sliding_window_pattern');
  if (pattern !== null) {
    return Array.from({ length: layers }, (_, index) => ((index + 1) % pattern === 0 ? 'full' : 'sliding'));
  }
  // The lower layers stay full where a switch turns the window on.
  const lower = flagAt(fields, 'use_sliding_window') === true ? numberAt(fields, 'max_window_layers') : null;
  return Array.from({ length: layers }, (_, index) => (lower !== null && index < lower ? 'full' : 'sliding'));
}

function withCross(fields: JsonObject, kinds: Kinds): Kinds {
  const cross = new Set(listAt(fields, 'cross_attention_layers'));
  return cross.size === 0 ? kinds : kinds.map((kind, index) => (cross.has(index) ? 'cross' : kind));
}

/** The last layers use what earlier ones keep. */
function withoutShared(fields: JsonObject, kinds: Kinds): Kinds {
  const shared = countAt(fields, 'num_kv_shared_layers') ?? 0;
  const kept = kinds.length - shared;
  return shared === 0 || kept <= 0 ? kinds : kinds.map((kind, index) => (index < kept ? kind : 'none'));
}

function withParallelState(modelType: string, kinds: Kinds): Kinds {
  if (modelType !== 'falcon_h1') return kinds;
  return kinds.map((kind) => (kind === 'full' ? 'both' : kind));
}
