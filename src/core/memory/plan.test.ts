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
import type { FleetState } from '../state.ts';
import { planIdle, planTurn, wouldStillFit, type Plan } from './plan.ts';

const NOW = 1_000_000;
const CARD = 24_000;
const ONE = ['gpu-0'];
const TWO = ['gpu-0', 'gpu-1'];

function plan(state: FleetState, name = 'new'): Plan {
  const model = state.models.get(name);
  if (!model) throw new Error(`no model ${name}`);
  return planIdle(state, model, NOW);
}

const places = (it: Plan): string[] => (it.kind === 'fits' ? [...it.reservations.keys()].toSorted() : []);
const victims = (it: Plan): string[] => (it.kind === 'fits' ? it.victims.toSorted() : []);

describe('placement, in the cases of the original', () => {
  it('1, 33: what fits beside others takes nobody away [items 102, 146]', () => {
    const state = fleetOf([device('gpu-0', 21_600)], [modelOn('a', 10_000, ONE), modelOn('new', 10_000, ONE)]);
    addResident(state, { model: 'a', on: { 'gpu-0': 10_000 } });
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: [] });
  });

  it('3, 12: what is always on or pinned never leaves [items 104, 146]', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('a', 20_000, ONE), modelOn('new', 8_000, ONE)]);
    addResident(state, { model: 'a', on: { 'gpu-0': 20_000 } });
    const model = state.models.get('a');
    if (model) model.pinned = true;
    const it = plan(state);
    expect(it).toMatchObject({ kind: 'impossible', never: false });
    expect(it.kind === 'impossible' && it.shortage.holders[0]?.why).toBe('pinned');
  });

  it('4: what has requests in flight never leaves for an idle plan [items 104, 146]', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('a', 20_000, ONE), modelOn('new', 8_000, ONE)]);
    addResident(state, { model: 'a', on: { 'gpu-0': 20_000 }, leases: 1 });
    expect(plan(state)).toMatchObject({ kind: 'wait', retryAt: null });
  });

  it('5: a young one that is alone leaves after a second of rest, and the plan says when [items 105, 146]', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('a', 20_000, ONE), modelOn('new', 8_000, ONE)]);
    const young = addResident(state, {
      model: 'a',
      on: { 'gpu-0': 20_000 },
      readyAt: NOW - 5_000,
      idleSince: NOW - 400,
    });
    expect(plan(state)).toMatchObject({ kind: 'wait', retryAt: NOW + 600 });
    young.idleSince = NOW - 1_000;
    expect(victims(plan(state))).toEqual(['a']);
  });

  it('8, 32: the bytes of others and of reservations are not there to give [items 100, 101, 102, 146]', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('a', 20_000, ONE), modelOn('new', 4_000, ONE)]);
    addResident(state, { model: 'a', on: { 'gpu-0': 20_000 }, phase: 'reserved' });
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: [] });
    const known = state.devices.get('gpu-0');
    if (known) known.foreignBytes = 1;
    expect(plan(state).kind).toBe('wait');
  });

  it('9: a direct fit goes where most is free [items 103, 146]', () => {
    const state = fleetOf(
      [device('gpu-0', CARD), device('gpu-1', CARD)],
      [modelOn('a', 8_000, TWO), modelOn('new', 8_000, TWO)],
    );
    addResident(state, { model: 'a', on: { 'gpu-0': 8_000 } });
    expect(places(plan(state))).toEqual(['gpu-1']);
  });

  it('10: a small device that others use is left out [items 100, 146]', () => {
    const state = fleetOf([device('gpu-0', 6_000), device('gpu-1', CARD)], [modelOn('new', 8_000, TWO)]);
    const known = state.devices.get('gpu-1');
    if (known) known.foreignBytes = 15_000;
    expect(places(plan(state))).toEqual(['gpu-1']);
  });

  it('11, 34: a full budget takes the least recently used away [items 104, 146]', () => {
    const state = fleetOf(
      [device('gpu-0', CARD)],
      [modelOn('a', 12_000, ONE), modelOn('b', 12_000, ONE), modelOn('new', 8_000, ONE)],
    );
    addResident(state, { model: 'a', on: { 'gpu-0': 12_000 }, idleSince: 20 });
    addResident(state, { model: 'b', on: { 'gpu-0': 12_000 }, idleSince: 10 });
    expect(victims(plan(state))).toEqual(['b']);
  });

  it('13: one victim of 24000 goes before two of 12000 [items 104, 146]', () => {
    const names = ['big', 'one', 'two'];
    const state = fleetOf(
      [device('gpu-0', CARD), device('gpu-1', CARD)],
      [...names.map((name) => modelOn(name, 12_000, TWO)), modelOn('new', 20_000, TWO)],
    );
    addResident(state, { model: 'one', on: { 'gpu-0': 12_000 }, idleSince: 1 });
    addResident(state, { model: 'two', on: { 'gpu-0': 12_000 }, idleSince: 2 });
    addResident(state, { model: 'big', on: { 'gpu-1': 24_000 }, idleSince: 900 });
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: ['big'] });
  });

  it('35: what is larger than every budget is refused for ever, whoever is there [items 106, 146]', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('new', 24_001, ONE)]);
    expect(plan(state)).toMatchObject({ kind: 'impossible', never: true });
  });

  it('29: without a declared size each device is asked for its own whole budget [item 146]', () => {
    const state = fleetOf([device('gpu-0', 8_000), device('gpu-1', CARD)], [modelOn('new', null, TWO)]);
    const it = plan(state);
    expect(it.kind === 'fits' && [...it.reservations]).toEqual([['gpu-0', 8_000]]);
  });
});

