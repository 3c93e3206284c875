import { describe, expect, it } from 'vitest';
import {
  addResident,
  device,
  fleetOf,
  footprintOf,
  modelNamed,
  modelOn,
  shape,
  sizing,
} from '../../../test/support/resident-fleet.ts';
import { GIB } from '../../units.ts';
import type { DeviceSettings } from '../settings.ts';
import type { FleetState } from '../state.ts';
import { explainPlan } from './explain.ts';
import { planIdle } from './plan.ts';
import type { ShortageCause } from './shortage.ts';

const NOW = 1_000_000;
const ONE = ['gpu-0'];
const TWO = ['gpu-0', 'gpu-1'];

const card = (id: string, gib = 24, over: Partial<DeviceSettings> = {}): DeviceSettings =>
  device(id, gib * GIB, { budgetBytes: gib * 0.9 * GIB, ...over });

function told(state: FleetState, name = 'new'): { cause: ShortageCause | null; words: string } {
  const model = modelNamed(state, name);
  const plan = planIdle(state, model, NOW);
  return { cause: plan.kind === 'fits' ? null : plan.shortage.cause, words: explainPlan(state, model, plan) };
}

function there(state: FleetState, id: string) {
  const found = state.devices.get(id);
  if (!found) throw new Error(`no device ${id}`);
  return found;
}

describe('why a model has no place', () => {
  it('none that it may use [item 107]', () => {
    expect(told(fleetOf([card('gpu-0')], [modelOn('new', GIB, [])]))).toEqual({
      cause: 'no_device',
      words:
        "Model 'new' has no device it may use: none that its devices or its pool name is there. Name devices or a pool that are there.",
    });
    expect(told(fleetOf([card('gpu-0')], [modelOn('new', GIB, ['gpu-7'])])).words).toContain('gpu-7 cannot be found');
  });

  it('larger than any device of its pool [item 107]', () => {
    const state = fleetOf([card('gpu-0', 24, { pool: 'small' })], [modelOn('new', 30 * GIB, ONE)]);
    expect(told(state)).toEqual({
      cause: 'too_large',
      words:
        "Model 'new' needs 30GiB on a device of pool 'small'; the largest that it may use, gpu-0, has 24GiB in all. Give it a larger device, more devices, or less memory.",
    });
  });

  it('larger than what may be promised [item 107]', () => {
    const state = fleetOf([card('gpu-0'), card('gpu-1', 12)], [modelOn('new', 23 * GIB, TWO)]);
    expect(told(state)).toEqual({
      cause: 'over_budget',
      words:
        "Model 'new' needs 23GiB on a device; no more than 21.6GiB of the 24GiB of gpu-0, 10.8GiB of the 12GiB of gpu-1 may be promised (devices.budget_fraction). Give it a larger device, more devices, or less memory.",
    });
  });

  it('too large by its KV cache alone: then that is what to lower [item 107]', () => {
    const rules = sizing({ maxModelLen: 32_768 });
    const state = fleetOf([card('gpu-0')], [modelOn('new', null, ONE, 1, { sizing: rules })]);
    modelNamed(state, 'new').size = { kind: 'shape', shape: shape(15 * GIB) };
    expect(told(state)).toEqual({
      cause: 'too_large',
      words:
        "Model 'new' needs 87.9GiB (estimated: weights 15GiB, KV cache 64GiB, activations 7.9GiB, overhead 1GiB) on a device; the largest that it may use, gpu-0, has 24GiB in all. Lower max_model_len, kv_reservation_seqs or max_num_seqs, or give it a larger device or more devices.",
    });
  });

  it('there are not enough devices of about equal size [items 107, 108]', () => {
    const unequal = fleetOf([card('gpu-0'), card('gpu-1', 6)], [modelOn('new', GIB, TWO, 2)]);
    expect(told(unequal)).toEqual({
      cause: 'no_group',
      words:
        "Model 'new' needs 1GiB on each of 2 devices; no 2 of those that it may use are of about equal size (gpu-0 24GiB, gpu-1 6GiB). Lower tensor_parallel_size, or give it devices of equal size.",
    });
    const one = fleetOf([card('gpu-0')], [modelOn('new', GIB, ONE, 2)]);
    expect(told(one).words).toContain('it may use 1 only (gpu-0 24GiB)');
  });

  it('others hold the memory: how much is free, who holds the rest, on every device [item 107]', () => {
    const names = ['a', 'b', 'c', 'd'];
    const state = fleetOf(
      [card('gpu-0'), card('gpu-1')],
      [...names.map((name) => modelOn(name, GIB, TWO)), modelOn('new', 10 * GIB, TWO)],
    );
    addResident(state, { model: 'a', on: { 'gpu-0': 12 * GIB }, leases: 2 });
    addResident(state, { model: 'b', on: { 'gpu-0': 2 * GIB }, phase: 'starting' });
    addResident(state, { model: 'c', on: { 'gpu-1': 15 * GIB }, leases: 1 });
    addResident(state, { model: 'd', on: { 'gpu-1': GIB } });
    modelNamed(state, 'd').pinned = true;
    there(state, 'gpu-1').foreignBytes = GIB;
    expect(told(state)).toEqual({
      cause: 'held',
      words:
        "Model 'new' needs 10GiB on a device; 2.4GiB are missing on gpu-0 (7.6GiB of the 21.6GiB to give are free). Held by a (12GiB, busy with 2 requests), b (2GiB, starting). On gpu-1 4.4GiB are missing (5.6GiB of the 21.6GiB to give are free), held by c (15GiB, busy with 1 request), d (1GiB, pinned), processes outside the gateway (1GiB). It waits for them.",
    });
  });

  it('what is pinned holds it [item 107]', () => {
    const state = fleetOf(
      [card('gpu-0')],
      [modelOn('a', GIB, ONE, 1, { alwaysOn: true }), modelOn('new', 10 * GIB, ONE)],
    );
    addResident(state, { model: 'a', on: { 'gpu-0': 12 * GIB } });
    expect(told(state)).toEqual({
      cause: 'kept',
      words:
        "Model 'new' needs 10GiB on a device; 409.6MiB are missing on gpu-0 (9.6GiB of the 21.6GiB to give are free). Held by a (12GiB, pinned). Unpin or unload what holds them.",
    });
  });

  it('processes outside the gateway hold it [items 100, 107]', () => {
    const state = fleetOf([card('gpu-0')], [modelOn('new', 10 * GIB, ONE)]);
    there(state, 'gpu-0').foreignBytes = 20 * GIB;
    expect(told(state)).toEqual({
      cause: 'foreign',
      words:
        "Model 'new' needs 10GiB on a device; 6GiB are missing on gpu-0 (4GiB of the 4GiB to give are free). Held by processes outside the gateway (20GiB). Free that memory, or give it another device.",
    });
  });

  it('devices cannot be read: that is no question of size, and it waits [items 98, 107]', () => {
    const state = fleetOf([card('gpu-0')], [modelOn('new', 10 * GIB, ONE)]);
    there(state, 'gpu-0').silent = 'nvidia-smi does not answer';
    expect(told(state)).toEqual({
      cause: 'unseen',
      words:
        "Model 'new' needs 10GiB on a device; no start may begin where memory cannot be read: gpu-0 (nvidia-smi does not answer). It waits until it can be read again.",
    });
    there(state, 'gpu-0').silent = null;
    expect(told(state).cause).toBeNull();
  });

  it('a device that cannot be read is no reason not to use another', () => {
    const state = fleetOf([card('gpu-0'), card('gpu-1')], [modelOn('new', 10 * GIB, TWO)]);
    there(state, 'gpu-0').silent = 'gone';
    expect(told(state).words).toBe("Model 'new' gets 10GiB on gpu-1.");
  });

  it('an engine that could not be seen to end keeps its device [items 77, 107]', () => {
    const state = fleetOf([card('gpu-0')], [modelOn('new', 10 * GIB, ONE)]);
    there(state, 'gpu-0').quarantine = 'replica a-1: 3GiB are still used';
    expect(told(state)).toEqual({
      cause: 'quarantined',
      words:
        "Model 'new' needs 10GiB on a device; no start may begin: gpu-0 (replica a-1: 3GiB are still used). It can start again once that is settled.",
    });
  });

  it('names a few devices and counts the others', () => {
    const ids = Array.from({ length: 9 }, (_, index) => `gpu-${index}`);
    const state = fleetOf(
      ids.map((id) => card(id)),
      [...ids.map((id) => modelOn(id, GIB, ids)), modelOn('new', 20 * GIB, ids)],
    );
    for (const id of ids) addResident(state, { model: id, on: { [id]: 10 * GIB }, leases: 1 });
    expect(told(state).words).toMatch(/On gpu-3 .* 5 more devices have no room either\. It waits for them\.$/);
  });
});

