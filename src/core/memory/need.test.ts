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
import type { FleetState, Model } from '../state.ts';
import type { Footprint } from './footprint.ts';
import { matchingFootprint, needOn, type Need } from './need.ts';
import { planIdle } from './plan.ts';
import type { SizingSettings } from './sizing.ts';

const CARD = 24_000 * MIB;
const ONE = ['gpu-0'];
const TWO = ['gpu-0', 'gpu-1'];
/** 32 layers, 8 KV heads of 128, two bytes, 8192 tokens, 16 sequences. */
const KV = 16_384 * MIB;

const cards = (...ids: readonly string[]) => ids.map((id) => device(id, CARD, { budgetBytes: CARD * 0.9 }));

/** One model, with weights of so many MiB and KV cache of 8192 tokens for 16 sequences. */
function sized(weightsMib: number, over: Partial<SizingSettings> = {}, ids: readonly string[] = ONE): FleetState {
  const state = fleetOf(cards(...ids), [modelOn('m', null, ids, 1, { sizing: sizing(over) })]);
  modelNamed(state, 'm').size = { kind: 'shape', shape: shape(weightsMib * MIB) };
  return state;
}

function needOf(state: FleetState, tensorParallel = 1, id = 'gpu-0'): Need {
  const there = state.devices.get(id);
  if (!there) throw new Error(`no device ${id}`);
  return needOn(state, modelNamed(state, 'm'), there, tensorParallel);
}

const shareOf = (state: FleetState) => {
  const plan = planIdle(state, modelNamed(state, 'm'), 0);
  if (plan.kind !== 'fits') throw new Error(plan.kind);
  return plan.share;
};

function learn(model: Model, steadyBytes: number, over: Parameters<typeof footprintOf>[2] = {}): Footprint {
  const footprint = footprintOf(model, steadyBytes, over);
  model.footprints = [...model.footprints, footprint];
  return footprint;
}

describe('what a replica needs, in the cases of the original', () => {
  it('31: 16000 MiB of weights and 5000 MiB of KV cache need 24124 MiB on one card and 12574 MiB on each of two [items 122, 146]', () => {
    const state = sized(16_000, { maxModelLen: 40_000, kvSequences: 1 });
    expect(needOf(state)).toMatchObject({ basis: 'estimate', totalBytes: 24_124 * MIB, peakBytes: 24_124 * MIB });
    expect(needOf(state, 2).totalBytes).toBe(12_574 * MIB);
    const plain = fleetOf(cards('gpu-0'), [...state.settings.models.values()], { overheadFactor: 1, overhead: 0 });
    modelNamed(plain, 'm').size = { kind: 'shape', shape: shape(5_000 * MIB) };
    // Without overhead it is the plain sum.
    expect(needOf(plain).totalBytes).toBe(10_000 * MIB);
  });

  it('29: a share is of each device, whatever its size [items 123, 146]', () => {
    const devices = [device('gpu-0', 10_000, { budgetBytes: 9_000 }), device('gpu-1', 20_000, { budgetBytes: 18_000 })];
    const state = fleetOf(devices, [modelOn('m', null, TWO, 1, { sizing: sizing({ utilization: 0.5 }) })]);
    expect(needOf(state, 1, 'gpu-0')).toMatchObject({ basis: 'discovery', totalBytes: 5_000, parts: null });
    expect(needOf(state, 1, 'gpu-1').totalBytes).toBe(10_000);
  });

  it('39: a footprint is believed only of the very same thing [items 128, 146, 164]', () => {
    const state = sized(8_000);
    const model = modelNamed(state, 'm');
    const [card] = state.devices.values();
    if (!card) throw new Error('no device');
    model.prepared = true;
    model.image = 'sha256:one';
    const footprint = learn(model, 9_000 * MIB);
    expect(matchingFootprint(model, card, 1)).toBe(footprint);
    expect(matchingFootprint(model, card, 2)).toBeNull();
    model.image = 'sha256:other';
    expect(matchingFootprint(model, card, 1)).toBeNull();
    model.image = null;
    expect(matchingFootprint(model, card, 1)).toBeNull();
    model.image = 'sha256:one';
    card.deviceClass = 'another card';
    expect(matchingFootprint(model, card, 1)).toBeNull();
    card.deviceClass = 'card';
    model.settings = { ...model.settings, specHash: 'm#1' };
    expect(matchingFootprint(model, card, 1)).toBeNull();
  });
});