describe('groups of devices, in the cases of the original', () => {
  const pair = (first: number, second: number, memory = 4_000): FleetState =>
    fleetOf([device('gpu-0', first), device('gpu-1', second)], [modelOn('new', memory, TWO, 2)]);

  it('14, 18: equal or nearly equal devices make a group, others never do [items 108, 146]', () => {
    expect(plan(pair(24_000, 24_000)).kind).toBe('fits');
    expect(plan(pair(24_000, 23_500)).kind).toBe('fits');
    expect(plan(pair(24_000, 6_000))).toMatchObject({ kind: 'impossible', never: true });
  });

  it('16: a group of one is chosen like a single device [items 103, 146]', () => {
    const state = fleetOf(
      [device('gpu-0', CARD), device('gpu-1', CARD)],
      [modelOn('a', 8_000, TWO), modelOn('new', 8_000, TWO, 1)],
    );
    addResident(state, { model: 'a', on: { 'gpu-0': 8_000 } });
    expect(places(plan(state))).toEqual(['gpu-1']);
  });

  it('17: a group of two takes the two with most free [items 103, 108, 146]', () => {
    const three = ['gpu-0', 'gpu-1', 'gpu-2'];
    const state = fleetOf(
      three.map((id) => device(id, CARD)),
      [modelOn('a', 8_000, three), modelOn('new', 8_000, three, 2)],
    );
    addResident(state, { model: 'a', on: { 'gpu-1': 8_000 } });
    expect(places(plan(state))).toEqual(['gpu-0', 'gpu-2']);
  });

  it('19: one device is not enough for two [items 108, 146]', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('new', 4_000, ONE, 2)]);
    expect(plan(state)).toMatchObject({ kind: 'impossible', never: true });
  });

  it('20: victims on both devices leave, each named once [items 108, 146]', () => {
    const state = fleetOf(
      [device('gpu-0', CARD), device('gpu-1', CARD)],
      [modelOn('wide', 12_000, TWO, 2), modelOn('a', 12_000, TWO), modelOn('new', 20_000, TWO, 2)],
    );
    addResident(state, { model: 'wide', on: { 'gpu-0': 12_000, 'gpu-1': 12_000 } });
    addResident(state, { model: 'a', on: { 'gpu-0': 12_000 } });
    expect(victims(plan(state))).toEqual(['a', 'wide']);
  });

  it('spares the victim of one device when the victim of the other makes room on both', () => {
    const state = fleetOf(
      [device('gpu-0', CARD), device('gpu-1', CARD)],
      [
        modelOn('wide', 12_000, TWO, 2),
        modelOn('a', 12_000, TWO),
        modelOn('busy', 12_000, TWO),
        modelOn('new', 12_000, TWO, 2),
      ],
    );
    addResident(state, { model: 'busy', on: { 'gpu-1': 12_000 }, leases: 1 });
    // a was used before wide, so gpu-0 alone would take a.
    addResident(state, { model: 'a', on: { 'gpu-0': 12_000 }, idleSince: 1 });
    addResident(state, { model: 'wide', on: { 'gpu-0': 12_000, 'gpu-1': 12_000 }, idleSince: 2 });
    expect(victims(plan(state))).toEqual(['wide']);
  });

  it('counts one that stands on two devices as one victim', () => {
    const three = ['gpu-0', 'gpu-1', 'gpu-2'];
    const state = fleetOf(
      three.map((id) => device(id, CARD)),
      [modelOn('wide', 24_000, three, 2), modelOn('a', 24_000, three), modelOn('new', 20_000, three, 2)],
    );
    addResident(state, { model: 'wide', on: { 'gpu-0': 24_000, 'gpu-1': 24_000 }, idleSince: 500 });
    addResident(state, { model: 'a', on: { 'gpu-2': 24_000 }, idleSince: 1 });
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: ['wide'] });
    expect(places(plan(state))).toEqual(['gpu-0', 'gpu-1']);
  });
});

