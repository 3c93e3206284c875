import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KvLayers } from '../../core/memory/model-shape.ts';
import { sizeFrom } from './facts.ts';
import type { JsonObject } from './json.ts';
import { readShape } from './shape.ts';

const HEADS = { num_attention_heads: 32, num_key_value_heads: 8, hidden_size: 4096 };

function kvOf(config: JsonObject): readonly KvLayers[] | string {
  const shape = readShape({ config, quantConfig: null, dtype: 'auto' });
  return typeof shape === 'string' ? shape : shape.kv;
}

/** `full 12, sliding 36`: kinds with their numbers of layers, by name. */
function counts(config: JsonObject): string {
  const kv = kvOf(config);
  if (typeof kv === 'string') return kv;
  return kv
    .map(({ kind, layers }) => `${kind} ${layers}`)
    .toSorted()
    .join(', ');
}

const layers = (count: number, fields: JsonObject): JsonObject => ({ ...HEADS, num_hidden_layers: count, ...fields });

describe('which layers keep what', () => {
  it('follows a list of layer types, a word of which it does not know keeping everything [items 118, 119]', () => {
    const layer_types = ['full_attention', 'sliding_attention', 'linear_attention', 'mamba', 'conv', 'something_new'];
    expect(counts(layers(6, { layer_types, sliding_window: 128 }))).toBe('full 2, sliding 1, state 3');
    // A list that ends early says nothing of the rest.
    expect(counts(layers(9, { layer_types, sliding_window: 128 }))).toBe('full 5, sliding 1, state 3');
    expect(counts(layers(2, { layer_types: ['sliding_attention', 'full_attention'] }))).toBe('full 2');
  });

  it('follows a pattern, floor(layers ÷ pattern) of them full [item 118]', () => {
    expect(counts(layers(62, { sliding_window: 1024, sliding_window_pattern: 6 }))).toBe('full 10, sliding 52');
    expect(counts(layers(48, { sliding_window: 1024, _sliding_window_pattern: 6 }))).toBe('full 8, sliding 40');
    expect(counts(layers(8, { sliding_window: 1024, sliding_window_pattern: 'LLLG' }))).toBe('full 2, sliding 6');
    expect(counts(layers(42, { sliding_window: 4096, model_type: 'gemma2' }))).toBe('full 21, sliding 21');
  });

  it('takes a bare window for all layers, unless it is off or wider than any sequence [item 118]', () => {
    expect(counts(layers(32, { sliding_window: 4096 }))).toBe('sliding 32');
    expect(counts(layers(32, { sliding_window: null }))).toBe('full 32');
    expect(counts(layers(32, { sliding_window: 4096, use_sliding_window: false }))).toBe('full 32');
    expect(counts(layers(32, { sliding_window: 4096, model_type: 'qwen2' }))).toBe('full 32');
    expect(counts(layers(32, { sliding_window: 4096, max_position_embeddings: 4096 }))).toBe('full 32');
    const lower = { sliding_window: 4096, use_sliding_window: true, max_window_layers: 28 };
    expect(counts(layers(32, lower))).toBe('full 28, sliding 4');
  });

  it('follows intervals, periods with an offset, and lists of indices [item 119]', () => {
    expect(counts(layers(48, { full_attention_interval: 4 }))).toBe('full 12, state 36');
    expect(counts(layers(32, { attn_layer_period: 8, attn_layer_offset: 4 }))).toBe('full 4, state 28');
    expect(counts(layers(10, { attn_layer_indices: [2, 7] }))).toBe('full 2, state 8');
    expect(counts(layers(16, { full_attn_idxs: [2, 5, 8], conv_L_cache: 3 }))).toBe('full 3, state 13');
    expect(counts(layers(6, { hybrid_override_pattern: 'M-M*-E' }))).toBe('full 1, state 2');
    expect(counts(layers(4, { attn_type_list: [0, 0, 0, 1] }))).toBe('full 1, state 3');
    expect(counts(layers(6, { block_types: ['recurrent', 'recurrent', 'attention'] }))).toBe('full 2, state 4');
    const kimi = { linear_attn_config: { full_attn_layers: [4, 8], num_heads: 32, head_dim: 128 }, kv_lora_rank: 512 };
    expect(counts(layers(8, { ...kimi, qk_rope_head_dim: 64 }))).toBe('latent 2, state 6');
  });

  it('knows chunked attention, shared caches, pruned blocks and attention beside a state', () => {
    expect(counts(layers(48, { model_type: 'llama4_text' }))).toBe('chunked 36, full 12');
    const shared = { model_type: 'gemma3n_text', num_hidden_layers: 35 };
    expect(counts({ ...HEADS, ...shared })).toBe('full 4, sliding 16');
    const block_configs = [{ attention: { n_heads_in_group: 4 } }, { attention: { no_op: true } }];
    expect(kvOf(layers(2, { block_configs }))).toEqual([
      { kind: 'full', layers: 1, kvHeads: 8, keySize: 128, valueSize: 128 },
    ]);
    expect(counts(layers(4, { model_type: 'falcon_h1' }))).toBe('full 4, state 4');
    expect(counts({ model_type: 'mamba', num_hidden_layers: 64, hidden_size: 4096, state_size: 16 })).toBe('state 64');
    expect(counts(layers(40, { cross_attention_layers: [3, 8, 13] }))).toBe('cross 3, full 37');
  });

  it('finds the text model wherever it is nested', () => {
    const text = layers(28, {});
    for (const name of ['text_config', 'llm_config', 'language_config']) {
      expect(counts({ [name]: text, vision_config: layers(99, {}) })).toBe('full 28');
    }
    expect(counts({ thinker_config: { text_config: text } })).toBe('full 28');
  });
});