describe('the basis of a need', () => {
  it('is what was declared, and an engine that kept to it is told its KV cache of last time', () => {
    const state = fleetOf(cards('gpu-0'), [modelOn('m', 5 * GIB, ONE)]);
    expect(shareOf(state).kvCacheBytes).toBeNull();
    const footprint = learn(modelNamed(state, 'm'), 4 * GIB, { peakBytes: 5 * GIB, kvCacheBytes: GIB });
    expect(needOf(state)).toMatchObject({ basis: 'declared', totalBytes: 5 * GIB });
    expect(shareOf(state).kvCacheBytes).toBe(GIB);
    modelNamed(state, 'm').footprints = [{ ...footprint, peakBytes: 5 * GIB + 1 }];
    expect(shareOf(state).kvCacheBytes).toBeNull();
  });

  it('is what was declared before anything else', () => {
    const state = fleetOf(cards('gpu-0'), [modelOn('m', 5 * GIB, ONE)]);
    learn(modelNamed(state, 'm'), 9 * GIB);
    expect(needOf(state)).toMatchObject({ basis: 'declared', totalBytes: 5 * GIB, peakBytes: 5 * GIB });
    expect(shareOf(state).utilization).toBe(Math.floor((5 * GIB * 10_000) / CARD) / 10_000);
  });

  it('is what was seen, with its peak, before what its files say [items 123, 164]', () => {
    const state = sized(8_000, { maxModelLen: 1_024 });
    expect(needOf(state).basis).toBe('estimate');
    learn(modelNamed(state, 'm'), 9_000 * MIB, { peakBytes: 10_000 * MIB });
    expect(needOf(state)).toMatchObject({ basis: 'footprint', totalBytes: 9_000 * MIB, peakBytes: 10_000 * MIB });
  });

  it('never grows beyond the budget by what was seen: what has run on such a device fits on it [item 123]', () => {
    const state = sized(8_000);
    learn(modelNamed(state, 'm'), 23_000 * MIB, { peakBytes: 23_500 * MIB });
    expect(needOf(state)).toMatchObject({ totalBytes: CARD * 0.9, peakBytes: CARD * 0.9 });
    expect(planIdle(state, modelNamed(state, 'm'), 0).kind).toBe('fits');
  });

  it('of an unknown size is its share, at most the budget, so that it always fits an empty device [item 123]', () => {
    const state = fleetOf(cards('gpu-0'), [modelOn('m', null, ONE, 1, { sizing: sizing({ utilization: 0.95 }) })]);
    modelNamed(state, 'm').size = { kind: 'unknown', reason: 'no config.json', passing: false };
    expect(needOf(state)).toMatchObject({ basis: 'discovery', totalBytes: CARD * 0.9 });
    expect(shareOf(state).utilization).toBe(0.9);
  });

  it('is the whole of a device that cannot be measured, whatever is known of the model [item 113]', () => {
    const gpus = device('gpus', 1_000, { unmeasured: true });
    const state = fleetOf([gpus], [modelOn('m', 5 * GIB, ['gpus'], 2)]);
    expect(needOf(state, 2, 'gpus')).toMatchObject({ basis: 'discovery', totalBytes: 1_000 });
    expect(planIdle(state, modelNamed(state, 'm'), 0)).toMatchObject({
      reservations: new Map([['gpus', 1_000]]),
      share: { tensorParallel: 2, utilization: null },
    });
  });

  it('is the share in whole_card mode, unless a footprint is known; there is no budget there', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('m', null, ONE, 1, { sizing: sizing() })], {
      placementMode: 'whole_card',
    });
    modelNamed(state, 'm').size = { kind: 'shape', shape: shape(8_000 * MIB) };
    expect(needOf(state)).toMatchObject({ basis: 'discovery', totalBytes: CARD * 0.9 });
    expect(shareOf(state).utilization).toBe(0.9);
    learn(modelNamed(state, 'm'), 9_000 * MIB, { utilization: 0.9 });
    expect(needOf(state)).toMatchObject({ basis: 'footprint', totalBytes: 9_000 * MIB });
  });
});

describe('what a start lacked', () => {
  it('raises the next estimate, as KV cache, but not beyond the budget [item 125]', () => {
    const state = sized(8_000, { maxModelLen: 1_024 });
    const before = needOf(state);
    modelNamed(state, 'm').shortage = 500 * MIB;
    expect(needOf(state).totalBytes).toBe(before.totalBytes + 500 * MIB);
    expect(needOf(state).parts?.kvBytes).toBe((before.parts?.kvBytes ?? 0) + 500 * MIB);
    modelNamed(state, 'm').shortage = CARD;
    expect(needOf(state).totalBytes).toBe(CARD * 0.9);
  });

  it('does not hide that it is too large as it is', () => {
    const state = sized(30_000);
    const before = needOf(state).totalBytes;
    modelNamed(state, 'm').shortage = GIB;
    expect(needOf(state).totalBytes).toBe(before);
    expect(planIdle(state, modelNamed(state, 'm'), 0)).toMatchObject({ kind: 'impossible', never: true });
  });
});