describe('planTurn', () => {
  it('takes idle ones and those that have had their turn, never pinned or protected ones', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('a', 20_000, ONE), modelOn('new', 8_000, ONE)]);
    const busy = addResident(state, { model: 'a', on: { 'gpu-0': 20_000 }, readyAt: NOW - 89_000, leases: 3 });
    const model = state.models.get('new');
    const owner = state.models.get('a');
    if (!model || !owner) throw new Error('no model');
    expect(planTurn(state, model, NOW)).toBeUndefined();
    busy.readyAt = NOW - 90_000;
    expect(planTurn(state, model, NOW)).toMatchObject({ kind: 'fits', victims: ['a'] });
    owner.pinned = true;
    expect(planTurn(state, model, NOW)).toBeUndefined();
  });
});

describe('what can never be and what may be some day', () => {
  it('does not say never to one whose device is in quarantine or full of others', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('new', 8_000, ONE)]);
    const known = state.devices.get('gpu-0');
    if (!known) throw new Error('no device');
    known.quarantine = 'stuck';
    expect(plan(state)).toMatchObject({ kind: 'impossible', never: false });
    known.quarantine = null;
    known.foreignBytes = 20_000;
    expect(plan(state)).toMatchObject({ kind: 'impossible', never: false });
  });
});

describe('anti-thrash', () => {
  const young = (minResidency: number): FleetState => {
    const models = ['old', 'young', 'new'].map((name) => modelOn(name, 12_000, ONE));
    const state = fleetOf([device('gpu-0', CARD)], models, { minResidency });
    addResident(state, { model: 'old', on: { 'gpu-0': 12_000 }, readyAt: 0, idleSince: NOW - 10 });
    addResident(state, { model: 'young', on: { 'gpu-0': 12_000 }, readyAt: NOW - 80_000, idleSince: NOW - 50_000 });
    return state;
  };

  it('prefers those that have had their residency, counted from ready, and 0 switches it off [items 105, 156]', () => {
    expect(victims(plan(young(90_000)))).toEqual(['old']);
    expect(victims(plan(young(80_000)))).toEqual(['young']);
    expect(victims(plan(young(0)))).toEqual(['young']);
  });

  it('with 0 lets one that became ready this moment leave at once [item 156]', () => {
    const models = [modelOn('a', 20_000, ONE), modelOn('new', 12_000, ONE)];
    const state = fleetOf([device('gpu-0', CARD)], models, { minResidency: 0 });
    addResident(state, { model: 'a', on: { 'gpu-0': 20_000 }, readyAt: NOW, idleSince: NOW });
    expect(victims(plan(state))).toEqual(['a']);
  });
});

