/**
 * The head of a GGUF file: key-value pairs that name the architecture and its sizes. Only as much is read as was given;
 * what a file claims of lengths and counts is never believed beyond that.
 */
import type { JsonObject } from './json.ts';

export type GgufValue = number | boolean | string | readonly (number | boolean | string)[];
export type GgufPairs = ReadonlyMap<string, GgufValue>;

/** `GGUF`, little-endian. */
const MAGIC = 0x46_55_47_47;
const MAX_PAIRS = 4096;
/** Longer lists are vocabularies. */
const MAX_KEPT_LIST = 4096;
const MAX_KEPT_TEXT = 4096;

const enumTypes = { text: 8, list: 9, flag: 7 } as const;
const FIXED_SIZES: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};

/** Thrown inside when the bytes end; never leaves this file. */
class EndOfBytes extends Error {}

class Reader {
  readonly #view: DataView;
  readonly #wide: boolean;
  #offset: number;

  constructor(view: DataView, offset: number, wide: boolean) {
    this.#view = view;
    this.#offset = offset;
    this.#wide = wide;
  }

  take(size: number): number {
    const at = this.#offset;
    if (!(size >= 0) || at + size > this.#view.byteLength) throw new EndOfBytes();
    this.#offset = at + size;
    return at;
  }

  /** Lengths and counts: four bytes in the first version, eight later. */
  length(): number {
    return this.#wide ? Number(this.#view.getBigUint64(this.take(8), true)) : this.u32();
  }

  u32(): number {
    return this.#view.getUint32(this.take(4), true);
  }

  text(): string {
    const size = this.length();
    const at = this.take(size);
    const kept = new Uint8Array(this.#view.buffer, this.#view.byteOffset + at, Math.min(size, MAX_KEPT_TEXT));
    return new TextDecoder().decode(kept);
  }

  fixed(type: number): number | boolean {
    const view = this.#view;
    const at = this.take(FIXED_SIZES[type] ?? Number.NaN);
    switch (type) {
      case 0:
        return view.getUint8(at);
      case 1:
        return view.getInt8(at);
      case 2:
        return view.getUint16(at, true);
      case 3:
        return view.getInt16(at, true);
      case 4:
        return view.getUint32(at, true);
      case 5:
        return view.getInt32(at, true);
      case 6:
        return view.getFloat32(at, true);
      case enumTypes.flag:
        return view.getUint8(at) !== 0;
      case 10:
        return Number(view.getBigUint64(at, true));
      case 11:
        return Number(view.getBigInt64(at, true));
      default:
        return view.getFloat64(at, true);
    }
  }

  value(type: number): GgufValue | null {
    if (type === enumTypes.text) return this.text();
    return type === enumTypes.list ? this.#list() : this.fixed(type);
  }

  #list(): GgufValue | null {
    const type = this.u32();
    const count = this.length();
    const size = FIXED_SIZES[type];
    // A list of lists is not in the format's use; there is no telling where it ends without reading it.
    if (type !== enumTypes.text && size === undefined) throw new EndOfBytes();
    if (count > MAX_KEPT_LIST) {
      if (size !== undefined) this.take(size * count);
      else for (let left = count; left > 0; left--) this.take(this.length());
      return null;
    }
    return Array.from({ length: count }, () => (size === undefined ? this.text() : this.fixed(type)));
  }
}

/** Null = not a GGUF file. Pairs that lie behind the end of the bytes are missing. */
export function readGgufHeader(bytes: Uint8Array): GgufPairs | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.byteLength < 8 || view.getUint32(0, true) !== MAGIC) return null;
  const version = view.getUint32(4, true);
  if (version < 1 || version > 3) return null;
  const pairs = new Map<string, GgufValue>();
  const reader = new Reader(view, 8, version > 1);
  try {
    reader.length();
    const count = Math.min(reader.length(), MAX_PAIRS);
    for (let index = 0; index < count; index++) {
      const key = reader.text();
      const value = reader.value(reader.u32());
      if (value !== null) pairs.set(key, value);
    }
  } catch (error) {
    if (!(error instanceof EndOfBytes)) throw error;
  }
  return pairs;
}

/** Windows that the files size but whose layers only the architecture knows. */
const PATTERNS: ReadonlyMap<string, number> = new Map([
  ['gemma2', 2],
  ['gemma3', 6],
  ['gemma3n', 5],
  ['gpt-oss', 2],
  ['cohere2', 4],
]);

/** The same facts in the words of a config.json; null = the pairs name no architecture. */
export function configOfGguf(pairs: GgufPairs): JsonObject | null {
  const architecture = pairs.get('general.architecture');
  if (typeof architecture !== 'string') return null;
  const at = (name: string): GgufValue | undefined => pairs.get(`${architecture}.${name}`);
  const latent = at('attention.kv_lora_rank');
  const whole = {
    head_dim: at('attention.key_length') ?? at('attention.key_length_mla'),
    v_head_dim: at('attention.value_length'),
  };
  const named = {
    num_hidden_layers: at('block_count'),
    hidden_size: at('embedding_length'),
    intermediate_size: at('feed_forward_length'),
    num_attention_heads: mostOf(at('attention.head_count')),
    num_key_value_heads: at('attention.head_count_kv'),
    max_position_embeddings: at('context_length'),
    vocab_size: at('vocab_size'),
    sliding_window: at('attention.sliding_window'),
    sliding_window_pattern: at('attention.sliding_window_pattern') ?? PATTERNS.get(architecture),
    kv_lora_rank: latent,
    qk_rope_head_dim: latent === undefined ? undefined : at('rope.dimension_count'),
    state_size: at('ssm.state_size'),
    conv_kernel: at('ssm.conv_kernel'),
    layer_types: layerTypes(at('attention.head_count_kv'), at('attention.sliding_window_pattern')),
    ...(latent === undefined ? whole : {}),
  };
  const known = Object.entries(named).filter(([, value]) => value !== undefined);
  return { model_type: `gguf ${architecture}`, dtype: 'float16', ...Object.fromEntries(known) };
}

/** Query heads of each layer, or of all. */
function mostOf(heads: GgufValue | undefined): GgufValue | undefined {
  if (!Array.isArray(heads)) return heads;
  return heads.reduce<number>((most, each) => (typeof each === 'number' && each > most ? each : most), 0);
}

/** A layer without KV heads keeps constant state; a list of flags says which have a window. */
function layerTypes(kvHeads: GgufValue | undefined, windowed: GgufValue | undefined): readonly string[] | undefined {
  if (Array.isArray(kvHeads) && kvHeads.includes(0)) {
    return kvHeads.map((heads) => (heads === 0 ? 'recurrent' : 'full_attention'));
  }
  if (!Array.isArray(windowed)) return undefined;
  return windowed.map((each) => (each === true || each === 1 ? 'sliding_attention' : 'full_attention'));
}
