import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addResident, device, fleetOf, modelOn } from '../../../test/support/resident-fleet.ts';
import type { Device, FleetState, Replica } from '../state.ts';
import { planIdle } from './plan.ts';

/**
 * Every fleet of at most four devices and six residents against a search of everything. The order: residents older than
 * min_residency leave first, then fewest victims, then the least recently used, then most free left.
 */
const NOW = 1_000_000;
const RESIDENCY = 90_000;
const DEVICES = ['gpu-0', 'gpu-1', 'gpu-2', 'gpu-3'];

interface Score {
  readonly young: number;
  readonly victims: number;
  readonly latest: number;
  readonly free: number;
}

const isYoung = (replica: Replica): boolean => NOW - (replica.readyAt ?? NOW) < RESIDENCY;

function mayLeave(state: FleetState, replica: Replica): boolean {
  if (replica.phase !== 'ready' || replica.leases.size > 0 || state.models.get(replica.model)?.pinned) return false;
  return !isYoung(replica) || NOW - replica.idleSince >= 1_000;
}

const bytesOn = (replica: Replica, id: string): number => replica.reservations.get(id) ?? 0;
const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

/** The victims of one device: of all sets that make room, the one that spares the least willing. */
function victimsOn(state: FleetState, { id, budgetBytes }: Device, need: number): Replica[] | undefined {
  const here = [...state.replicas.values()].filter((replica) => replica.reservations.has(id));
  const staying = here.filter((replica) => replica.phase !== 'draining' && replica.phase !== 'stopping');
  const free = budgetBytes - sum(staying.map((replica) => bytesOn(replica, id)));
  const willing = here
    .filter((replica) => mayLeave(state, replica))
    .toSorted(
      (one, other) =>
        Number(isYoung(one)) - Number(isYoung(other)) ||
        one.idleSince - other.idleSince ||
        (one.id < other.id ? -1 : 1),
    );
  if (need > budgetBytes) return undefined;
  for (let set = 0; set < 2 ** willing.length; set += 1) {
    const chosen = willing.filter((_, index) => (set >> index) % 2 === 1);
    if (free + sum(chosen.map((replica) => bytesOn(replica, id))) >= need) return chosen;
  }
  return undefined;
}

function scoreOf(state: FleetState, group: readonly Device[], need: number): Score | undefined {
  const all = new Set<Replica>();
  let free = 0;
  for (const one of group) {
    const victims = victimsOn(state, one, need);
    if (!victims) return undefined;
    const stay = [...state.replicas.values()].filter(
      (replica) => !victims.includes(replica) && replica.phase !== 'draining' && replica.phase !== 'stopping',
    );
    free += one.budgetBytes - need - sum(stay.map((replica) => bytesOn(replica, one.id)));
    for (const victim of victims) all.add(victim);
  }
  return {
    young: [...all].filter(isYoung).length,
    victims: all.size,
    latest: Math.max(0, ...[...all].map((victim) => victim.idleSince)),
    free,
  };
}

const better = (one: Score, other: Score): boolean =>
  (one.young - other.young || one.victims - other.victims || one.latest - other.latest || other.free - one.free) < 0;

function groupsOf(devices: readonly Device[], count: number): Device[][] {
  const groups: Device[][] = [];
  for (let set = 1; set < 2 ** devices.length; set += 1) {
    const group = devices.filter((_, index) => (set >> index) % 2 === 1);
    const sizes = group.map((one) => one.totalBytes);
    if (group.length === count && Math.min(...sizes) >= 0.95 * Math.max(...sizes)) groups.push(group);
  }
  return groups;
}

