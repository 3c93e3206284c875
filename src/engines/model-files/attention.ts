/** Heads of attention layers and what a head keeps of a token. */
import { keepsWholeKeys } from './families.ts';
import { asCount, asObject, countAt, fieldOf, flagAt, listAt, objectAt, type JsonObject } from './json.ts';
import type { TextConfig } from './text-config.ts';

export interface HeadSizes {
  readonly kvHeads: number;
  readonly keySize: number;
  readonly valueSize: number;
}

export interface Attention {
  /** Query heads. */
  readonly heads: number;
  /** Of the layer with this index; `windowed` where it has a window. */
  readonly sizes: (index: number, windowed: boolean) => HeadSizes;
  /** Elements of the one vector per token that latent attention keeps; null = whole keys and values. */
  readonly latent: number | null;
  /** Bytes per token and layer of the keys that choose what sparse attention looks at; 0 = none. */
  readonly indexBytes: number;
}

export const hiddenSize = (fields: JsonObject): number | null =>
  countAt(fields, 'hidden_size', 'd_model', 'n_embd', 'n_embed', 'dim');

export const headCount = (fields: JsonObject): number | null =>
  countAt(fields, 'decoder_attention_heads', 'num_attention_heads', 'n_heads', 'n_head', 'num_heads');

/** Null = its files do not say how large a head is, or how many there are. */
export function attentionOf({ fields, modelType }: TextConfig): Attention | null {
  const heads = headCount(fields);
  if (heads === null) return null;
  const headSize = headSizeOf(fields, heads);
  const rank = countAt(fields, 'kv_lora_rank');
  const rope = countAt(fields, 'qk_rope_head_dim') ?? 0;
  const latent = rank !== null && !keepsWholeKeys(modelType) ? rank + rope : null;
  if (headSize === null && latent === null) return null;
  const shared = sharedSizes(fields, modelType, heads, headSize ?? 1);
  return {
    heads,
    latent,
    indexBytes: latent === null ? 0 : indexBytesOf(fields),
    sizes: (index, windowed) => {
      const sizes = windowed ? windowedSizes(fields, shared) : wideSizes(fields, shared);
      const kvHeads = ownKvHeads(fields, heads, index);
      return kvHeads === null ? sizes : { ...sizes, kvHeads };
    },
  };
}

function headSizeOf(fields: JsonObject, heads: number): number | null {
  const nope = countAt(fields, 'qk_nope_head_dim');
  if (nope !== null && countAt(fields, 'kv_lora_rank') !== null)
    return nope + (countAt(fields, 'qk_rope_head_dim') ?? 0);
  const named = countAt(fields, 'head_dim', 'd_kv', 'kv_channels', 'attention_head_dim', 'attention_head_size');
  if (named !== null) return named;
  const hidden = hiddenSize(fields);
  return hidden === null ? null : Math.max(1, Math.floor(hidden / heads));
}

function sharedSizes(fields: JsonObject, modelType: string, heads: number, headSize: number): HeadSizes {
  // Latent keys are unpacked to whole ones of equal size by the engines that do not keep the latent vector.
  const value = countAt(fields, 'kv_lora_rank') === null ? countAt(fields, 'v_head_dim') : null;
  return { kvHeads: kvHeadsOf(fields, modelType, heads), keySize: headSize, valueSize: value ?? headSize };
}

/** As many as query heads where nothing says otherwise: the most there can be. */
function kvHeadsOf(fields: JsonObject, modelType: string, heads: number): number {
  // The head count of the file means something only in the newer of two architectures of this class.
  if (modelType === 'falcon' || modelType.startsWith('RefinedWeb')) {
    if (flagAt(fields, 'new_decoder_architecture') !== true) return flagAt(fields, 'multi_query') === false ? heads : 1;
  } else if (flagAt(fields, 'multi_query') === true) {
    return 1;
  }
  const grouped = flagAt(fields, 'multi_query_attention') === true ? countAt(fields, 'multi_query_group_num') : null;
  const nested = countAt(objectAt(fields, 'attn_config') ?? {}, 'kv_n_heads');
  const named = countAt(fields, 'num_key_value_heads', 'num_kv_heads', 'n_kv_heads', 'n_head_kv', 'num_query_groups');
  return Math.min(heads, grouped ?? nested ?? named ?? heads);
}

/** Lists with one entry per layer, and blocks that were pruned one by one. */
function ownKvHeads(fields: JsonObject, heads: number, index: number): number | null {
  const list = listAt(fields, 'num_key_value_heads') ?? listAt(fields, 'num_kv_heads');
  if (list !== null) return asCount(list[index]) ?? heads;
  const block = asObject(listAt(fields, 'block_configs')?.[index]);
  const group = block === null ? null : countAt(objectAt(block, 'attention') ?? {}, 'n_heads_in_group');
  return group === null ? null : Math.max(1, Math.floor(heads / group));
}

function windowedSizes(fields: JsonObject, shared: HeadSizes): HeadSizes {
  const keySize = countAt(fields, 'swa_head_dim');
  return {
    kvHeads: countAt(fields, 'swa_num_key_value_heads') ?? shared.kvHeads,
    keySize: keySize ?? shared.keySize,
    valueSize: countAt(fields, 'swa_v_head_dim') ?? keySize ?? shared.valueSize,
  };
}

function wideSizes(fields: JsonObject, shared: HeadSizes): HeadSizes {
  const size = countAt(fields, 'global_head_dim');
  return {
    kvHeads: countAt(fields, 'num_global_key_value_heads') ?? shared.kvHeads,
    keySize: size ?? shared.keySize,
    valueSize: size ?? shared.valueSize,
  };
}

/** One byte per element and a 4-byte scale for every 128 of them. */
function indexBytesOf(fields: JsonObject): number {
  const size = fieldOf(fields, 'index_topk') === undefined ? null : countAt(fields, 'index_head_dim');
  return size === null ? 0 : size + 4 * Math.ceil(size / 128);
}
