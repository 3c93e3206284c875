/**
 * Bytes of KV cache on one device, block by block as vLLM allots them (kv_cache_interface.py, kv_cache_utils.py): layers
 * that keep the same form a type; with several types all blocks come from one pool, so each type is cut into groups of
 * the same number of layers, the last one filled up, and all pages have the same size.
 */
import type { Bytes } from '../../units.ts';
import type { KvLayers } from './model-shape.ts';

export interface KvDemand {
  /** Tokens of one full sequence. */
  readonly length: number;
  /** Full sequences that have to fit. */
  readonly sequences: number;
  /** Sequences that run at once: each has its constant state, however short it is. */
  readonly runningSequences: number;
  /** Tokens of one step over all sequences. */
  readonly batchedTokens: number;
  readonly elementBytes: number;
  readonly tensorParallel: number;
}

/** Tokens of a block where no constant state asks for more. */
const BLOCK_TOKENS = 16;
/** Scheduling ahead of the answer keeps the tokens of two steps in flight. */
const STEPS_IN_FLIGHT = 2;
/** Types whose numbers of layers are this close are filled up to the larger one. */
const SIMILAR_COUNTS = 1.5;

export function kvCacheBytes(kv: readonly KvLayers[], demand: KvDemand): Bytes {
  const layers = kv.filter((each) => each.layers > 0).map((each) => withoutWideWindow(each, demand.length));
  return new Set(layers.map(typeOf)).size <= 1 ? bytesOfOneType(layers, demand) : bytesOfPool(layers, demand);
}

/** A window that no sequence outgrows drops nothing. */
function withoutWideWindow(layers: KvLayers, length: number): KvLayers {
  if (layers.kind !== 'sliding' && layers.kind !== 'chunked') return layers;
  return layers.window < length ? layers : { ...layers, kind: 'full' };
}

/** Latent vectors are kept of every token, so they count with the full ones. */
function typeOf(layers: KvLayers): string {
  switch (layers.kind) {
    case 'full':
    case 'latent':
      return 'full';
    case 'sliding':
    case 'chunked':
      return `${layers.kind} ${layers.window}`;
    case 'state':
    case 'cross':
      return layers.kind;
  }
}

function bytesOfOneType(kv: readonly KvLayers[], demand: KvDemand): Bytes {
  let bytes = 0;
  for (const layers of kv) {
    const page = layers.kind === 'state' ? statePage(layers, demand) : BLOCK_TOKENS * tokenBytes(layers, demand);
    bytes += layers.layers * blocks(layers, BLOCK_TOKENS, demand) * page;
  }
  return Math.ceil(bytes);
}

function bytesOfPool(kv: readonly KvLayers[], demand: KvDemand): Bytes {
  const largestToken = Math.max(...kv.map((layers) => tokenBytes(layers, demand)));
  const largestState = Math.max(0, ...kv.map((layers) => (layers.kind === 'state' ? statePage(layers, demand) : 0)));
  // A page holds the state of a sequence or a block of tokens: the block grows until the state fits in.
  const blockTokens = BLOCK_TOKENS * Math.max(1, Math.ceil(largestState / (BLOCK_TOKENS * largestToken)));
  const page = blockTokens * largestToken;
  const groupSize = groupSizeOf(kv.map(({ layers }) => layers));
  let bytes = 0;
  for (const layers of kv) {
    const groups = Math.ceil(layers.layers / groupSize);
    // Layers that keep less of a token put more tokens into a page.
    const tokens = layers.kind === 'state' ? 0 : blockTokens * Math.floor(largestToken / tokenBytes(layers, demand));
    bytes += groups * groupSize * blocks(layers, tokens, demand) * page;
  }
  return Math.ceil(bytes);
}

function groupSizeOf(counts: readonly number[]): number {
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  return most < SIMILAR_COUNTS * least ? most : least;
}

/** Of one layer and one token on one device; 0 for constant state. */
function tokenBytes(layers: KvLayers, { elementBytes, tensorParallel }: KvDemand): Bytes {
  if (layers.kind === 'state') return 0;
  if (layers.kind === 'latent') return layers.elements * elementBytes;
  // Fewer heads than devices: each device holds a copy of one.
  const heads = Math.max(1, Math.ceil(layers.kvHeads / tensorParallel));
  return heads * (layers.keySize + layers.valueSize) * elementBytes;
}

/** Of one layer and one sequence on one device. */
function statePage(layers: KvLayers & { readonly kind: 'state' }, { tensorParallel }: KvDemand): Bytes {
  return Math.ceil(layers.elements / tensorParallel) * layers.elementBytes;
}

/** Blocks of one layer for all sequences. */
function blocks(layers: KvLayers, blockTokens: number, demand: KvDemand): number {
  const { sequences, length } = demand;
  switch (layers.kind) {
    case 'full':
    case 'latent':
      return sequences * Math.ceil(length / blockTokens);
    case 'sliding':
      // The window need not begin where a block does.
      return windowBlocks(layers.window - 1, 1, blockTokens, demand);
    case 'chunked':
      return windowBlocks(layers.window, 0, blockTokens, demand);
    case 'cross':
      return sequences * Math.ceil(layers.positions / blockTokens);
    case 'state':
      return demand.runningSequences;
  }
}

/**
 * What falls out of the window is freed only when the steps in flight are done. One sequence alone may have all their
 * tokens; all together have no more than that.
 */
function windowBlocks(window: number, extra: number, blockTokens: number, demand: KvDemand): number {
  const { sequences, length } = demand;
  const inFlight = demand.batchedTokens * STEPS_IN_FLIGHT;
  const alone = Math.ceil(Math.min(window + inFlight, length) / blockTokens) + extra;
  const together = sequences * (Math.ceil(window / blockTokens) + extra) + Math.ceil(inFlight / blockTokens);
  return Math.min(sequences * alone, together);
}
