import { describe, expect, it } from 'vitest';
import {
  addResident,
  device,
  fleetOf,
  footprintOf,
  modelNamed,
  modelOn,
  sizing,
} from '../../../test/support/resident-fleet.ts';
import type { Device, FleetState } from '../state.ts';
import { bytesAreFree, capacity, committed, held, takesStarts } from './ledger.ts';
import { booksOf } from './books.ts';
import { planIdle } from './plan.ts';

const NOW = 1_000_000;
const ONE = ['gpu-0'];

function card(state: FleetState, id = 'gpu-0'): Device {
  const found = state.devices.get(id);
  if (!found) throw new Error(`no device ${id}`);
  return found;
}

const fleet = (...names: readonly string[]): FleetState =>
  fleetOf(
    [device('gpu-0', 24_000, { budgetBytes: 21_600 })],
    names.map((name) => modelOn(name, null, ONE, 1, { sizing: sizing() })),
  );

describe('what may be promised on a device', () => {
  it('is its budget, and not what others hold beyond the rest [items 100, 102, 146]', () => {
    const state = fleet();
    expect(capacity(card(state))).toBe(21_600);
    card(state).foreignBytes = 2_000;
    expect(capacity(card(state))).toBe(21_600);
    card(state).foreignBytes = 22_000;
    expect(capacity(card(state))).toBe(2_000);
    card(state).foreignBytes = 30_000;
    expect(capacity(card(state))).toBe(0);
  });

  it('32: caps what is free: 12000, 4000 beside 8000, 2000 beside others, all of it without a budget [items 102, 146]', () => {
    const free = (budgetBytes: number, resident: number, foreignBytes: number): number => {
      const state = fleetOf([device('gpu-0', 24_000, { budgetBytes })], [modelOn('a', 1, ONE)]);
      card(state).foreignBytes = foreignBytes;
      if (resident > 0) addResident(state, { model: 'a', on: { 'gpu-0': resident } });
      return capacity(card(state)) - committed(state, 'gpu-0');
    };
    expect(free(12_000, 0, 0)).toBe(12_000);
    expect(free(12_000, 8_000, 0)).toBe(4_000);
    expect(free(21_600, 0, 22_000)).toBe(2_000);
    expect(free(24_000, 0, 0)).toBe(24_000);
  });

  it('is the whole of a device that cannot be measured, and one model has all of it [item 113]', () => {
    const state = fleetOf(
      [device('gpus', 0, { unmeasured: true })],
      ['a', 'b'].map((name) => modelOn(name, 7, ['gpus'])),
    );
    expect(planIdle(state, modelNamed(state, 'a'), NOW)).toMatchObject({ reservations: new Map([['gpus', 1]]) });
    addResident(state, { model: 'a', on: { gpus: 1 } });
    expect(planIdle(state, modelNamed(state, 'b'), NOW)).toMatchObject({ kind: 'fits', victims: ['a'] });
    const busy = state.replicas.get('a');
    busy?.leases.add('one');
    expect(planIdle(state, modelNamed(state, 'b'), NOW).kind).toBe('wait');
  });
});

describe('what replicas hold', () => {
  it('is their peak until they were ready once, their reservation since then, nothing before launch [item 101]', () => {
    const state = fleet('a');
    const replica = addResident(state, { model: 'a', on: { 'gpu-0': 5_000 }, peak: 7_000, phase: 'starting' });
    const holds = (): number => held(state, 'gpu-0');
    expect(holds()).toBe(7_000);
    replica.phase = 'reserved';
    expect(holds()).toBe(0);
    replica.phase = 'stopping';
    expect(holds()).toBe(7_000);
    replica.phase = 'zombie';
    expect(holds()).toBe(7_000);
    replica.readyAt = 1;
    for (const phase of ['ready', 'draining', 'stopping', 'zombie'] as const) {
      replica.phase = phase;
      expect(holds()).toBe(5_000);
    }
  });

  it('is what was measured as soon as it is, with no instant in between [item 165]', () => {
    const state = fleet('a');
    const replica = addResident(state, { model: 'a', on: { 'gpu-0': 5_000 } });
    replica.reservations = new Map([['gpu-0', 4_321]]);
    expect([held(state, 'gpu-0'), committed(state, 'gpu-0')]).toEqual([4_321, 4_321]);
  });

  it('is promised once, with room for the largest start, because starts take turns [items 101, 106]', () => {
    const state = fleet('a', 'b', 'c', 'd');
    addResident(state, { model: 'a', on: { 'gpu-0': 3_000 }, peak: 9_000 });
    addResident(state, { model: 'b', on: { 'gpu-0': 4_000 }, peak: 6_000, phase: 'starting' });
    addResident(state, { model: 'c', on: { 'gpu-0': 5_000 }, peak: 6_000, phase: 'reserved' });
    addResident(state, { model: 'd', on: { 'gpu-0': 6_000 }, phase: 'draining' });
    expect(committed(state, 'gpu-0')).toBe(3_000 + 4_000 + 5_000 + 2_000);
    expect(held(state, 'gpu-0')).toBe(3_000 + 6_000 + 6_000);
    expect(booksOf(state).get('gpu-0')).toMatchObject({ held: 15_000, steady: 12_000, excess: 2_000 });
  });
});

describe('a start', () => {
  it('begins when its peak is free for real, not only its reservation [item 106]', () => {
    const state = fleet('a', 'b');
    const going = addResident(state, { model: 'a', on: { 'gpu-0': 10_000 }, phase: 'stopping' });
    going.readyAt = 1;
    const coming = addResident(state, { model: 'b', on: { 'gpu-0': 10_000 }, peak: 12_000, phase: 'reserved' });
    expect(bytesAreFree(state, coming)).toBe(false);
    going.reservations = new Map([['gpu-0', 9_600]]);
    expect(bytesAreFree(state, coming)).toBe(true);
  });

  it('waits for another whose peak it does not fit beside, and is planned beside it nevertheless', () => {
    const state = fleet('a', 'b');
    const first = addResident(state, { model: 'a', on: { 'gpu-0': 9_000 }, peak: 12_000, phase: 'starting' });
    const model = modelNamed(state, 'b');
    model.footprints = [footprintOf(model, 9_000, { peakBytes: 12_000 })];
    expect(planIdle(state, model, NOW)).toMatchObject({
      kind: 'fits',
      victims: [],
      reservations: new Map([['gpu-0', 9_000]]),
      peaks: new Map([['gpu-0', 12_000]]),
    });
    const second = addResident(state, { model: 'b', on: { 'gpu-0': 9_000 }, peak: 12_000, phase: 'reserved' });
    expect(bytesAreFree(state, second)).toBe(false);
    first.phase = 'ready';
    first.readyAt = NOW;
    expect(bytesAreFree(state, second)).toBe(true);
  });

  it('begins on no device that is silent or in quarantine, unless it can never be measured [items 97, 98, 113]', () => {
    const state = fleet('a');
    const coming = addResident(state, { model: 'a', on: { 'gpu-0': 10_000 }, phase: 'reserved' });
    const there = card(state);
    const may = (): boolean[] => [takesStarts(there), bytesAreFree(state, coming)];
    expect(may()).toEqual([true, true]);
    there.silent = 'nvidia-smi does not answer';
    expect(may()).toEqual([false, false]);
    there.unmeasured = true;
    expect(may()).toEqual([true, true]);
    there.quarantine = 'stuck';
    expect(may()).toEqual([false, false]);
  });
});
