/**
 * Random operations on small fleets, through the real `step`: whatever arrives, dies, is measured, is seen or goes silent,
 * no start begins that would not fit beside all that launched engines may hold, and nothing is promised beyond it.
 */
import fc from 'fast-check';
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
import type { FleetEffect } from '../effects.ts';
import type { FleetEvent } from '../events.ts';
import { checkInvariants } from '../invariants.ts';
import type { DeviceSettings, FleetSettings, ModelSettings } from '../settings.ts';
import type { Device, FleetState, Replica, ReplicaRef } from '../state.ts';
import { step } from '../step.ts';

const SEQUENCES = 10_000;
const DEVICES = ['gpu-0', 'gpu-1', 'gpu-2'];

/** Counted here by the test itself: nothing before launch, the peak until it was ready once, the reservation since then. */
function mayHold(replica: Replica, id: string): number {
  const steady = replica.reservations.get(id) ?? 0;
  if (replica.phase === 'reserved') return 0;
  return replica.readyAt === null ? Math.max(steady, replica.peaks.get(id) ?? 0) : steady;
}

const total = (numbers: Iterable<number>): number => [...numbers].reduce((sum, number) => sum + number, 0);
const roomOf = (it: Device): number => Math.max(0, Math.min(it.budgetBytes, it.totalBytes - it.foreignBytes));

/** Of all engines that were launched and are not seen to be gone. */
function heldOn(state: FleetState, id: string): number {
  return total([...state.replicas.values()].map((replica) => mayHold(replica, id)));
}

/** Once all that leaves has left and all that starts is ready, with the largest start still to come. */
function promisedOn(state: FleetState, id: string): number {
  const stay = [...state.replicas.values()].filter(({ phase }) => phase !== 'draining' && phase !== 'stopping');
  const rises = stay
    .filter(({ phase, readyAt }) => phase !== 'zombie' && readyAt === null)
    .map((replica) => (replica.peaks.get(id) ?? 0) - (replica.reservations.get(id) ?? 0));
  const sums = stay.map((it) => (it.phase === 'zombie' ? mayHold(it, id) : (it.reservations.get(id) ?? 0)));
  return total(sums) + Math.max(0, ...rises);
}

/** A shell that does what it is asked when its time comes, which is drawn at random. */
class World {
  readonly state: FleetState;
  readonly #devices: readonly DeviceSettings[];
  readonly #asked = new Map<string, Extract<FleetEffect, { kind: 'replica.launch' | 'replica.stop' }>>();
  readonly #leases: string[] = [];
  #now = 1_000;
  #tickets = 0;
  #draw = 1;
  launches = 0;
  evictions = 0;
  measured = 0;

  constructor(state: FleetState) {
    this.state = state;
    this.#devices = state.settings.devices;
  }

  apply([kind, pick, amount]: Operation): void {
    this.#now += amount * 400;
    for (const event of this.#eventsOf(kind, pick, amount)) this.#step(event);
    this.#step({ kind: 'time.passed' });
  }

  #step(event: FleetEvent): void {
    const effects = step(this.state, event, { now: this.#now, random: () => this.#random() });
    for (const effect of effects) this.#note(effect);
    this.#check(effects, event);
  }

  #note(effect: FleetEffect): void {
    if (effect.kind === 'replica.launch' || effect.kind === 'replica.stop') {
      this.#asked.set(effect.replica.id, effect);
      this.launches += Number(effect.kind === 'replica.launch');
      this.evictions += Number(effect.kind === 'replica.stop' && effect.reason === 'evicted');
    } else if (effect.kind === 'ticket.granted') {
      this.#leases.push(effect.id);
    }
  }

  /** Ids are drawn until one is free. */
  #random(): number {
    this.#draw = (this.#draw * 48_271) % 0x7fff_ffff;
    return this.#draw / 0x7fff_ffff;
  }

  #check(effects: readonly FleetEffect[], event: FleetEvent): void {
    const { state } = this;
    const [violation] = checkInvariants(state);
    if (violation) throw new Error(`${violation.id}: ${violation.message}, after ${JSON.stringify(event)}`);
    for (const effect of effects) {
      if (effect.kind !== 'replica.launch') continue;
      for (const id of state.replicas.get(effect.replica.id)?.reservations.keys() ?? []) this.#mayBegin(id);
    }
    for (const replica of state.replicas.values()) {
      if (replica.phase !== 'reserved') continue;
      for (const id of replica.reservations.keys()) {
        const [promised, room] = [promisedOn(state, id), roomOf(this.#deviceOf(id))];
        if (promised > room) throw new Error(`${promised} are promised on ${id}, which has ${room}`);
      }
    }
  }

  /** At the moment of the decision, with the peaks of all that start. */
  #mayBegin(id: string): void {
    const it = this.#deviceOf(id);
    const [held, room] = [heldOn(this.state, id), roomOf(it)];
    if (held > room) throw new Error(`a start begins on ${id}, which has ${room}: ${held} may be held there`);
    if (it.quarantine !== null || it.silent !== null) throw new Error(`a start begins on ${id}, which takes none`);
  }

