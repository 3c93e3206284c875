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
import { explainPlan } from './explain.ts';
import { planIdle } from './plan.ts';
import { planReport } from './plan-report.ts';

const NOW = 1_000_000;
const ONE = ['gpu-0'];
const CARD = device('gpu-0', 24 * GIB, { budgetBytes: 20 * GIB, pool: 'fast', uuid: 'GPU-1' });

const fleet = () =>
  fleetOf(
    [CARD],
    [
      modelOn('placed', 8 * GIB, ONE),
      modelOn('busy', 4 * GIB, ONE),
      modelOn('sized', null, ONE, 1, { sizing: sizing({ maxModelLen: 8_192, kvSequences: 4 }) }),
      modelOn('large', 30 * GIB, ONE),
      modelOn('late', 18 * GIB, ONE),
      modelOn('outside', null, [], 0),
    ],
  );

function laden() {
  const state = fleet();
  addResident(state, { model: 'placed', on: { 'gpu-0': 8 * GIB }, peak: 9 * GIB });
  addResident(state, { model: 'busy', on: { 'gpu-0': 4 * GIB }, leases: 2 });
  modelNamed(state, 'sized').size = { kind: 'shape', shape: shape(5 * GIB, { notes: ['Weights from its index.'] }) };
  return state;
}

describe('the plan as it is printed', () => {
  it('says of each device what is promised there, to whom, and what is free [item 114]', () => {
    const state = laden();
    const there = state.devices.get('gpu-0');
    if (there) there.foreignBytes = 5 * GIB;
    expect(planReport(state, NOW)).toMatchObject({ placement_mode: 'budget', eviction: 'lru' });
    expect(planReport(state, NOW).devices).toEqual({
      'gpu-0': {
        pool: 'fast',
        uuid: 'GPU-1',
        total_bytes: 24 * GIB,
        budget_bytes: 20 * GIB,
        foreign_bytes: 5 * GIB,
        held_bytes: 12 * GIB,
        promised_bytes: 12 * GIB,
        free_bytes: 7 * GIB,
        residents: [
          { replica: 'placed', model: 'placed', bytes: 8 * GIB, why: 'idle', in_flight: 0 },
          { replica: 'busy', model: 'busy', bytes: 4 * GIB, why: 'busy', in_flight: 2 },
        ],
        state: 'ok',
        reason: null,
      },
    });
  });

  it('says of each model where it is or would go, with the parts of its need, and who would leave [item 114]', () => {
    const { models } = planReport(laden(), NOW);
    expect(models['placed']).toMatchObject({
      fits: true,
      outcome: 'placed',
      devices: ONE,
      need: { total_bytes: 8 * GIB, peak_bytes: 9 * GIB, weights_bytes: null },
      basis: 'declared',
      reason: "Model 'placed' is ready on gpu-0.",
    });
    expect(models['sized']).toMatchObject({
      fits: true,
      outcome: 'fits',
      devices: ONE,
      basis: 'estimate',
      evicts: ['placed'],
      missing_bytes: 0,
      tensor_parallel: 1,
      notes: ['Weights from its index.'],
    });
    const need = models['sized']?.need;
    const parts = [need?.weights_bytes, need?.kv_bytes, need?.activation_bytes, need?.overhead_bytes];
    expect(parts.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0)).toBe(need?.total_bytes);
    expect(models['outside']).toMatchObject({ fits: true, devices: [], need: null, basis: null });
  });

  it('says what is missing and who holds it, in the words of the refusal [items 107, 114]', () => {
    const state = laden();
    const { models } = planReport(state, NOW);
    expect(models['large']).toMatchObject({ fits: false, outcome: 'never', missing_bytes: 10 * GIB });
    expect(models['late']).toMatchObject({
      fits: false,
      outcome: 'waits',
      missing_bytes: 10 * GIB,
      need: { total_bytes: 18 * GIB },
      holders: [
        { replica: 'placed', device: 'gpu-0', why: 'idle' },
        { replica: 'busy', device: 'gpu-0', why: 'busy', in_flight: 2 },
      ],
    });
    for (const name of ['large', 'late']) {
      const model = modelNamed(state, name);
      expect(models[name]?.reason).toBe(explainPlan(state, model, planIdle(state, model, NOW)));
    }
  });

  it('of one model tells that one, and all devices [item 114]', () => {
    const report = planReport(laden(), NOW, 'large');
    expect([Object.keys(report.models), Object.keys(report.devices)]).toEqual([['large'], ONE]);
    expect(planReport(laden(), NOW, 'nobody').models).toEqual({});
  });

  it('changes nothing [item 114]', () => {
    const state = laden();
    const before = JSON.stringify([...state.replicas.values(), ...state.models.values(), ...state.devices.values()]);
    planReport(state, NOW);
    expect(JSON.stringify([...state.replicas.values(), ...state.models.values(), ...state.devices.values()])).toBe(
      before,
    );
  });

  it('says of a model that rests that nobody leaves for it meanwhile', () => {
    const state = laden();
    modelNamed(state, 'sized').backoff = { failures: 2, until: NOW + 1_500 };
    const told = planReport(state, NOW).models['sized'];
    expect(told).toMatchObject({ fits: false, outcome: 'waits', evicts: [] });
    expect(told?.reason).toMatch(/ It rests for 2s after failed starts, and nobody leaves for it meanwhile\.$/);
  });

  it('tells what was measured, and what nobody has looked at', () => {
    const state = fleet();
    const model = modelNamed(state, 'sized');
    expect(planReport(state, NOW).models['sized']).toMatchObject({
      basis: 'discovery',
      notes: ['Its files have not been looked at yet.'],
    });
    model.footprints = [footprintOf(model, 6 * GIB, { peakBytes: 7 * GIB, utilization: 0.3 })];
    expect(planReport(state, NOW).models['sized']).toMatchObject({
      basis: 'footprint',
      need: { total_bytes: 6 * GIB, peak_bytes: 7 * GIB },
      gpu_memory_utilization: 0.3,
    });
  });
});

describe('nobody leaves', () => {
  it('for a model in back-off', () => {
    const state = laden();
    const model = modelNamed(state, 'sized');
    model.backoff = { failures: 1, until: NOW + 5_000 };
    expect(planIdle(state, model, NOW)).toMatchObject({ kind: 'wait', retryAt: NOW + 5_000 });
    expect(planIdle(state, model, NOW + 5_000)).toMatchObject({ kind: 'fits', victims: ['placed'] });
  });

  it('does not say that one fits which has to let an older one go first', () => {
    const state = laden();
    const model = modelNamed(state, 'sized');
    expect(planReport(state, NOW, 'sized').models['sized']).toMatchObject({ fits: true, outcome: 'fits' });
    model.unplacedSince = NOW - 5;
    model.waitingFor = { plan: planIdle(state, model, NOW), words: null };
    expect(planReport(state, NOW, 'sized').models['sized']).toMatchObject({
      fits: false,
      outcome: 'waits',
      devices: ONE,
      reason: "Model 'sized' would fit, but one that has waited longer needs the same memory.",
    });
  });
});
