import { describe, expect, it } from 'vitest';
import {
  device,
  fleetOf,
  footprintOf,
  modelNamed,
  modelOn,
  shape,
  sizing,
} from '../../../test/support/resident-fleet.ts';
import { GIB, MIB } from '../../units.ts';
import type { FleetState } from '../state.ts';
import type { ModelShape } from './model-shape.ts';
import { planIdle } from './plan.ts';
import type { SizingSettings } from './sizing.ts';
import { maySpan, spanOf } from './span.ts';

const CARD = 24_000 * MIB;

interface Fleet {
  readonly sizes: readonly number[];
  readonly weights: number | null;
  readonly sizing?: Partial<SizingSettings>;
  readonly shape?: Partial<ModelShape>;
  readonly count?: number;
  readonly mode?: 'budget' | 'whole_card';
}

/** One model on cards of so many MiB; its KV cache is small. */
function fleet({ sizes, weights, sizing: over, shape: facts, count = 1, mode = 'budget' }: Fleet): FleetState {
  const devices = sizes.map((mib, index) =>
    device(`gpu-${index}`, mib * MIB, { budgetBytes: (mode === 'budget' ? 0.9 : 1) * mib * MIB }),
  );
  const ids = devices.map(({ id }) => id);
  const rules = sizing({ autoParallel: true, maxModelLen: 1_024, kvSequences: 1, ...over });
  const state = fleetOf(devices, [modelOn('m', null, ids, count, { sizing: rules })], { placementMode: mode });
  modelNamed(state, 'm').size =
    weights === null
      ? { kind: 'unknown', reason: 'nobody answers', passing: true }
      : { kind: 'shape', shape: shape(weights, facts) };
  return state;
}

const degree = (of: Fleet): number => {
  const state = fleet(of);
  return spanOf(state, modelNamed(state, 'm')).tensorParallel;
};

const PAIR = [24_000, 24_000];
const FOUR = [24_000, 24_000, 24_000, 24_000];

describe('how many devices a replica takes, in the cases of the original', () => {
  it('15: as few as it fits on, never more than there are, one when nothing is known [items 109, 146]', () => {
    expect(degree({ sizes: PAIR, weights: 10 * GIB })).toBe(1);
    expect(degree({ sizes: PAIR, weights: 30 * GIB })).toBe(2);
    expect(degree({ sizes: PAIR, weights: 500 * GIB })).toBe(2);
    expect(degree({ sizes: PAIR, weights: null })).toBe(1);
  });

  it('28: what is configured wins; one device, or devices of different sizes, make no group [items 108, 109, 146]', () => {
    expect(degree({ sizes: PAIR, weights: 10 * GIB, count: 2 })).toBe(2);
    expect(degree({ sizes: PAIR, weights: 30 * GIB })).toBe(2);
    expect(degree({ sizes: PAIR, weights: 10 * GIB })).toBe(1);
    expect(degree({ sizes: [24_000], weights: 30 * GIB })).toBe(1);
    expect(degree({ sizes: [24_000, 6_000], weights: 30 * GIB })).toBe(1);
    expect(degree({ sizes: PAIR, weights: null })).toBe(1);
  });

  it('28: a degree of an earlier run counts only as long as it follows from what is there now [items 110, 146]', () => {
    const seen = (of: Fleet, tensorParallel: number, bytes: number): number => {
      const state = fleet(of);
      const model = modelNamed(state, 'm');
      model.footprints = [footprintOf(model, bytes, { tensorParallel })];
      return spanOf(state, model).tensorParallel;
    };
    expect(seen({ sizes: PAIR, weights: 30 * GIB }, 2, 17 * GIB)).toBe(2);
    // It was split once; now a larger card holds it whole, and a lone card cannot hold a half.
    expect(seen({ sizes: [48_000, 48_000], weights: 30 * GIB }, 2, 17 * GIB)).toBe(1);
    expect(seen({ sizes: [24_000], weights: 30 * GIB }, 2, 17 * GIB)).toBe(1);
    // It has run on one card, whatever the estimate says.
    expect(seen({ sizes: PAIR, weights: 30 * GIB }, 1, 20 * GIB)).toBe(1);
  });
});

