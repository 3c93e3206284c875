/** Facts of a model that its memory follows from, as read from its files. Plain data. */
import type { Bytes } from '../../units.ts';

/** One kind of layer with what it keeps per token or per sequence, before any split over devices. */
export type KvLayers =
  /** Keys and values of every token (MHA, GQA, MQA). */
  | {
      readonly kind: 'full';
      readonly layers: number;
      readonly kvHeads: number;
      /** Elements of a key and of a value per head. */
      readonly keySize: number;
      readonly valueSize: number;
    }
  /** As `full`, but of the last `window` tokens only. */
  | {
      readonly kind: 'sliding' | 'chunked';
      readonly layers: number;
      readonly kvHeads: number;
      readonly keySize: number;
      readonly valueSize: number;
      /** Tokens. */
      readonly window: number;
    }
  /** One latent vector per token for all heads (MLA): every device holds all of it. */
  | { readonly kind: 'latent'; readonly layers: number; readonly elements: number }
  /** Constant state per sequence (Mamba, linear attention): elements over all heads, split over devices. */
  | { readonly kind: 'state'; readonly layers: number; readonly elements: number; readonly elementBytes: number }
  /** Cross attention over a fixed number of encoder positions, per sequence. */
  | {
      readonly kind: 'cross';
      readonly layers: number;
      readonly kvHeads: number;
      readonly keySize: number;
      readonly valueSize: number;
      readonly positions: number;
    };

export interface ModelShape {
  /** Bytes of all weights as loaded, over all devices; null = unknown. */
  readonly weightBytes: Bytes | null;
  readonly kv: readonly KvLayers[];
  /** Bytes of a KV element as the model's files ask for. */
  readonly kvElementBytes: number;
  /** Native context length in tokens; null = unknown. */
  readonly nativeLength: number | null;
  /** Query heads: a tensor parallel size must divide them; null = unknown. */
  readonly attentionHeads: number | null;
  /** Where the numbers are from and what was assumed, for people, one sentence each. */
  readonly notes: readonly string[];
}

/** What is known of a model's files. */
export type ModelSize =
  | { readonly kind: 'shape'; readonly shape: ModelShape }
  /** `passing`: a later look may find it (no network, no token), so nothing is concluded for good. */
  | { readonly kind: 'unknown'; readonly reason: string; readonly passing: boolean };
