import { describe, expect, it } from 'vitest';
import { GIB, MIB } from '../../units.ts';
import { estimateNeed, validDegrees } from './estimate.ts';
import type { KvLayers, ModelShape } from './model-shape.ts';
import type { MemoryRules, SizingSettings } from './sizing.ts';

const rules: MemoryRules = {
  placementMode: 'budget',
  eviction: 'lru',
  overheadFactor: 1.1,
  overhead: 1024 * MIB,
  colocateMargin: 1024 * MIB,
  weightOverhead: 1.15,
  budgetFraction: 0.9,
};
/** Only what the model itself takes. */
const bare: MemoryRules = { ...rules, overheadFactor: 1, overhead: 0 };

const sizing: SizingSettings = {
  utilization: 0.9,
  maxModelLen: 8192,
  kvSequences: 1,
  maxNumSeqs: 1,
  maxBatchedTokens: 2048,
  kvElementBytes: null,
  weightElementBytes: null,
  colocate: false,
  autoParallel: true,
};

function shape(kv: readonly KvLayers[], changes: Partial<ModelShape> = {}): ModelShape {
  return {
    weightBytes: 0,
    kv,
    kvElementBytes: 2,
    nativeLength: null,
    attentionHeads: 32,
    notes: [],
    ...changes,
  };
}

const full = (layers: number, kvHeads = 8, size = 128): KvLayers => ({
  kind: 'full',
  layers,
  kvHeads,
  keySize: size,
  valueSize: size,
});
const sliding = (layers: number, window: number, kvHeads = 8, size = 128): KvLayers => ({
  kind: 'sliding',
  layers,
  kvHeads,
  keySize: size,
  valueSize: size,
  window,
});

function kvBytes(kv: readonly KvLayers[], settings: Partial<SizingSettings> = {}, tensorParallel = 1): number {
  return estimateNeed(shape(kv), { ...sizing, ...settings }, bare, tensorParallel)?.kvBytes ?? -1;
}

describe('the need of a replica', () => {
  it('is (weights and KV) × factor + a fixed part, which devices do not share [item 122]', () => {
    const model = shape([full(32)], { weightBytes: 16_000 * MIB });
    // 32 layers × 2 × 8 heads × 128 × 2 B = 128 KiB per token: 40,000 tokens are 5,000 MiB.
    const settings = { ...sizing, maxModelLen: 40_000 };
    const one = estimateNeed(model, settings, rules, 1);
    expect(one).toEqual({
      weightsBytes: 16_000 * MIB,
      kvBytes: 5_000 * MIB,
      activationBytes: 2_100 * MIB,
      overheadBytes: 1_024 * MIB,
      totalBytes: 24_124 * MIB,
    });
    expect(estimateNeed(model, settings, rules, 2)?.totalBytes).toBe(12_574 * MIB);
    const small = shape([full(32)], { weightBytes: 5_000 * MIB });
    expect(estimateNeed(small, settings, bare, 1)?.totalBytes).toBe(10_000 * MIB);
  });

  it('is unknown without weights, and without a length unless nothing grows with it', () => {
    expect(estimateNeed(shape([full(32)], { weightBytes: null }), sizing, rules, 1)).toBeNull();
    expect(estimateNeed(shape([full(32)]), { ...sizing, maxModelLen: 0 }, rules, 1)).toBeNull();
    expect(estimateNeed(shape([]), { ...sizing, maxModelLen: 0 }, bare, 1)?.totalBytes).toBe(0);
  });

  it('counts the configured length, at most the native one, and the native one when none is configured', () => {
    const model = shape([full(32)], { nativeLength: 4096 });
    const need = (maxModelLen: number): number =>
      estimateNeed(model, { ...sizing, maxModelLen }, bare, 1)?.kvBytes ?? -1;
    expect(need(0)).toBe(4096 * 128 * 1024);
    expect(need(2048)).toBe(2048 * 128 * 1024);
    expect(need(8192)).toBe(4096 * 128 * 1024);
  });
});