describe('heads', () => {
  const headsOf = (fields: JsonObject): number | undefined => {
    const [first] = kvOf(layers(2, fields));
    return typeof first === 'object' && 'kvHeads' in first ? first.kvHeads : undefined;
  };

  it('are as many for keys as for queries where nothing says otherwise', () => {
    expect(headsOf({ num_key_value_heads: undefined })).toBe(32);
    expect(headsOf({ num_key_value_heads: 0 })).toBe(32);
    expect(headsOf({ num_key_value_heads: 'eight' })).toBe(32);
  });

  it('are one where the class shares them, whatever the file says', () => {
    expect(headsOf({ model_type: 'falcon', num_kv_heads: 71, num_key_value_heads: undefined })).toBe(1);
    expect(headsOf({ model_type: 'falcon', new_decoder_architecture: true, num_key_value_heads: 8 })).toBe(8);
    expect(headsOf({ model_type: 'falcon', multi_query: false, num_key_value_heads: undefined })).toBe(32);
    expect(headsOf({ model_type: 'gpt_bigcode', num_key_value_heads: undefined })).toBe(1);
    expect(headsOf({ multi_query_attention: true, multi_query_group_num: 2 })).toBe(2);
  });

  it('may differ from layer to layer, and between windows and the rest', () => {
    expect(kvOf(layers(3, { num_key_value_heads: [4, 4, 2] }))).toEqual([
      { kind: 'full', layers: 2, kvHeads: 4, keySize: 128, valueSize: 128 },
      { kind: 'full', layers: 1, kvHeads: 2, keySize: 128, valueSize: 128 },
    ]);
    const mixed = {
      head_dim: 192,
      v_head_dim: 128,
      hybrid_layer_pattern: [0, 1],
      sliding_window: 128,
      swa_num_key_value_heads: 4,
      swa_head_dim: 96,
    };
    expect(kvOf(layers(2, mixed))).toEqual([
      { kind: 'full', layers: 1, kvHeads: 8, keySize: 192, valueSize: 128 },
      { kind: 'sliding', layers: 1, kvHeads: 4, keySize: 96, valueSize: 96, window: 128 },
    ]);
  });

  it('keep one latent vector in classes that do, and the keys of a sparse index beside it [item 120]', () => {
    const latent = { kv_lora_rank: 512, qk_rope_head_dim: 64, qk_nope_head_dim: 128, v_head_dim: 128 };
    expect(kvOf(layers(61, latent))).toEqual([{ kind: 'latent', layers: 61, elements: 576 }]);
    expect(kvOf(layers(61, { ...latent, index_topk: 2048, index_head_dim: 128 }))).toEqual([
      { kind: 'latent', layers: 61, elements: 576 },
      { kind: 'latent', layers: 61, elements: (128 + 4) / 2 },
    ]);
    expect(counts(layers(62, { ...latent, model_type: 'minicpm3' }))).toBe('full 62');
  });
});

describe('a state that does not grow', () => {
  const elementsOf = (fields: JsonObject): number | undefined => {
    const kv = kvOf({ ...layers(2, fields), layer_types: ['full_attention', 'linear_attention'] });
    const state = typeof kv === 'string' ? undefined : kv.find((each) => each.kind === 'state');
    return state === undefined ? undefined : state.elements * state.elementBytes;
  };

  it('is a convolution and a recurrent state in the sizes of its kind [item 119]', () => {
    const delta = { linear_num_key_heads: 16, linear_num_value_heads: 32, linear_conv_kernel_dim: 4 };
    expect(elementsOf(delta)).toBe(2 * (8192 * 3 + 32 * 128 * 128));
    expect(elementsOf({ ...delta, mamba_ssm_dtype: 'float32' })).toBe(2 * 8192 * 3 + 4 * 32 * 128 * 128);
    expect(elementsOf({ mamba_d_state: 16, mamba_d_conv: 4, mamba_expand: 2 })).toBe(2 * (8192 * 3 + 8192 * 16));
    const mamba2 = { mamba_num_heads: 128, mamba_head_dim: 64, ssm_state_size: 128, n_groups: 8, conv_kernel: 4 };
    expect(elementsOf(mamba2)).toBe(2 * ((128 * 64 + 2 * 8 * 128) * 3 + 128 * 64 * 128));
    expect(elementsOf({ conv_L_cache: 3 })).toBe(2 * 4096 * 2);
  });

  it('is guessed, and said to be, where the files name no sizes', () => {
    const config = layers(2, { layer_types: ['full_attention', 'recurrent'] });
    const shape = readShape({ config, quantConfig: null, dtype: 'auto' });
    expect(typeof shape === 'string' ? shape : shape.notes.join()).toContain('is assumed');
    expect(elementsOf({})).toBe(2 * 2 * 4096 * (3 + 128));
  });
});

