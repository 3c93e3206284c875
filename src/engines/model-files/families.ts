/**
 * What a class of models takes for fields that its config.json leaves out (transformers writes only what differs from the
 * defaults of the class), and what classes do without saying so in any field.
 */
import type { JsonObject } from './json.ts';

const LLAMA =
  'num_hidden_layers 32, num_attention_heads 32, hidden_size 4096, intermediate_size 11008, vocab_size 32000';
const MISTRAL =
  'num_hidden_layers 32, num_attention_heads 32, num_key_value_heads 8, hidden_size 4096, intermediate_size 14336, ' +
  'vocab_size 32000, max_position_embeddings 131072';
const QWEN2 =
  'num_hidden_layers 32, num_attention_heads 32, num_key_value_heads 32, hidden_size 4096, intermediate_size 22016, ' +
  'vocab_size 151936, max_position_embeddings 32768, use_sliding_window false';
const QWEN3 = `${QWEN2}, head_dim 128`;
const LATENT = 'kv_lora_rank 512, qk_rope_head_dim 64, qk_nope_head_dim 128, v_head_dim 128';
const LINEAR =
  'full_attention_interval 4, linear_conv_kernel_dim 4, linear_key_head_dim 128, linear_value_head_dim 128, ' +
  'linear_num_key_heads 16, linear_num_value_heads 32, head_dim 256';
const GEMMA =
  'num_attention_heads 8, num_key_value_heads 4, head_dim 256, hidden_size 2304, intermediate_size 9216, ' +
  'vocab_size 256000, max_position_embeddings 8192, num_hidden_layers 26, tie_word_embeddings true';
const GEMMA3 = `${GEMMA}, vocab_size 262208, max_position_embeddings 131072, sliding_window 4096, sliding_window_pattern 6`;

/** `field value` pairs; of two for one field the later counts. */
const FAMILIES: Readonly<Record<string, string>> = {
  llama: `${LLAMA}, max_position_embeddings 2048`,
  llama4_text:
    'num_hidden_layers 48, num_attention_heads 40, num_key_value_heads 8, head_dim 128, hidden_size 5120, ' +
    'vocab_size 202048, max_position_embeddings 131072, attention_chunk_size 8192, no_rope_layer_interval 4',
  mistral: MISTRAL,
  mixtral: `${MISTRAL}, num_local_experts 8`,
  qwen2: QWEN2,
  qwen2_vl: QWEN2,
  qwen2_vl_text: QWEN2,
  qwen2_5_vl: QWEN2,
  qwen2_5_vl_text: QWEN2,
  qwen2_moe: 'use_sliding_window false',
  qwen3: QWEN3,
  qwen3_vl_text: QWEN3,
  qwen3_moe: 'use_sliding_window false, num_experts 128, head_dim 128',
  qwen3_vl_moe_text: 'use_sliding_window false',
  qwen3_next: `${LINEAR}, num_hidden_layers 48, num_attention_heads 16, num_key_value_heads 2`,
  qwen3_5_text: LINEAR,
  qwen3_5_moe_text: LINEAR,
  phi3: `${LLAMA}, hidden_size 3072, intermediate_size 8192, vocab_size 32064, max_position_embeddings 4096`,
  gemma: `${GEMMA}, num_hidden_layers 28, num_attention_heads 16, num_key_value_heads 16, hidden_size 3072, intermediate_size 24576`,
  gemma2: `${GEMMA}, sliding_window 4096, sliding_window_pattern 2`,
  gemma3: GEMMA3,
  gemma3_text: GEMMA3,
  gemma3n_text:
    `${GEMMA3}, num_hidden_layers 35, num_key_value_heads 2, hidden_size 2048, max_position_embeddings 32768, ` +
    'sliding_window 512, sliding_window_pattern 5, num_kv_shared_layers 15',
  cohere2: 'sliding_window 4096, sliding_window_pattern 4',
  gpt_oss:
    'num_hidden_layers 36, num_attention_heads 64, num_key_value_heads 8, head_dim 64, hidden_size 2880, ' +
    'max_position_embeddings 131072, sliding_window 128, sliding_window_pattern 2',
  falcon:
    'num_hidden_layers 32, num_attention_heads 71, hidden_size 4544, max_position_embeddings 2048, multi_query true, ' +
    'new_decoder_architecture false',
  gpt_bigcode: 'multi_query true',
  jamba:
    'num_hidden_layers 32, num_attention_heads 32, num_key_value_heads 8, hidden_size 4096, ' +
    'max_position_embeddings 262144, attn_layer_period 8, attn_layer_offset 4, mamba_d_state 16, mamba_d_conv 4, mamba_expand 2',
  deepseek_v2: LATENT,
  deepseek_v3: LATENT,
  deepseek_v32: `${LATENT}, index_head_dim 128`,
};

/** Old spellings, and wrappers whose text model is of another class. */
const SAME_AS: Readonly<Record<string, string>> = {
  RefinedWeb: 'falcon',
  RefinedWebModel: 'falcon',
  kimi_k2: 'deepseek_v3',
  gemma3n: 'gemma3n_text',
  llama4: 'llama4_text',
  'phi-3': 'phi3',
};

export function familyDefaults(modelType: string): JsonObject {
  const name = Object.hasOwn(SAME_AS, modelType) ? (SAME_AS[modelType] ?? modelType) : modelType;
  return Object.hasOwn(FAMILIES, name) ? fieldsOf(FAMILIES[name] ?? '') : {};
}

function fieldsOf(pairs: string): JsonObject {
  return Object.fromEntries(
    pairs.split(', ').map((pair) => {
      const [name = '', value = ''] = pair.split(' ');
      return [name, value === 'true' || value === 'false' ? value === 'true' : Number(value)];
    }),
  );
}

const ENCODERS = new Set([
  ...['albert', 'bert', 'camembert', 'deberta', 'deberta-v2', 'distilbert', 'electra', 'ernie', 'gte', 'jina_bert'],
  ...['modernbert', 'mpnet', 'new', 'nomic_bert', 'roberta', 'roformer', 'snowflake_gte', 'xlm-roberta'],
  ...['xlm-roberta-flash', 'xlm_roberta', 'clip', 'siglip', 'vit', 'wav2vec2'],
]);

/** It reads its whole input at once and generates nothing: no KV cache. */
export function isEncoderOnly(modelType: string, architecture: string): boolean {
  return ENCODERS.has(modelType) || /For(?:MaskedLM|TokenClassification)$/.test(architecture);
}

/** Classes whose engines keep whole keys and values although their files name a latent rank. */
export const keepsWholeKeys = (modelType: string): boolean => modelType === 'minicpm3';
