/** From config.json to what a model keeps for its tokens. Never throws, whatever the JSON holds. */
import type { KvLayers } from '../../core/memory/model-shape.ts';
import { attentionOf, type Attention } from './attention.ts';
import { constantState, type ConstantState } from './constant-state.ts';
import { isEncoderOnly } from './families.ts';
import { countAt, flagAt, textAt, type JsonObject } from './json.ts';
import { chunkSize, layerKinds, slidingWindow, type LayerKind } from './layer-kinds.ts';
import { nativeLength } from './native-length.ts';
import { quantisationOf, type Quantisation } from './quantisation.ts';
import { textConfigOf, type TextConfig } from './text-config.ts';

export interface TextShape {
  readonly kv: readonly KvLayers[];
  readonly kvElementBytes: number;
  readonly nativeLength: number | null;
  readonly attentionHeads: number | null;
  /** Type of the weights as the files say: `bfloat16`, …; null = they do not. */
  readonly dtype: string | null;
  readonly quantisation: Quantisation;
  readonly text: TextConfig;
  readonly notes: readonly string[];
}

export interface ShapeQuestion {
  readonly config: JsonObject;
  /** hf_quant_config.json. */
  readonly quantConfig: JsonObject | null;
  /** As configured for the engine: `auto`, `float32`, … */
  readonly dtype: string;
}

const MAX_LAYERS = 4096;
/** Positions of the encoder where its files leave them out. */
const USUAL_POSITIONS = 512;
/** Tokens of an image in models that look at one by cross attention: four tiles of 1,601. */
const IMAGE_POSITIONS = 4 * 1_601;

/** A text = what is missing, for people. */
export function readShape({ config, quantConfig, dtype }: ShapeQuestion): TextShape | string {
  const text = textConfigOf(config);
  const quantisation = quantisationOf(config, text.fields, quantConfig);
  const notes = [...text.notes];
  const kv = kvLayers(text, notes);
  if (typeof kv === 'string') return kv;
  if (quantisation.kvElementBytes !== null) {
    notes.push('its files ask for a KV cache of one byte per element; an engine that ignores that takes twice as much');
  }
  return {
    kv,
    kvElementBytes: quantisation.kvElementBytes ?? (isSinglePrecision(dtype) ? 4 : 2),
    nativeLength: nativeLength(text),
    attentionHeads: attentionOf(text)?.heads ?? null,
    dtype: textAt(text.fields, 'torch_dtype') ?? textAt(text.fields, 'dtype'),
    quantisation,
    text,
    notes,
  };
}

/** Engines take 16 bits for what is stored in 32, unless told to keep them. */
export const isSinglePrecision = (dtype: string): boolean => dtype === 'float32' || dtype === 'float';

function kvLayers(text: TextConfig, notes: string[]): KvLayers[] | string {
  const { fields, modelType, architecture } = text;
  if (flagAt(fields, 'is_decoder') !== true && isEncoderOnly(modelType, architecture)) {
    notes.push(`${modelType} reads its whole input at once: no KV cache`);
    return [];
  }
  const layers = countAt(
    fields,
    'decoder_layers',
    'num_decoder_layers',
    'num_hidden_layers',
    'n_layers',
    'n_layer',
    'num_layers',
  );
  if (layers === null || layers > MAX_LAYERS) return 'its config.json does not say how many layers it has';
  const kinds = layerKinds(text, layers);
  const attention = attentionOf(text);
  if (attention === null && kinds.some((kind) => kind !== 'state' && kind !== 'none')) {
    return 'its config.json does not say how many attention heads it has, or how large they are';
  }
  const state = constantState(text);
  const native = nativeLength(text);
  const each = kinds.flatMap((kind, index) => layerOf(kind, index, { text, attention, state, native }));
  if (state.guessed && kinds.some((kind) => kind === 'state' || kind === 'both')) {
    notes.push('the size of its constant state is not in config.json: that of the widest known layers is assumed');
  }
  return merged([...each, ...encoderLayers(text, layers, attention, notes)]);
}

interface Known {
  readonly text: TextConfig;
  readonly attention: Attention | null;
  readonly state: ConstantState;
  readonly native: number | null;
}

function layerOf(kind: LayerKind, index: number, known: Known): KvLayers[] {
  const { elements, elementBytes } = known.state;
  const state: KvLayers = { kind: 'state', layers: 1, elements, elementBytes };
  if (kind === 'none') return [];
  if (kind === 'state' || known.attention === null) return [state];
  const attended = attentionLayer(kind, index, known.attention, known);
  return kind === 'both' ? [...attended, state] : attended;
}

function attentionLayer(kind: LayerKind, index: number, attention: Attention, { text, native }: Known): KvLayers[] {
  const { fields } = text;
  const { latent: elements, indexBytes } = attention;
  if (elements !== null && kind !== 'cross') {
    const latent: KvLayers = { kind: 'latent', layers: 1, elements };
    return indexBytes === 0 ? [latent] : [latent, { kind: 'latent', layers: 1, elements: Math.ceil(indexBytes / 2) }];
  }
  const sizes = attention.sizes(index, kind === 'sliding');
  if (kind === 'cross') return [{ kind: 'cross', layers: 1, ...sizes, positions: IMAGE_POSITIONS }];
  const window = kind === 'sliding' ? slidingWindow(fields) : kind === 'chunked' ? chunkSize(fields) : null;
  // A window that no sequence outgrows, or one that nobody has sized, drops nothing.
  if (window === null || (native !== null && window >= native)) return [{ kind: 'full', layers: 1, ...sizes }];
  return [{ kind: kind === 'chunked' ? 'chunked' : 'sliding', layers: 1, ...sizes, window }];
}

/** A decoder that listens to an encoder keeps the keys and values of its positions too. */
function encoderLayers(
  { fields }: TextConfig,
  layers: number,
  attention: Attention | null,
  notes: string[],
): KvLayers[] {
  const listens = flagAt(fields, 'is_encoder_decoder') === true || countAt(fields, 'decoder_layers') !== null;
  if (!listens || attention === null) return [];
  const positions = countAt(fields, 'max_source_positions', 'max_position_embeddings', 'n_positions');
  if (positions === null) notes.push(`its encoder is taken to have ${USUAL_POSITIONS} positions`);
  return [{ kind: 'cross', layers, ...attention.sizes(0, false), positions: positions ?? USUAL_POSITIONS }];
}

/** Layers that keep the same, as one entry. */
function merged(each: readonly KvLayers[]): KvLayers[] {
  const found = new Map<string, KvLayers>();
  for (const layers of each) {
    const key = JSON.stringify({ ...layers, layers: 0 });
    const before = found.get(key)?.layers ?? 0;
    found.set(key, { ...layers, layers: before + layers.layers });
  }
  return [...found.values()];
}