const resident = fc.record({
  on: fc.uniqueArray(fc.constantFrom(...DEVICES), { minLength: 1, maxLength: 2 }),
  bytes: fc.integer({ min: 1, max: 14 }),
  age: fc.constantFrom(500, 50_000, 100_000, 500_000),
  rest: fc.constantFrom(0, 400, 2_000, 40_000),
  leases: fc.constantFrom(0, 0, 0, 1),
  pinned: fc.constantFrom(false, false, false, true),
  phase: fc.constantFrom('ready', 'ready', 'ready', 'reserved', 'starting', 'draining', 'stopping', 'zombie' as const),
});
const world = fc.record({
  sizes: fc.array(fc.constantFrom(16, 16, 20, 24), { minLength: 1, maxLength: 4 }),
  residents: fc.array(resident, { maxLength: 6 }),
  need: fc.integer({ min: 1, max: 24 }),
  count: fc.constantFrom(1, 1, 2, 3),
});

type World = typeof world extends fc.Arbitrary<infer T> ? T : never;

function build({ sizes, residents, need, count }: World): FleetState {
  const devices = sizes.map((size, index) => device(DEVICES[index] ?? '', size));
  const ids = devices.map((one) => one.id);
  const names = residents.map((_, index) => `r${index}`);
  const state = fleetOf(
    devices,
    [...names.map((name) => modelOn(name, 1, ids)), modelOn('new', need, ids, count)],
    RESIDENCY,
  );
  residents.forEach(({ on, bytes, age, rest, leases, pinned, phase }, index) => {
    const there = on.filter((id) => ids.includes(id));
    // What is there was planned: it fits.
    const fits = there.every((id) => {
      const used = sum([...state.replicas.values()].map((replica) => bytesOn(replica, id)));
      return used + bytes <= (state.devices.get(id)?.budgetBytes ?? 0);
    });
    if (there.length === 0 || !fits) return;
    const name = `r${index}`;
    const reservations = Object.fromEntries(there.map((id) => [id, bytes]));
    const readyAt = NOW - age;
    addResident(state, {
      model: name,
      on: reservations,
      readyAt,
      idleSince: Math.max(readyAt, NOW - rest),
      leases: phase === 'ready' ? leases : 0,
      phase,
    });
    const model = state.models.get(name);
    if (model) model.pinned = pinned;
  });
  return state;
}

describe('planIdle', () => {
  it('finds a place whenever a search of all groups and all victims finds one, and the best by the stated order', () => {
    fc.assert(
      fc.property(world, (it) => {
        const state = build(it);
        const model = state.models.get('new');
        if (!model) throw new Error('no model');
        const plan = planIdle(state, model, NOW);
        const scores = groupsOf([...state.devices.values()], it.count).flatMap(
          (group) => scoreOf(state, group, it.need) ?? [],
        );
        expect(plan.kind === 'fits').toBe(scores.length > 0);
        if (plan.kind !== 'fits') return;
        const chosen = [...plan.reservations.keys()]
          .map((id) => state.devices.get(id))
          .filter((one) => one !== undefined);
        expect(chosen).toHaveLength(it.count);
        const score = scoreOf(state, chosen, it.need);
        expect(score && scores.some((other) => better(other, score))).toBe(false);
        isMinimal(state, plan.victims, plan.reservations);
      }),
      { numRuns: 3_000 },
    );
  });
});

/** Only such as may leave, enough of them, and not one too many. */
function isMinimal(state: FleetState, victims: readonly string[], reservations: ReadonlyMap<string, number>): void {
  const makesRoom = (leaving: readonly string[]): boolean =>
    [...reservations].every(([id, bytes]) => {
      const stay = [...state.replicas.values()].filter(
        (replica) => !leaving.includes(replica.id) && replica.phase !== 'draining' && replica.phase !== 'stopping',
      );
      return bytes + sum(stay.map((replica) => bytesOn(replica, id))) <= (state.devices.get(id)?.budgetBytes ?? 0);
    });
  for (const id of victims) {
    const victim = state.replicas.get(id);
    expect(victim && mayLeave(state, victim)).toBe(true);
    expect(makesRoom(victims.filter((other) => other !== id))).toBe(false);
  }
  expect(makesRoom(victims)).toBe(true);
}