describe('a size that makes no number', () => {
  it('is as good as unknown, and keeps nobody busy for ever', () => {
    for (const broken of [Number.NaN, Infinity, -1]) {
      const state = sized(8_000);
      modelNamed(state, 'm').size = { kind: 'shape', shape: shape(broken) };
      expect(needOf(state)).toMatchObject({ basis: 'discovery', totalBytes: Math.floor(CARD * 0.9) });
      expect(planIdle(state, modelNamed(state, 'm'), 0).kind).toBe('fits');
    }
  });
});

describe('what an engine is told', () => {
  it('is its need as a share of the device, four decimals, never more than is reserved [item 112]', () => {
    const state = sized(8_000, { maxModelLen: 1_024 });
    const { totalBytes } = needOf(state);
    const { utilization } = shareOf(state);
    expect(utilization).toBe(Math.floor((totalBytes / CARD) * 10_000) / 10_000);
    expect((utilization ?? 1) * CARD).toBeLessThanOrEqual(totalBytes);
  });

  it('is at most the budget fraction [item 112]', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('m', null, ONE, 1, { sizing: sizing() })]);
    modelNamed(state, 'm').size = { kind: 'shape', shape: shape(CARD * 0.84, { kv: [] }) };
    expect(needOf(state).totalBytes).toBeGreaterThan(CARD * 0.95);
    expect(shareOf(state).utilization).toBe(0.9);
  });

  it('stays what it was told when it was measured, with the KV cache that it had then', () => {
    const state = sized(8_000);
    const model = modelNamed(state, 'm');
    learn(model, 12_000 * MIB, { utilization: 0.4321, kvCacheBytes: 3_000 * MIB });
    expect(shareOf(state)).toMatchObject({ utilization: 0.4321, kvCacheBytes: 3_000 * MIB });
  });

  it('is nothing that was seen on devices of one class only, where it spans two', () => {
    const devices = [device('gpu-0', CARD), device('gpu-1', CARD, { deviceClass: 'other card' })];
    const state = fleetOf(devices, [modelOn('m', null, TWO, 2, { sizing: sizing({ maxModelLen: 1_024 }) })]);
    const model = modelNamed(state, 'm');
    model.size = { kind: 'shape', shape: shape(8_000 * MIB) };
    learn(model, 20_000 * MIB, { tensorParallel: 2, utilization: 0.85, kvCacheBytes: 15_000 * MIB });
    const other = needOf(state, 2, 'gpu-1').totalBytes;
    expect(other).toBeLessThan(CARD / 2);
    expect(shareOf(state).kvCacheBytes).toBeNull();
    expect((shareOf(state).utilization ?? 1) * CARD).toBeLessThanOrEqual(other);
  });

  it('is the length as configured, at most the native one', () => {
    const state = sized(4_000, { maxModelLen: 8_192, kvSequences: 1 });
    const model = modelNamed(state, 'm');
    expect(shareOf(state).maxModelLen).toBe(8_192);
    model.size = { kind: 'shape', shape: shape(4_000 * MIB, { nativeLength: 4_096 }) };
    expect(shareOf(state).maxModelLen).toBe(4_096);
    model.size = { kind: 'unknown', reason: 'no config.json', passing: true };
    expect(shareOf(state).maxModelLen).toBe(8_192);
    model.size = { kind: 'shape', shape: shape(4_000 * MIB, { nativeLength: 65_536 }) };
    model.settings = { ...model.settings, sizing: sizing({ maxModelLen: 0, kvSequences: 1 }) };
    expect(shareOf(state).maxModelLen).toBeNull();
  });

  it('reserves KV cache for kv_reservation_seqs, whatever the number of sequences at once [item 24]', () => {
    const all = needOf(sized(4_000)).parts?.kvBytes;
    expect(all).toBe(KV);
    expect(needOf(sized(4_000, { kvSequences: 4 })).parts?.kvBytes).toBe(KV / 4);
  });

  it('says nothing to a model that takes no device memory', () => {
    const state = fleetOf([], [modelOn('m', null, [], 0)]);
    expect(planIdle(state, modelNamed(state, 'm'), 0)).toMatchObject({
      reservations: new Map(),
      peaks: new Map(),
      share: { utilization: null, kvCacheBytes: null, maxModelLen: null },
    });
  });
});
