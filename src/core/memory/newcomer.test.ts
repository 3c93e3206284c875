/** whole_card mode: a model takes its share of a device; some share one with others of their kind. */
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
import { MIB } from '../../units.ts';
import type { FleetState, Replica } from '../state.ts';
import { explainPlan } from './explain.ts';
import { planIdle, type Plan } from './plan.ts';
import { planReport } from './plan-report.ts';

const NOW = 1_000_000;
const CARD = 24_000 * MIB;
const MARGIN = 1_024 * MIB;

interface Resident {
  readonly name: string;
  readonly on: string;
  readonly mib: number;
  readonly alone?: boolean;
  readonly alwaysOn?: boolean;
  readonly idleSince?: number;
  readonly phase?: Replica['phase'];
}

/** A newcomer that may share, with its share of each card; residents may share too, unless they are alone. */
function fleet(cards: number, share: number, residents: readonly Resident[] = [], margin = 0): FleetState {
  const ids = Array.from({ length: cards }, (_, index) => `gpu-${index}`);
  const kind = (colocate: boolean) => ({ sizing: sizing({ colocate, utilization: share }) });
  const state = fleetOf(
    ids.map((id) => device(id, CARD)),
    [
      ...residents.map(({ name, alone = false, alwaysOn = false }) =>
        modelOn(name, null, ids, 1, { ...kind(!alone), alwaysOn }),
      ),
      modelOn('new', null, ids, 1, kind(true)),
    ],
    { placementMode: 'whole_card', colocateMargin: margin },
  );
  for (const { name, on, mib, idleSince = 0, phase = 'ready' } of residents) {
    addResident(state, { model: name, on: { [on]: mib * MIB }, idleSince, phase });
  }
  return state;
}

const plan = (state: FleetState, name = 'new'): Plan => planIdle(state, modelNamed(state, name), NOW);
const where = (it: Plan): string[] => (it.kind === 'fits' ? [...it.reservations.keys()] : [it.kind]);
const leaving = (it: Plan): string[] => (it.kind === 'fits' ? it.victims.toSorted() : [it.kind]);

describe('co-location, in the cases of the original', () => {
  it('21: an empty card takes one [items 111, 146]', () => {
    expect(plan(fleet(1, 0.4))).toMatchObject({ kind: 'fits', victims: [], share: { utilization: 0.4 } });
  });

  it('22: it stands beside another of its kind [items 111, 146]', () => {
    const state = fleet(1, 0.4, [{ name: 'a', on: 'gpu-0', mib: 9_600 }]);
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: [] });
  });

  it('23: it keeps away from one that has the card to itself, and says so [items 107, 111, 146]', () => {
    const state = fleet(1, 0.4, [{ name: 'a', on: 'gpu-0', mib: 4_000, alone: true }]);
    const it = plan(state);
    expect(it).toMatchObject({ kind: 'wait', shortage: { cause: 'unshared' } });
    expect(explainPlan(state, modelNamed(state, 'new'), it)).toContain(
      'that only co-located models share. Held by a (3.9GiB, idle).',
    );
  });

  it('24: only the least recently used of its neighbours leaves [items 104, 111, 146]', () => {
    const state = fleet(1, 0.4, [
      { name: 'late', on: 'gpu-0', mib: 9_600, idleSince: 20 },
      { name: 'early', on: 'gpu-0', mib: 9_600, idleSince: 10 },
    ]);
    expect(leaving(plan(state))).toEqual(['early']);
  });

  it('25: neighbours that are always on stay, and it has no place [items 104, 111, 146]', () => {
    const state = fleet(1, 0.4, [
      { name: 'a', on: 'gpu-0', mib: 9_600, alwaysOn: true },
      { name: 'b', on: 'gpu-0', mib: 9_600, alwaysOn: true },
    ]);
    expect(plan(state)).toMatchObject({ kind: 'impossible', never: false, shortage: { cause: 'kept' } });
  });

  it('26: of the cards that it may use it takes the one with most free [items 103, 111, 146]', () => {
    const state = fleet(3, 0.4, [
      { name: 'a', on: 'gpu-0', mib: 9_600 },
      { name: 'b', on: 'gpu-1', mib: 4_800 },
      { name: 'c', on: 'gpu-2', mib: 2_400, alone: true },
    ]);
    expect(where(plan(state))).toEqual(['gpu-1']);
  });

  it('27: blocked cards are left out; when all are blocked there is none [items 111, 146]', () => {
    const blocked: readonly Resident[] = [
      { name: 'a', on: 'gpu-0', mib: 2_400, alone: true, phase: 'starting' },
      { name: 'b', on: 'gpu-1', mib: 2_400, alone: true, phase: 'stopping' },
    ];
    expect(plan(fleet(2, 0.4, blocked)).kind).toBe('wait');
    expect(where(plan(fleet(3, 0.4, blocked)))).toEqual(['gpu-2']);
  });
});