describe('KV cache of layers that keep every token', () => {
  it('is layers × 2 × heads × size × bytes × tokens × sequences [item 117]', () => {
    expect(kvBytes([full(32)], { kvSequences: 16 })).toBe(16_384 * MIB);
    expect(kvBytes([full(32)], { kvSequences: 8 })).toBe(8_192 * MIB);
    expect(kvBytes([full(32)], { kvSequences: 0 })).toBe(0);
    expect(kvBytes([])).toBe(0);
  });

  it('matches the worked examples to the byte', () => {
    expect(kvBytes([full(32)])).toBe(1_073_741_824);
    expect(kvBytes([full(32)], { maxModelLen: 131_072 })).toBe(16 * GIB);
    expect(kvBytes([full(28, 4)], { maxModelLen: 32_768 })).toBe(1_879_048_192);
    expect(kvBytes([full(48, 4)], { maxModelLen: 40_960 })).toBe(4_026_531_840);
  });

  it('takes half with one byte per element', () => {
    expect(kvBytes([full(32)], { kvElementBytes: 1 })).toBe(512 * MIB);
  });

  it('rounds sequences up to whole blocks of 16 tokens', () => {
    expect(kvBytes([full(32)], { maxModelLen: 17 })).toBe(32 * 128 * 1024);
  });

  it('is divided by the degree until each device holds one head, then copied [item 121]', () => {
    const token = (degree: number, kvHeads: number, layers: number): number =>
      kvBytes([full(layers, kvHeads)], { maxModelLen: 16 }, degree) / 16;
    expect(token(2, 8, 32)).toBe(65_536);
    expect(token(8, 8, 32)).toBe(16_384);
    expect(token(16, 8, 32)).toBe(16_384);
    expect(token(4, 4, 28)).toBe(14_336);
    expect(token(8, 4, 28)).toBe(14_336);
  });
});

describe('KV cache of layers with a window', () => {
  it('holds the window and the tokens in flight, in groups of equal size', () => {
    const gemma = [full(5, 4, 256), sliding(29, 1024, 4, 256)];
    const group = 5 * 16 * 2 * 4 * 256 * 2;
    expect(group).toBe(327_680);
    expect(kvBytes(gemma, { maxModelLen: 131_072 })).toBe((8192 + 6 * 321) * group);
    expect(kvBytes(gemma, { maxModelLen: 131_072, maxBatchedTokens: 8192 })).toBe((8192 + 6 * 1089) * group);
    expect(kvBytes(gemma, { maxModelLen: 8192, maxBatchedTokens: 8192 })).toBe((512 + 6 * 513) * group);
  });

  it('shares the tokens in flight among the sequences', () => {
    // Each of 16 sequences: 4,095 tokens in 256 blocks and the block in which the window begins; 256 blocks for two steps.
    expect(kvBytes([sliding(32, 4096)], { maxModelLen: 32_768, kvSequences: 16 })).toBe(
      (16 * 257 + 256) * 16 * 32 * 4096,
    );
  });

  it('takes less than a third of full attention for five sliding layers to one full [item 118]', () => {
    const settings = { maxModelLen: 32_768, kvSequences: 16 };
    const mixed = kvBytes([full(10, 16), sliding(52, 1024, 16)], settings);
    expect(mixed).toBeLessThan(kvBytes([full(62, 16)], settings) / 3);
  });

  it('equals full attention where no sequence outgrows the window', () => {
    expect(kvBytes([full(10), sliding(52, 8192)])).toBe(kvBytes([full(62)]));
    expect(kvBytes([full(10), sliding(52, 131_072)])).toBe(kvBytes([full(62)]));
  });

  it('fills similar numbers of layers up to the larger one', () => {
    const kv = [full(12), sliding(13, 128)];
    const page = 16 * 4096;
    expect(kvBytes(kv, { maxModelLen: 8192 })).toBe((13 * 512 + 13 * (8 + 1 + 256)) * page);
  });

  it('holds a chunk and the tokens in flight where attention is chunked', () => {
    const kv: KvLayers[] = [
      { kind: 'chunked', layers: 36, kvHeads: 8, keySize: 128, valueSize: 128, window: 1024 },
      full(12),
    ];
    const page = 16 * 4096;
    expect(kvBytes(kv, { maxModelLen: 16_384 })).toBe((36 * (64 + 256) + 12 * 1024) * page);
  });

  it('puts more tokens into a page where layers keep less of each', () => {
    const kv = [full(6, 8, 256), sliding(6, 1024, 4, 256)];
    const page = 16 * 8 * 2 * 256 * 2;
    // 32 tokens of four heads take the page of 16 tokens of eight.
    expect(kvBytes(kv)).toBe(6 * (512 + (32 + 1 + 128)) * page);
  });
});

