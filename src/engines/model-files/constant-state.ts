/** What layers without growing KV cache keep for a running sequence: a short convolution and a recurrent state. */
import { hiddenSize } from './attention.ts';
import { countAt, listAt, objectAt, textAt, type JsonObject } from './json.ts';
import type { TextConfig } from './text-config.ts';

export interface ConstantState {
  readonly elements: number;
  readonly elementBytes: number;
  /** The files name no sizes that are known here. */
  readonly guessed: boolean;
}

interface Parts {
  readonly convolution: number;
  readonly recurrent: number;
  /** Recurrent states that are kept in single precision whatever the model says. */
  readonly precise?: boolean;
}

/** Bytes of an element in half precision, which engines take unless the files say otherwise. */
const HALF = 2;
/** Of a state that nobody describes: what the widest known layers keep, per element of twice the hidden size. */
const GUESSED_STATE = 128;
const GUESSED_KERNEL = 4;
const GUESSED_HIDDEN = 8192;

export function constantState({ fields, modelType }: TextConfig): ConstantState {
  const known =
    gatedDelta(fields) ??
    keyedDelta(fields) ??
    mamba2(fields, modelType) ??
    mamba1(fields) ??
    shortConvolution(fields) ??
    lightning(fields);
  const parts = known ?? guess(fields);
  const type = textAt(fields, 'mamba_ssm_dtype') ?? textAt(fields, 'mamba_ssm_cache_dtype') ?? '';
  // In units of half precision, so that one number stands for both.
  const wide = parts.precise === true || type.includes('float32') ? 2 : 1;
  return { elements: parts.convolution + wide * parts.recurrent, elementBytes: HALF, guessed: known === null };
}

/** Qwen3-Next and its successors. */
function gatedDelta(fields: JsonObject): Parts | null {
  const valueHeads = countAt(fields, 'linear_num_value_heads');
  const keyHeads = countAt(fields, 'linear_num_key_heads');
  if (valueHeads === null || keyHeads === null) return null;
  const keySize = countAt(fields, 'linear_key_head_dim') ?? 128;
  const valueSize = countAt(fields, 'linear_value_head_dim') ?? 128;
  const kernel = countAt(fields, 'linear_conv_kernel_dim') ?? GUESSED_KERNEL;
  return {
    convolution: (2 * keySize * keyHeads + valueSize * valueHeads) * (kernel - 1),
    recurrent: valueHeads * valueSize * keySize,
  };
}

/** Kimi Linear. */
function keyedDelta(fields: JsonObject): Parts | null {
  const linear = objectAt(fields, 'linear_attn_config');
  if (linear === null) return null;
  const heads = countAt(linear, 'num_heads');
  const size = countAt(linear, 'head_dim');
  if (heads === null || size === null) return null;
  const kernel = countAt(linear, 'short_conv_kernel_size') ?? GUESSED_KERNEL;
  return { convolution: 3 * heads * size * (kernel - 1), recurrent: heads * size * size, precise: true };
}

function mamba2(fields: JsonObject, modelType: string): Parts | null {
  const plain = modelType === 'mamba2';
  const heads = countAt(fields, 'mamba_num_heads', 'mamba_n_heads', 'n_mamba_heads', ...(plain ? ['num_heads'] : []));
  if (heads === null) return null;
  const inner = (countAt(fields, 'mamba_expand', 'expand') ?? 2) * (hiddenSize(fields) ?? GUESSED_HIDDEN);
  const headSize =
    countAt(fields, 'mamba_head_dim', 'mamba_d_head', 'mamba_headdim', ...(plain ? ['head_dim'] : [])) ??
    Math.max(1, Math.floor(inner / heads));
  const state = countAt(fields, 'ssm_state_size', 'mamba_d_state', 'state_size') ?? GUESSED_STATE;
  const groups = countAt(fields, 'mamba_n_groups', 'mamba_ngroups', 'n_groups') ?? 1;
  const kernel = countAt(fields, 'mamba_d_conv', 'conv_kernel') ?? GUESSED_KERNEL;
  return {
    convolution: (heads * headSize + 2 * groups * state) * (kernel - 1),
    recurrent: heads * headSize * state,
  };
}

function mamba1(fields: JsonObject): Parts | null {
  const state = countAt(fields, 'mamba_d_state', 'state_size');
  const hidden = hiddenSize(fields);
  if (state === null || hidden === null) return null;
  const expand = countAt(fields, 'mamba_expand', 'expand') ?? 2;
  const kernel = countAt(fields, 'mamba_d_conv', 'conv_kernel') ?? GUESSED_KERNEL;
  return { convolution: expand * hidden * (kernel - 1), recurrent: expand * hidden * state };
}

function shortConvolution(fields: JsonObject): Parts | null {
  const length = countAt(fields, 'conv_L_cache');
  const width = countAt(fields, 'conv_dim') ?? hiddenSize(fields);
  return length === null || width === null ? null : { convolution: width * (length - 1), recurrent: 0 };
}

/** MiniMax. */
function lightning(fields: JsonObject): Parts | null {
  const heads = listAt(fields, 'attn_type_list') === null ? null : countAt(fields, 'num_attention_heads');
  const size = countAt(fields, 'head_dim');
  return heads === null || size === null ? null : { convolution: 0, recurrent: heads * size * size, precise: true };
}

function guess(fields: JsonObject): Parts {
  const inner = 2 * (hiddenSize(fields) ?? GUESSED_HIDDEN);
  return { convolution: inner * (GUESSED_KERNEL - 1), recurrent: inner * GUESSED_STATE };
}
