/** How the weights are stored when not as plain numbers, and what the files ask for the KV cache. */
import { asObject, countAt, fieldOf, flagAt, listAt, objectAt, textAt, type JsonObject } from './json.ts';

export interface Quantisation {
  /** `fp8`, `awq`, …; null = plain numbers. */
  readonly method: string | null;
  /** Bytes per weight of a quantised matrix, with its scales; null = unknown. */
  readonly weightBytes: number | null;
  /** Only the experts are quantised. */
  readonly expertsOnly: boolean;
  /** Bytes of a KV element that the files ask for; null = as the model computes. */
  readonly kvElementBytes: number | null;
}

const NONE: Quantisation = { method: null, weightBytes: null, expertsOnly: false, kvElementBytes: null };
/** A scale in single precision for each block of 128 × 128. */
const BLOCK_FP8 = 1 + 4 / 128 ** 2;
/** Four bits and a one-byte scale for every 16 (nvfp4) or 32 (mxfp4). */
const NVFP4 = 0.5 + 1 / 16;
const MXFP4 = 0.5 + 1 / 32;
const USUAL_GROUP = 128;

/** `extra`: hf_quant_config.json, where some publishers keep it instead. */
export function quantisationOf(config: JsonObject, text: JsonObject, extra: JsonObject | null): Quantisation {
  const own =
    objectAt(config, 'quantization_config') ??
    objectAt(text, 'quantization_config') ??
    objectAt(config, 'compression_config');
  const published = extra === null ? null : objectAt(extra, 'quantization');
  if (own === null && published === null) return NONE;
  const fields = { ...published, ...own };
  const method = (textAt(fields, 'quant_method') ?? textAt(fields, 'quant_algo') ?? 'unknown').toLowerCase();
  return {
    method,
    weightBytes: weightBytesOf(method, fields),
    expertsOnly: method === 'mxfp4',
    kvElementBytes: kvElementBytesOf(fields),
  };
}

function weightBytesOf(method: string, fields: JsonObject): number | null {
  const algorithm = (textAt(fields, 'quant_algo') ?? method).toLowerCase();
  if (/nvfp4|w4a16_nvfp4/.test(algorithm)) return NVFP4;
  if (algorithm.includes('mxfp4')) return MXFP4;
  if (algorithm.includes('fp8')) return listAt(fields, 'weight_block_size') === null ? 1 : BLOCK_FP8;
  if (method.includes('compressed-tensors')) return groupedBytes(firstGroup(fields));
  if (method === 'bitsandbytes') return flagAt(fields, 'load_in_8bit') === true ? 1 : 0.5 + 4 / 64;
  return groupedBytes(fields);
}

function firstGroup(fields: JsonObject): JsonObject {
  const groups = objectAt(fields, 'config_groups') ?? {};
  const first = asObject(Object.values(groups)[0]);
  return (first === null ? null : objectAt(first, 'weights')) ?? {};
}

/** Integers of so many bits with a half-precision scale, and below 8 bits a zero point, for each group. */
function groupedBytes(fields: JsonObject): number | null {
  const bits = countAt(fields, 'bits', 'num_bits', 'w_bit', 'nbits');
  if (bits === null || bits > 16) return null;
  if (bits >= 8) return bits / 8;
  const group = countAt(fields, 'group_size', 'q_group_size') ?? USUAL_GROUP;
  return bits / 8 + (2 + bits / 8) / group;
}

function kvElementBytesOf(fields: JsonObject): number | null {
  const algorithm = textAt(fields, 'kv_cache_quant_algo');
  if (algorithm !== null) return /fp8|int8|fp4/i.test(algorithm) ? 1 : null;
  const scheme = asObject(fieldOf(fields, 'kv_cache_scheme'));
  return scheme !== null && countAt(scheme, 'num_bits') === 8 ? 1 : null;
}