  #deviceOf(id: string): Device {
    const found = this.state.devices.get(id);
    if (!found) throw new Error(`no device ${id}`);
    return found;
  }

  #pickFrom<T>(list: readonly T[], pick: number): readonly T[] {
    return list.length === 0 ? [] : list.slice(pick % list.length, (pick % list.length) + 1);
  }

  #eventsOf(kind: Operation[0], pick: number, amount: number): readonly FleetEvent[] {
    const { state } = this;
    const names = [...state.models.keys()];
    const pickModel = (of: (model: string) => FleetEvent): readonly FleetEvent[] => this.#pickFrom(names, pick).map(of);
    const replicas = this.#pickFrom([...state.replicas.values()], pick);
    switch (kind) {
      case 'ask': {
        this.#tickets += 1;
        const id = `t${this.#tickets}`;
        return pickModel((model) => ({ kind: 'ticket.arrived', id, model, keyId: 'k', stream: false, patience: null }));
      }
      case 'finish':
        return this.#leases
          .splice(0, 1 + (pick % 3))
          .map((id) => ({ kind: 'lease.released', id, outcome: 'completed' }));
      case 'load':
        return pickModel((model) => ({ kind: 'model.load', model }));
      case 'unload':
        return pickModel((model) => ({ kind: 'model.unload', model, reason: 'unload' }));
      case 'pin':
        return pickModel((model) => ({ kind: 'model.pin', model, pinned: amount > 15 }));
      case 'advance':
        return this.#pickFrom([...this.#asked.values()], pick).flatMap((effect) => this.#advance(effect, amount));
      case 'measure': {
        const ready = [...state.replicas.values()].filter(({ phase }) => phase === 'ready');
        return this.#pickFrom(ready, pick).map((replica) => this.#measurement(replica, amount));
      }
      case 'die':
        return replicas.map((it) => ({ kind: 'replica.exited', replica: it, detail: 'gone', cause: 'crashed' }));
      case 'others':
        return this.#pickFrom(this.#devices, pick).map(({ id, totalBytes }) => {
          const foreignBytes = amount > 12 ? amount : 0;
          return { kind: 'device.observed', id, totalBytes, usedBytes: foreignBytes, foreignBytes };
        });
      case 'silence':
        return this.#pickFrom(this.#devices, pick).map(({ id }) => ({
          kind: 'device.silent',
          id,
          reason: 'no answer',
        }));
      case 'reload':
        return [{ kind: 'settings.replaced', settings: this.#reloaded(pick, amount) }];
    }
  }

  /** Settings change under what runs; a budget that shrinks cuts nothing off. */
  #reloaded(pick: number, amount: number): FleetSettings {
    const { settings } = this.state;
    const models = new Map(settings.models);
    for (const name of this.#pickFrom([...models.keys()], pick)) {
      const model = models.get(name);
      if (model?.memory) models.set(name, { ...model, memory: 1 + (amount % 16) });
    }
    const devices = settings.devices.map((it, index) =>
      index === pick % settings.devices.length ? { ...it, budgetBytes: it.totalBytes - (amount % 6) } : it,
    );
    return { ...settings, version: settings.version + 1, models, devices };
  }

  #advance(effect: Extract<FleetEffect, { kind: 'replica.launch' | 'replica.stop' }>, luck: number): FleetEvent[] {
    const { replica } = effect;
    this.#asked.delete(replica.id);
    if (effect.kind === 'replica.stop') {
      if (luck % 9 > 0) return [{ kind: 'replica.stopped', replica }];
      this.#asked.set(replica.id, effect);
      return [{ kind: 'replica.stop_failed', replica, detail: 'still there' }];
    }
    const endpoint = { origin: `sim://${replica.id}`, pathPrefix: '', pid: 1, container: null };
    const phase = { kind: 'replica.progressed', replica, phase: 'load', fraction: null } as const;
    const begun: FleetEvent[] = [
      { kind: 'replica.launched', replica, endpoint },
      { ...phase, milestone: 'loading' },
      { ...phase, milestone: 'profiled' },
    ];
    if (luck % 9 === 0) return [...begun.slice(0, 1), this.#failure(replica, luck)];
    if (luck % 4 > 0) return [...begun, { kind: 'replica.ready', replica }];
    this.#asked.set(replica.id, effect);
    return begun.slice(0, 1 + (luck % 3));
  }

  #failure(replica: ReplicaRef, luck: number): FleetEvent {
    return { kind: 'replica.start_failed', replica, cause: 'out_of_memory', message: 'no room', shortage: luck % 4 };
  }

  /** More or less than was promised; now and then learned for the next start. */
  #measurement(replica: Replica, amount: number): FleetEvent {
    const steady = new Map([...replica.reservations].map(([id, bytes]) => [id, Math.max(1, bytes + (amount % 7) - 3)]));
    this.measured += 1;
    const model = this.state.models.get(replica.model);
    const largest = Math.max(1, ...steady.values());
    const footprint =
      model && amount % 2 === 0
        ? footprintOf(model, largest, {
            peakBytes: largest + (amount % 5),
            tensorParallel: replica.share.tensorParallel,
          })
        : null;
    return { kind: 'replica.measured', replica, steady, footprint };
  }
}