describe('KV cache of other layers', () => {
  it('keeps one latent vector per token on every device [item 120]', () => {
    const latent: KvLayers[] = [{ kind: 'latent', layers: 27, elements: 512 + 64 }];
    expect(kvBytes(latent, { maxModelLen: 163_840 })).toBe(5_096_079_360);
    expect(kvBytes(latent, { maxModelLen: 163_840 }, 8)).toBe(5_096_079_360);
  });

  it('costs a quarter when three of four layers do not grow, and their state for each running sequence [item 119]', () => {
    const length = 262_144;
    const all = kvBytes([full(64)], { maxModelLen: length });
    expect(kvBytes([full(16)], { maxModelLen: length })).toBe(all / 4);
    const elements = 65_536;
    const state: KvLayers = { kind: 'state', layers: 48, elements, elementBytes: 2 };
    // A block of 32 tokens is as large as the state.
    const page = elements * 2;
    expect(page).toBe(32 * 4096);
    const hybrid = kvBytes([full(16), state], { maxModelLen: length, maxNumSeqs: 16 });
    expect(hybrid).toBe(all / 4 + 48 * 16 * page);
    expect(kvBytes([full(16), state], { maxModelLen: length, maxNumSeqs: 32 }) - hybrid).toBe(48 * 16 * page);
  });

  it('counts the state alone where there is no attention at all, split over devices', () => {
    const state: KvLayers[] = [{ kind: 'state', layers: 64, elements: 1_000, elementBytes: 4 }];
    expect(kvBytes(state, { maxNumSeqs: 3 })).toBe(64 * 3 * 4_000);
    expect(kvBytes(state, { maxNumSeqs: 3 }, 2)).toBe(64 * 3 * 2_000);
  });

  it('keeps the positions of the encoder for each sequence under cross attention', () => {
    const kv: KvLayers[] = [
      full(32, 20, 64),
      { kind: 'cross', layers: 32, kvHeads: 20, keySize: 64, valueSize: 64, positions: 1_500 },
    ];
    // 1,500 positions are 94 blocks.
    expect(kvBytes(kv, { maxModelLen: 448 })).toBe(163_840 * (448 + 94 * 16));
  });
});

describe('tensor parallel sizes', () => {
  it('divide the query heads, and the KV heads or their copies [item 109]', () => {
    const degrees = (attentionHeads: number | null, kvHeads: number, max: number): number[] =>
      validDegrees(shape([full(32, kvHeads)], { attentionHeads }), max);
    expect(degrees(32, 8, 8)).toEqual([1, 2, 4, 8]);
    expect(degrees(28, 4, 8)).toEqual([1, 2, 4]);
    expect(degrees(40, 10, 8)).toEqual([1, 2, 5]);
    expect(degrees(71, 1, 8)).toEqual([1]);
    expect(degrees(24, 24, 8)).toEqual([1, 2, 3, 4, 6, 8]);
    expect(degrees(null, 8, 8)).toEqual([1, 2, 4, 8]);
    expect(degrees(32, 8, 0)).toEqual([]);
  });
});
