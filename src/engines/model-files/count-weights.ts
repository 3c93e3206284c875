/**
 * Bytes of the weights from the fields of config.json, for classes whose layers are of one known build: what is left when
 * no file and no index says it, and what a stated total is held against.
 */
import type { Bytes } from '../../units.ts';
import { attentionOf, hiddenSize } from './attention.ts';
import { countAt, flagAt, listAt, objectAt, type JsonObject } from './json.ts';
import type { Quantisation } from './quantisation.ts';
import type { TextConfig } from './text-config.ts';

/** Gated feed-forward layers, or experts of such; rotary positions. */
const KNOWN_BUILD =
  /^(?:llama|mistral|mixtral|qwen2|qwen2_moe|qwen3|qwen3_moe|phi3|gemma|gemma2|gemma3_text|deepseek_v2|deepseek_v3|kimi_k2|olmo2|olmo3|granite|seed_oss|glm4_moe|cohere|cohere2)$/;
const HALF = 2;

/** Counts of weights, by whether quantisation takes them. */
interface Counts {
  /** Matrices of the layers but for experts. */
  readonly layers: number;
  readonly experts: number;
  /** Embeddings, output head, routers, norms. */
  readonly rest: number;
}

/** As stored; null = a class that is not known here, or a quantisation that is not. */
export function countedWeights(config: JsonObject, text: TextConfig, quantisation: Quantisation): Bytes | null {
  const counts = countsOf(config, text);
  if (counts === null) return null;
  if (quantisation.method === null) return HALF * (counts.layers + counts.experts + counts.rest);
  if (quantisation.weightBytes === null) return null;
  const layerBytes = quantisation.expertsOnly ? HALF : quantisation.weightBytes;
  return Math.ceil(counts.layers * layerBytes + counts.experts * quantisation.weightBytes + counts.rest * HALF);
}

/** What stays 16-bit when an engine quantises the layers itself; 0 = unknown. */
export function embeddingBytes({ fields }: TextConfig): Bytes {
  const table = (countAt(fields, 'vocab_size') ?? 0) * (hiddenSize(fields) ?? 0);
  return HALF * table * (flagAt(fields, 'tie_word_embeddings') === true ? 1 : 2);
}

function countsOf(config: JsonObject, text: TextConfig): Counts | null {
  const { fields, modelType } = text;
  if (!KNOWN_BUILD.test(modelType) || objectAt(config, 'vision_config') !== null) return null;
  const hidden = hiddenSize(fields);
  const layers = countAt(fields, 'num_hidden_layers');
  const vocabulary = countAt(fields, 'vocab_size');
  const attention = attentionWeights(text);
  const dense = countAt(fields, 'intermediate_size');
  if (hidden === null || layers === null || vocabulary === null || attention === null || dense === null) return null;
  const extra = countAt(fields, 'num_nextn_predict_layers') ?? 0;
  const experts = expertsOf(fields, layers + extra);
  const matrix = 3 * hidden;
  const table = vocabulary * hidden;
  const tables = (flagAt(fields, 'tie_word_embeddings') === true ? 1 : 2) + 2 * extra;
  return {
    layers:
      (layers + extra) * attention +
      (layers + extra - experts.layers) * matrix * dense +
      experts.layers * matrix * experts.shared +
      extra * 2 * hidden ** 2,
    experts: experts.layers * experts.count * matrix * experts.width,
    rest: tables * table + experts.layers * experts.count * hidden + (layers + extra) * 2 * hidden,
  };
}

function attentionWeights(text: TextConfig): number | null {
  const { fields } = text;
  const attention = attentionOf(text);
  const hidden = hiddenSize(fields);
  if (attention === null || hidden === null) return null;
  if (attention.latent !== null) return latentWeights(fields, hidden, attention.heads);
  const { kvHeads, keySize, valueSize } = attention.sizes(0, false);
  return hidden * (attention.heads * keySize + kvHeads * (keySize + valueSize) + attention.heads * valueSize);
}

function latentWeights(fields: JsonObject, hidden: number, heads: number): number | null {
  const rank = countAt(fields, 'kv_lora_rank');
  const rope = countAt(fields, 'qk_rope_head_dim');
  const nope = countAt(fields, 'qk_nope_head_dim');
  const value = countAt(fields, 'v_head_dim');
  if (rank === null || rope === null || nope === null || value === null) return null;
  const queryRank = countAt(fields, 'q_lora_rank');
  const query = heads * (nope + rope);
  const queries = queryRank === null ? hidden * query : hidden * queryRank + queryRank * query;
  return queries + hidden * (rank + rope) + rank * heads * (nope + value) + heads * value * hidden;
}

interface Experts {
  /** Layers that have experts in place of one feed-forward. */
  readonly layers: number;
  readonly count: number;
  readonly width: number;
  /** Width of what every token passes besides. */
  readonly shared: number;
}

function expertsOf(fields: JsonObject, layers: number): Experts {
  const count = countAt(fields, 'num_experts', 'n_routed_experts', 'num_local_experts');
  const width = countAt(fields, 'moe_intermediate_size', 'intermediate_size');
  if (count === null || width === null) return { layers: 0, count: 0, width: 0, shared: 0 };
  const step = countAt(fields, 'decoder_sparse_step', 'moe_layer_freq') ?? 1;
  const denseFirst = countAt(fields, 'first_k_dense_replace') ?? 0;
  const denseOnes = listAt(fields, 'mlp_only_layers')?.length ?? 0;
  const shared =
    countAt(fields, 'shared_expert_intermediate_size') ?? (countAt(fields, 'n_shared_experts') ?? 0) * width;
  return { layers: Math.max(0, Math.floor((layers - denseFirst) / step) - denseOnes), count, width, shared };
}
