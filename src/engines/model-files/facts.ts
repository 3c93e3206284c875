/** What was found out about a repository, before anything is concluded from it. Plain data: it is kept on disk. */
import type { ModelShape, ModelSize } from '../../core/memory/model-shape.ts';
import type { Bytes } from '../../units.ts';
import { countedWeights, embeddingBytes } from './count-weights.ts';
import type { JsonObject } from './json.ts';
import { isSinglePrecision, readShape, type TextShape } from './shape.ts';

export interface RepoFacts {
  /** config.json, or what stands in for it. */
  readonly config: JsonObject | null;
  /** hf_quant_config.json. */
  readonly quantConfig: JsonObject | null;
  readonly weights: WeightFacts | null;
  /** `total_size` of the index: believed only where nothing better is known. */
  readonly statedBytes: Bytes | null;
}

export interface WeightFacts {
  readonly bytes: Bytes;
  /** Bytes of the elements that most of them are; null = not known. */
  readonly elementBytes: number | null;
  /** For people: `4 files of the local cache`. */
  readonly from: string;
}

export interface SizeHints {
  /** As configured; null = as stored. */
  readonly quantization: string | null;
  /** `auto`, `float16`, `float32`, … */
  readonly dtype: string;
  /** Branch, tag or commit; absent = `main`. */
  readonly revision?: string | null;
}

/** An index that counts two bytes for every quantised weight is this far off, or further. */
const IMPLAUSIBLE = 1.5;
/** Bytes of a weight that the engine itself quantises while loading, over two. */
const ON_THE_FLY: ReadonlyMap<string, number> = new Map([
  ['fp8', 1 / 2],
  ['bitsandbytes', (0.5 + 4 / 64) / 2],
]);

export function sizeFrom(facts: RepoFacts, hints: SizeHints): ModelSize {
  if (facts.config === null) return unknown('it has no config.json that can be read');
  const text = readShape({ config: facts.config, quantConfig: facts.quantConfig, dtype: hints.dtype });
  if (typeof text === 'string') return unknown(text);
  const notes = [...text.notes];
  const stored = storedWeights(facts, text, facts.config, notes);
  const shape: ModelShape = {
    weightBytes: stored === null ? null : loadedBytes(stored, text, hints, notes),
    kv: text.kv,
    kvElementBytes: text.kvElementBytes,
    nativeLength: text.nativeLength,
    attentionHeads: text.attentionHeads,
    notes,
  };
  return { kind: 'shape', shape };
}

function unknown(reason: string): ModelSize {
  return { kind: 'unknown', reason, passing: false };
}

function storedWeights(facts: RepoFacts, text: TextShape, config: JsonObject, notes: string[]): WeightFacts | null {
  if (facts.weights !== null) {
    notes.push(`weights: ${facts.weights.from}`);
    return facts.weights;
  }
  const counted = countedWeights(config, text.text, text.quantisation);
  const stated = facts.statedBytes;
  if (stated !== null && (counted === null || stated < counted * IMPLAUSIBLE)) {
    notes.push('weights: the total that its index states');
    return { bytes: stated, elementBytes: null, from: '' };
  }
  if (counted === null) {
    notes.push('the size of its weights is not known');
    return null;
  }
  notes.push('weights: counted from config.json');
  return { bytes: counted, elementBytes: 2, from: '' };
}

/** As the engine holds them: in 16 bits unless told otherwise, whatever they are stored in. */
function loadedBytes(stored: WeightFacts, text: TextShape, hints: SizeHints, notes: string[]): Bytes {
  if (text.quantisation.method !== null) return stored.bytes;
  const from = stored.elementBytes ?? (text.dtype !== null && isSinglePrecision(text.dtype) ? 4 : 2);
  const to = isSinglePrecision(hints.dtype) ? 4 : 2;
  const bytes = from === to || from === 1 ? stored.bytes : Math.ceil((stored.bytes * to) / from);
  if (bytes < stored.bytes) notes.push('stored in 32 bits, loaded in 16');
  if (bytes > stored.bytes) notes.push('stored in 16 bits, loaded in 32');
  const factor = ON_THE_FLY.get(hints.quantization?.toLowerCase() ?? '');
  if (factor === undefined || from === 1) return bytes;
  notes.push(`${hints.quantization ?? ''} is done while loading: a start may take up to the full size for a while`);
  const kept = Math.min(bytes, embeddingBytes(text.text));
  return Math.ceil(kept + (bytes - kept) * factor);
}