describe('element sizes and lengths', () => {
  const shapeOf = (config: JsonObject, quantConfig: JsonObject | null = null, dtype = 'auto') => {
    const shape = readShape({ config: layers(2, config), quantConfig, dtype });
    if (typeof shape === 'string') throw new Error(shape);
    return shape;
  };

  it('keeps KV in two bytes, in four where single precision is asked for, in one where the files ask for it [item 117]', () => {
    expect(shapeOf({ torch_dtype: 'float32' }).kvElementBytes).toBe(2);
    expect(shapeOf({}, null, 'float32').kvElementBytes).toBe(4);
    expect(shapeOf({}, { quantization: { quant_algo: 'FP8', kv_cache_quant_algo: 'FP8' } }).kvElementBytes).toBe(1);
    const scheme = { quant_method: 'compressed-tensors', kv_cache_scheme: { num_bits: 8, type: 'float' } };
    expect(shapeOf({ quantization_config: scheme }).kvElementBytes).toBe(1);
    expect(shapeOf({ quantization_config: { quant_method: 'fp8' } }).kvElementBytes).toBe(2);
  });

  it('reads the type of the weights under its old and its new name', () => {
    expect(shapeOf({ torch_dtype: 'bfloat16' }).dtype).toBe('bfloat16');
    expect(shapeOf({ dtype: 'float16' }).dtype).toBe('float16');
    expect(shapeOf({}).dtype).toBeNull();
  });

  it('takes the shortest stated length, scaled where the scaling is not in it yet', () => {
    expect(shapeOf({ max_position_embeddings: 8192, seq_length: 4096 }).nativeLength).toBe(4096);
    expect(shapeOf({}).nativeLength).toBeNull();
    const scaled = (rope_scaling: JsonObject): number | null =>
      shapeOf({ max_position_embeddings: 32_768, rope_scaling }).nativeLength;
    expect(scaled({ rope_type: 'linear', factor: 4 })).toBe(131_072);
    expect(scaled({ rope_type: 'llama3', factor: 8 })).toBe(32_768);
    expect(scaled({ type: 'yarn', factor: 4, original_max_position_embeddings: 32_768 })).toBe(131_072);
    expect(scaled({ rope_type: 'linear', factor: 1e300 })).toBe(32_768);
  });
});

describe('files that say too little', () => {
  it('give the reason, not a number', () => {
    expect(counts({})).toContain('how many layers');
    expect(counts({ num_hidden_layers: 1e9, ...HEADS })).toContain('how many layers');
    expect(counts({ num_hidden_layers: 32 })).toContain('attention heads');
    expect(counts({ num_hidden_layers: 32, num_attention_heads: 32 })).toContain('attention heads');
  });

  it('never throw, whatever JSON they hold', () => {
    const names = [
      ...['model_type', 'num_hidden_layers', 'num_attention_heads', 'num_key_value_heads', 'hidden_size', 'head_dim'],
      ...[
        'layer_types',
        'sliding_window',
        'sliding_window_pattern',
        'text_config',
        'quantization_config',
        'rope_scaling',
      ],
      ...['kv_lora_rank', 'attn_layer_period', 'attn_layer_offset', 'full_attention_interval', 'linear_attn_config'],
      ...[
        'block_configs',
        'block_types',
        'hybrid_override_pattern',
        'cross_attention_layers',
        'architectures',
        'dtype',
      ],
      ...['attention_chunk_size', 'no_rope_layers', 'num_kv_shared_layers', 'vocab_size', 'intermediate_size'],
      ...['num_experts', '__proto__', 'constructor', 'is_encoder_decoder', 'max_source_positions', 'mamba_num_heads'],
    ];
    const likely = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.integer({ min: -2, max: 4096 }),
      fc.constantFrom(
        'llama',
        'gemma3_text',
        'falcon',
        'jamba',
        'qwen3_next',
        'deepseek_v3',
        'whisper',
        'bert',
        'mxfp4',
      ),
      fc.array(fc.constantFrom('full_attention', 'sliding_attention', 'mamba', 0, 1, null), { maxLength: 40 }),
    );
    const object = fc.dictionary(
      fc.constantFrom(...names),
      fc.oneof(likely, fc.dictionary(fc.constantFrom(...names), likely)),
    );
    fc.assert(
      fc.property(object, object, fc.constantFrom('auto', 'float32', 'half'), (config, quantConfig, dtype) => {
        const facts = { config, quantConfig, weights: null, statedBytes: null };
        const size = sizeFrom(facts, { quantization: 'fp8', dtype });
        if (size.kind === 'unknown') return;
        const { weightBytes, kv } = size.shape;
        expect(weightBytes === null || weightBytes >= 0).toBe(true);
        for (const each of kv) {
          for (const value of Object.values(each)) expect(typeof value === 'string' || value > 0).toBe(true);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
