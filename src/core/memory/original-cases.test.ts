/** What the original computed from a model's files, in its own numbers. Its other cases stand beside what they are about. */
import { describe, expect, it } from 'vitest';
import { shape, sizing } from '../../../test/support/resident-fleet.ts';
import { MIB } from '../../units.ts';
import { estimateNeed } from './estimate.ts';
import type { KvLayers } from './model-shape.ts';
import type { MemoryRules, SizingSettings } from './sizing.ts';

const RULES: MemoryRules = {
  placementMode: 'budget',
  eviction: 'lru',
  overheadFactor: 1,
  overhead: 0,
  colocateMargin: 0,
  weightOverhead: 1,
  budgetFraction: 0.9,
};

const heads = { kvHeads: 8, keySize: 128, valueSize: 128 };
const full = (layers: number): KvLayers => ({ kind: 'full', layers, ...heads });
const sliding = (layers: number, window: number): KvLayers => ({ kind: 'sliding', layers, window, ...heads });

/** KV cache alone: no weights, no overhead. */
function cache(kv: readonly KvLayers[], over: Partial<SizingSettings> = {}): number {
  return estimateNeed(shape(0, { kv, nativeLength: 1_000_000 }), sizing(over), RULES, 1)?.totalBytes ?? Number.NaN;
}

describe('KV cache, in the cases of the original', () => {
  it('30: 8192 tokens × 16 sequences of 32 layers with 8 heads of 128 take 16384 MiB, half of them half, none nothing [items 117, 146]', () => {
    expect(cache([full(32)])).toBe(16_384 * MIB);
    expect(cache([full(32)], { kvSequences: 8 })).toBe(8_192 * MIB);
    expect(cache([full(32)], { kvSequences: 0 })).toBe(0);
    expect(cache([])).toBe(0);
  });

  it('36: five sliding layers to a full one take less than a third; a window beyond the context changes nothing [items 118, 146]', () => {
    const context = { maxModelLen: 32_768, maxBatchedTokens: 2_048 };
    expect(cache([full(8), sliding(40, 1_024)], context)).toBeLessThan(cache([full(48)], context) / 3);
    expect(cache([full(8), sliding(40, 32_768)], context)).toBe(cache([full(48)], context));
    expect(cache([full(48)], context)).toBe(6 * 16_384 * MIB);
  });

  it('37: 48 of 64 layers that do not grow leave exactly a quarter, and go with a window [items 119, 146]', () => {
    const context = { maxModelLen: 262_144 };
    expect(cache([full(16)], context)).toBe(cache([full(64)], context) / 4);
    const state: KvLayers = { kind: 'state', layers: 48, elements: 1_024, elementBytes: 2 };
    const mixed = cache([full(8), sliding(8, 1_024), state], context);
    expect(mixed).toBeGreaterThan(0);
    expect(mixed).toBeLessThan(cache([full(64)], context) / 4);
  });
});