describe('how many devices a replica takes', () => {
  it('counts its KV cache and the budget, not its weights alone [item 109]', () => {
    expect(degree({ sizes: PAIR, weights: 10 * GIB, sizing: { maxModelLen: 8_192 } })).toBe(1);
    expect(degree({ sizes: PAIR, weights: 10 * GIB, sizing: { maxModelLen: 8_192, kvSequences: 12 } })).toBe(2);
  });

  it('is a degree that the model can be split by [item 109]', () => {
    const three = { sizes: [24_000, 24_000, 24_000], weights: 50 * GIB };
    expect(degree({ ...three, shape: { attentionHeads: 24, kv: [] } })).toBe(3);
    expect(degree(three)).toBe(2);
    expect(degree({ sizes: FOUR, weights: 50 * GIB })).toBe(4);
    expect(degree({ sizes: FOUR, weights: 50 * GIB, shape: { attentionHeads: 30, kv: [] } })).toBe(3);
  });

  it('looks for a group of equals among unequal devices [item 108]', () => {
    const state = fleet({ sizes: [24_000, 48_000, 24_000], weights: 60 * GIB });
    expect(spanOf(state, modelNamed(state, 'm')).tensorParallel).toBe(2);
    const small = fleet({ sizes: [24_000, 48_000, 24_000], weights: 34 * GIB });
    expect(planIdle(small, modelNamed(small, 'm'), 0)).toMatchObject({
      kind: 'fits',
      reservations: new Map([['gpu-1', expect.any(Number)]]),
    });
  });

  it('is one where the configuration does not leave it open', () => {
    expect(degree({ sizes: PAIR, weights: 30 * GIB, sizing: { autoParallel: false } })).toBe(1);
  });

  it('is found anew when devices or sizes change [item 109]', () => {
    const state = fleet({ sizes: PAIR, weights: 30 * GIB });
    const model = modelNamed(state, 'm');
    expect(spanOf(state, model).devices).toBe(2);
    for (const card of state.devices.values()) Object.assign(card, { totalBytes: 2 * CARD, budgetBytes: 1.8 * CARD });
    expect(spanOf(state, model).devices).toBe(1);
  });

  it('grows when a start lacked more than one device can give [item 125]', () => {
    const state = fleet({ sizes: PAIR, weights: 17 * GIB });
    const model = modelNamed(state, 'm');
    expect(spanOf(state, model).devices).toBe(1);
    model.shortage = 3 * GIB;
    expect(spanOf(state, model).devices).toBe(2);
  });

  it('in whole_card mode holds its weights and one sequence in its share [item 109]', () => {
    const mode = 'whole_card';
    expect(degree({ sizes: PAIR, weights: 10 * GIB, mode, sizing: { kvSequences: 100 } })).toBe(1);
    expect(degree({ sizes: PAIR, weights: 30 * GIB, mode })).toBe(2);
    expect(degree({ sizes: PAIR, weights: 10 * GIB, mode, sizing: { maxModelLen: 131_072 } })).toBe(2);
    expect(degree({ sizes: PAIR, weights: 10 * GIB, mode, sizing: { utilization: 0.4 } })).toBe(2);
  });

  it('gives each device the same need and tells the engine the degree [items 108, 112]', () => {
    const state = fleet({ sizes: PAIR, weights: 30 * GIB });
    const plan = planIdle(state, modelNamed(state, 'm'), 0);
    if (plan.kind !== 'fits') throw new Error(plan.kind);
    const [one, other] = plan.reservations.values();
    expect([plan.reservations.size, one]).toEqual([2, other]);
    expect(plan.share.tensorParallel).toBe(2);
    expect(plan.share.utilization).toBe(Math.floor(((one ?? 0) / CARD) * 10_000) / 10_000);
  });
});

describe('maySpan', () => {
  it('lets a running replica stand on any number of devices when nobody fixed it', () => {
    const open = fleet({ sizes: PAIR, weights: null });
    expect([1, 2].map((count) => maySpan(open, modelNamed(open, 'm'), count))).toEqual([true, true]);
    expect(maySpan(open, modelNamed(open, 'm'), 0)).toBe(false);
    const fixed = fleet({ sizes: PAIR, weights: null, count: 2 });
    expect([1, 2].map((count) => maySpan(fixed, modelNamed(fixed, 'm'), count))).toEqual([false, true]);
  });
});