describe('where the numbers are from', () => {
  const words = (of: 'measured' | 'unknown' | 'share' | 'nothing'): string => {
    const known = of === 'nothing' ? null : sizing({ utilization: 0.5 });
    const state = fleetOf([card('gpu-0')], [modelOn('a', GIB, ONE), modelOn('new', null, ONE, 1, { sizing: known })]);
    addResident(state, { model: 'a', on: { 'gpu-0': 20 * GIB }, leases: 1 });
    const model = modelNamed(state, 'new');
    if (of === 'measured') model.footprints = [footprintOf(model, 3 * GIB)];
    if (of === 'unknown') model.size = { kind: 'unknown', reason: 'the hub answered 401.', passing: true };
    return told(state).words;
  };

  it('is told with the need', () => {
    expect(words('measured')).toContain('needs 3GiB (as it was measured) on a device');
    expect(words('share')).toContain('needs 12GiB (its share of it) on a device');
    expect(words('unknown')).toContain(
      'needs 12GiB (its share: its size is unknown, the hub answered 401) on a device',
    );
    expect(words('nothing')).toContain('needs 21.6GiB (all of it: no memory is declared) on a device');
  });
});

describe('a place in words', () => {
  it('of a device that cannot be read is all of it, not a number that nobody knows', () => {
    const state = fleetOf([device('gpus', GIB, { unmeasured: true })], [modelOn('new', null, ['gpus'])]);
    expect(told(state).words).toBe("Model 'new' gets all of gpus (its memory cannot be read).");
  });

  it('names the devices and who has to leave first', () => {
    const state = fleetOf(
      [card('gpu-0')],
      [modelOn('a', GIB, ONE), modelOn('b', GIB, ONE), modelOn('new', 20 * GIB, ONE)],
    );
    expect(told(state).words).toBe("Model 'new' gets 20GiB on gpu-0.");
    addResident(state, { model: 'a', on: { 'gpu-0': 8 * GIB } });
    expect(told(state).words).toBe("Model 'new' gets 20GiB on gpu-0 as soon as a has left.");
    addResident(state, { model: 'b', on: { 'gpu-0': 8 * GIB } });
    expect(told(state).words).toBe("Model 'new' gets 20GiB on gpu-0 as soon as a and b have left.");
    expect(told(fleetOf([], [modelOn('new', null, [], 0)])).words).toBe("Model 'new' takes no device memory.");
  });
});