const OPERATIONS = [
  ...['ask', 'ask', 'ask', 'ask', 'finish', 'finish', 'finish', 'advance', 'advance', 'advance', 'advance', 'advance'],
  ...['advance', 'advance', 'advance', 'measure', 'measure', 'load', 'unload', 'pin', 'die', 'others', 'silence'],
  'reload',
] as const;
type Operation = readonly [(typeof OPERATIONS)[number], pick: number, amount: number];

const operation = fc.tuple(fc.constantFrom(...OPERATIONS), fc.nat(11), fc.nat(30));
const world = fc.record({
  sizes: fc.array(fc.constantFrom(16, 20, 20, 24), { minLength: 1, maxLength: 3 }),
  models: fc.array(
    fc.record({
      kind: fc.constantFrom('declared', 'declared', 'seen', 'sized', 'unknown' as const),
      bytes: fc.integer({ min: 1, max: 16 }),
      rise: fc.constantFrom(0, 2, 5),
      count: fc.constantFrom(1, 1, 1, 2),
      colocate: fc.boolean(),
    }),
    { minLength: 2, maxLength: 6 },
  ),
  eviction: fc.constantFrom('lru', 'value' as const),
  placementMode: fc.constantFrom('budget', 'budget', 'whole_card' as const),
  minResidency: fc.constantFrom(0, 5_000),
  operations: fc.array(operation, { minLength: 12, maxLength: 28, size: 'max' }),
});

type Given = typeof world extends fc.Arbitrary<infer T> ? T : never;

function build({ sizes, models, eviction, placementMode, minResidency }: Given): FleetState {
  const devices = sizes.map((size, index) => device(DEVICES[index] ?? '', size));
  const ids = devices.map(({ id }) => id);
  const settings = models.map(({ kind, bytes, count, colocate }, index): ModelSettings => {
    const over = { maxConcurrent: 2, sizing: sizing({ utilization: 0.6, autoParallel: count === 1, colocate }) };
    return kind === 'declared'
      ? modelOn(`m${index}`, bytes, ids, count, { maxConcurrent: 2 })
      : modelOn(`m${index}`, null, ids, count, over);
  });
  const rules = { eviction, placementMode, minResidency, maxTurn: 5_000, overhead: 1, colocateMargin: 1 };
  const state = fleetOf(devices, settings, rules);
  models.forEach(({ kind, bytes, rise, count }, index) => {
    const model = modelNamed(state, `m${index}`);
    if (kind === 'sized') model.size = { kind: 'shape', shape: shape(bytes, { kv: [] }) };
    if (kind !== 'seen') return;
    model.footprints = [footprintOf(model, bytes, { peakBytes: bytes + rise, tensorParallel: count })];
  });
  return state;
}

describe('the ledger', () => {
  it('promises no device more than it has, and begins no start that does not fit, in ten thousand sequences of operations [items 101, 106, 165]', () => {
    let [launches, evictions, measured] = [0, 0, 0];
    fc.assert(
      fc.property(world, (given) => {
        const it = new World(build(given));
        for (const one of given.operations) it.apply(one);
        launches += it.launches;
        evictions += it.evictions;
        measured += it.measured;
      }),
      { numRuns: SEQUENCES },
    );
    // The worlds are not idle ones.
    expect(launches).toBeGreaterThan(SEQUENCES);
    expect(measured).toBeGreaterThan(SEQUENCES / 4);
    expect(evictions).toBeGreaterThan(SEQUENCES / 50);
  }, 120_000);
});
