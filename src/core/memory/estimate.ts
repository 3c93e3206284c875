/**
 * What a replica will take on each of its devices, computed from the facts of its model before anything has been measured:
 * (weights and KV cache) × a factor for activations and graphs, + a fixed part for the context and the libraries.
 */
import type { Bytes } from '../../units.ts';
import { kvCacheBytes } from './kv-cache.ts';
import type { KvLayers, ModelShape } from './model-shape.ts';
import type { MemoryRules, SizingSettings } from './sizing.ts';

export interface NeedEstimate {
  readonly weightsBytes: Bytes;
  readonly kvBytes: Bytes;
  readonly activationBytes: Bytes;
  readonly overheadBytes: Bytes;
  readonly totalBytes: Bytes;
}

/**
 * Bytes on each of `tensorParallel` devices. Null = nothing can be said: the weights are unknown, or the length of a
 * sequence is and its KV cache grows with it.
 */
export function estimateNeed(
  shape: ModelShape,
  sizing: SizingSettings,
  rules: MemoryRules,
  tensorParallel: number,
): NeedEstimate | null {
  const length = sequenceLength(shape, sizing);
  if (shape.weightBytes === null || length === null) return null;
  const weightsBytes = Math.ceil(shape.weightBytes / tensorParallel);
  const kvBytes = kvCacheBytes(shape.kv, {
    length,
    sequences: sizing.kvSequences,
    runningSequences: sizing.maxNumSeqs,
    batchedTokens: sizing.maxBatchedTokens,
    elementBytes: sizing.kvElementBytes ?? shape.kvElementBytes,
    tensorParallel,
  });
  const held = weightsBytes + kvBytes;
  const activationBytes = Math.max(0, roundUp(held * rules.overheadFactor) - held);
  const overheadBytes = Math.ceil(rules.overhead);
  return { weightsBytes, kvBytes, activationBytes, overheadBytes, totalBytes: held + activationBytes + overheadBytes };
}

/** Tokens of one full sequence: as configured, at most the native length. 0 where no layer grows with it. */
function sequenceLength(shape: ModelShape, sizing: SizingSettings): number | null {
  const lengths = [sizing.maxModelLen, shape.nativeLength ?? 0].filter((length) => length > 0);
  if (lengths.length > 0) return Math.min(...lengths);
  return shape.kv.every(({ kind }) => kind === 'state' || kind === 'cross') ? 0 : null;
}

/** Up to the next integer, but for the last bits: 21 000 MiB × 1.1 is 23 100 MiB, although the product of doubles is above. */
const roundUp = (value: number): number => Math.ceil(value - value * 2 * Number.EPSILON);

/** Without any head count only these are sure to divide everything. */
const isPowerOfTwo = (degree: number): boolean => Number.isInteger(Math.log2(degree));

/**
 * Tensor parallel sizes from 1 to `max` that engines accept, ascending: the query heads are split evenly; KV heads are
 * either split evenly or copied evenly.
 */
export function validDegrees(shape: ModelShape, max: number): number[] {
  const degrees: number[] = [];
  for (let degree = 1; degree <= max; degree++) {
    const heads = shape.attentionHeads;
    const splitsHeads = heads === null ? isPowerOfTwo(degree) : heads % degree === 0;
    if (splitsHeads && shape.kv.every((layers) => splitsKvHeads(layers, degree))) degrees.push(degree);
  }
  return degrees;
}

function splitsKvHeads(layers: KvLayers, degree: number): boolean {
  if (layers.kind === 'latent' || layers.kind === 'state') return true;
  return layers.kvHeads % degree === 0 || degree % layers.kvHeads === 0;
}