describe('a model of unknown size', () => {
  it('stops nobody whose memory it does not need, and nobody who is busy [item 157]', () => {
    const models = ['a', 'b', 'c'].map((name) => modelOn(name, 4_000, TWO));
    const unknown = modelOn('new', null, TWO, 1, { sizing: sizing({ utilization: 0.5 }) });
    const state = fleetOf([device('gpu-0', CARD), device('gpu-1', CARD)], [...models, unknown]);
    addResident(state, { model: 'a', on: { 'gpu-0': 4_000 } });
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: [] });
    addResident(state, { model: 'b', on: { 'gpu-0': 16_000 }, leases: 1 });
    addResident(state, { model: 'c', on: { 'gpu-1': 16_000 } });
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: ['c'] });
  });
});

describe('eviction by value', () => {
  const swap = (eviction: 'lru' | 'value'): string[] => {
    const models = ['slow', 'quick', 'new'].map((name) => modelOn(name, 12_000, ONE));
    const state = fleetOf([device('gpu-0', CARD)], models, { eviction });
    const on = { 'gpu-0': 12_000 };
    addResident(state, { model: 'slow', on, launchedAt: 0, readyAt: 600_000, idleSince: NOW - 120_000 });
    addResident(state, { model: 'quick', on, launchedAt: 590_000, readyAt: 600_000, idleSince: NOW - 100_000 });
    return victims(plan(state));
  };

  it('keeps what takes long to come back, where lru looks at the last use alone', () => {
    expect(swap('lru')).toEqual(['slow']);
    expect(swap('value')).toEqual(['quick']);
  });
});

describe('the peak of a start', () => {
  it('must be free beside what is ready, or somebody leaves for it', () => {
    const sized = modelOn('new', null, ONE, 1, { sizing: sizing() });
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('a', 10_000, ONE), sized]);
    addResident(state, { model: 'a', on: { 'gpu-0': 10_000 } });
    const model = modelNamed(state, 'new');
    model.footprints = [footprintOf(model, 12_000, { peakBytes: 14_000 })];
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: [] });
    model.footprints = [footprintOf(model, 12_000, { peakBytes: 14_001 })];
    expect(victims(plan(state))).toEqual(['a']);
  });

  it('of another that has not come to its end yet is left free', () => {
    const state = fleetOf([device('gpu-0', CARD)], [modelOn('a', 8_000, ONE), modelOn('new', 12_000, ONE)]);
    const other = addResident(state, { model: 'a', on: { 'gpu-0': 8_000 }, peak: 12_001, phase: 'starting' });
    expect(plan(state)).toMatchObject({ kind: 'wait', shortage: { missingBytes: 1 } });
    Object.assign(other, { phase: 'ready', readyAt: NOW });
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: [] });
  });
});

describe('devices that cannot be read', () => {
  it('take no start, and what needs one of them waits and keeps nobody else from the others [items 97, 98]', () => {
    const state = fleetOf(
      [device('gpu-0', CARD), device('gpu-1', CARD)],
      [modelOn('new', 8_000, ONE), modelOn('other', 8_000, TWO), modelOn('wide', 8_000, TWO, 2)],
    );
    const known = state.devices.get('gpu-0');
    if (!known) throw new Error('no device');
    known.silent = 'nvidia-smi hangs';
    expect(plan(state)).toMatchObject({ kind: 'wait', retryAt: null, shortage: { cause: 'unseen' } });
    expect(places(plan(state, 'other'))).toEqual(['gpu-1']);
    expect(plan(state, 'wide')).toMatchObject({ kind: 'wait', shortage: { cause: 'unseen' } });
    expect(planTurn(state, modelNamed(state, 'new'), NOW)).toBeUndefined();
    expect(wouldStillFit(state, modelNamed(state, 'new'), new Map([['gpu-1', CARD]]))).toBe(true);
    const wide = modelNamed(state, 'wide');
    expect(wouldStillFit(state, wide, new Map([['gpu-1', CARD]]))).toBe(true);
    known.silent = null;
    expect(wouldStillFit(state, wide, new Map([['gpu-1', CARD]]))).toBe(false);
  });
});