describe('a co-located model', () => {
  it('leaves a margin beside it, and tells its engine what is left [item 111]', () => {
    const state = fleet(1, 0.4, [{ name: 'a', on: 'gpu-0', mib: 14_000 }], MARGIN);
    const it = plan(state);
    if (it.kind !== 'fits') throw new Error(it.kind);
    const bytes = 10_000 * MIB - MARGIN;
    expect(it.reservations).toEqual(new Map([['gpu-0', bytes]]));
    expect(it.peaks).toEqual(it.reservations);
    expect(it.share.utilization).toBe(Math.floor((bytes / CARD) * 10_000) / 10_000);
  });

  it('is refused for good when its share would not hold its weights, with both numbers [items 107, 111]', () => {
    const state = fleet(1, 0.4, [{ name: 'a', on: 'gpu-0', mib: 14_000 }], MARGIN);
    const model = modelNamed(state, 'new');
    model.size = { kind: 'shape', shape: shape(9_000 * MIB) };
    const it = plan(state);
    expect(it).toMatchObject({ kind: 'impossible', never: true, shortage: { cause: 'weights' } });
    expect(explainPlan(state, model, it)).toBe(
      "Model 'new' needs 9.4GiB (its share of it) on a device, its configured share, which does not hold its weights: they take 10.1GiB with memory.weight_overhead. Raise its gpu_memory_utilization, or give it a larger device.",
    );
  });

  it('has more neighbours leave rather than get less than its weights [item 111]', () => {
    const neighbours: readonly Resident[] = [
      { name: 'a', on: 'gpu-0', mib: 9_000, idleSince: 1 },
      { name: 'b', on: 'gpu-0', mib: 4_900, idleSince: 2, alwaysOn: true },
    ];
    const state = fleet(1, 0.42, neighbours, MARGIN);
    expect(leaving(plan(state))).toEqual([]);
    modelNamed(state, 'new').size = { kind: 'shape', shape: shape(8_000 * MIB) };
    const it = plan(state);
    if (it.kind !== 'fits') throw new Error(it.kind);
    expect(it.victims).toEqual(['a']);
    // Nothing of its share is missing now, so the margin costs it nothing.
    expect(it.share.utilization).toBe(0.42);
  });

  it('takes what it took before when it is known, without a margin [item 128]', () => {
    const state = fleet(1, 0.4, [{ name: 'a', on: 'gpu-0', mib: 14_000 }], MARGIN);
    const model = modelNamed(state, 'new');
    model.footprints = [footprintOf(model, 9_900 * MIB, { utilization: 0.39 })];
    expect(plan(state)).toMatchObject({ kind: 'fits', share: { utilization: 0.39 } });
  });

  it('shares by bytes alone in budget mode, with any neighbour', () => {
    const ids = ['gpu-0'];
    const state = fleetOf(
      [device('gpu-0', CARD)],
      [modelOn('a', 4_000 * MIB, ids), modelOn('new', null, ids, 1, { sizing: sizing({ colocate: true }) })],
    );
    addResident(state, { model: 'a', on: { 'gpu-0': 4_000 * MIB } });
    const model = modelNamed(state, 'new');
    model.footprints = [footprintOf(model, 9_000 * MIB)];
    expect(plan(state)).toMatchObject({ kind: 'fits', victims: [] });
  });
});

describe('whole_card mode', () => {
  it('lets a model that shares nothing stand where its bytes are free, as before [item 111]', () => {
    const state = fleet(1, 0.4, [
      { name: 'a', on: 'gpu-0', mib: 9_600 },
      { name: 'alone', on: 'gpu-0', mib: 1, alone: true, phase: 'stopping' },
    ]);
    state.replicas.delete('alone');
    expect(plan(state, 'alone')).toMatchObject({ kind: 'fits', victims: [] });
  });

  it('knows no budget: the plan shows none, while in budget mode it shows one for each device [item 158]', () => {
    const report = planReport(fleet(1, 0.4), NOW);
    expect(report.placement_mode).toBe('whole_card');
    expect(report.devices['gpu-0']).toMatchObject({ total_bytes: CARD, budget_bytes: null, free_bytes: CARD });
    const budget = fleetOf([device('gpu-0', CARD, { budgetBytes: CARD * 0.9 })], []);
    expect(planReport(budget, NOW).devices['gpu-0']).toMatchObject({ budget_bytes: CARD * 0.9 });
  });
});
