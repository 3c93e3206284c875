import { describe, expect, it } from 'vitest';
import { addResident, device, fleetOf, modelOn } from '../../test/support/resident-fleet.ts';
import { Ring } from './ring.ts';
import type { FleetEvent } from './events.ts';
import type { FleetState } from './state.ts';
import { step } from './step.ts';

/** Looks into collections while `run` runs, and steps through them: what would grow with a fleet if anything did. */
function operations(run: () => void): number {
  let count = 0;
  const undo: (() => void)[] = [];
  const patch = (owner: object, name: string | symbol, iterates: boolean): void => {
    const own = Object.getOwnPropertyDescriptor(owner, name);
    const original = own?.value as (this: unknown, ...args: unknown[]) => unknown;
    const counted = function (this: unknown, ...args: unknown[]): unknown {
      count += 1;
      const result = original.apply(this, args);
      if (!iterates) return result;
      const iterator = result as IterableIterator<unknown>;
      return {
        next: () => {
          count += 1;
          return iterator.next();
        },
        return: (value: unknown) => iterator.return?.(value) ?? { done: true, value },
        [Symbol.iterator]() {
          return this;
        },
      };
    };
    Object.defineProperty(owner, name, { ...own, value: counted });
    undo.push(() => Object.defineProperty(owner, name, own ?? {}));
  };
  for (const name of ['get', 'set', 'has', 'delete']) patch(Map.prototype, name, false);
  for (const name of ['add', 'has', 'delete']) patch(Set.prototype, name, false);
  for (const { prototype } of [Map, Set])
    for (const name of ['keys', 'values', 'entries']) patch(prototype, name, true);
  for (const { prototype } of [Map, Set, Array, Ring]) patch(prototype, Symbol.iterator, true);
  for (const name of ['filter', 'find', 'some', 'every', 'map', 'toSorted', 'flatMap', 'indexOf', 'includes']) {
    patch(Array.prototype, name, false);
  }
  try {
    run();
  } finally {
    for (const restore of undo) restore();
  }
  return count;
}

const SLOTS = 50;
const HOUR = 3_600_000;

class Fleet {
  readonly state: FleetState;
  #count = 0;

  constructor(models: number, { unplaced = 0 } = {}) {
    const devices = Array.from({ length: 16 }, (_, index) => device(`gpu-${index}`, 80_000));
    const ids = devices.map(({ id }) => id);
    const over = { maxQueueSize: 1_000_000, maxConcurrent: SLOTS };
    const names = Array.from({ length: models }, (_, index) => `m${index}`);
    const waiting = Array.from({ length: unplaced }, (_, index) => `w${index}`);
    this.state = fleetOf(devices, [
      ...names.map((name) => modelOn(name, 70, ids, 1, over)),
      // Too large beside those that are there and busy.
      ...waiting.map((name) => modelOn(name, 79_999, ids, 1, over)),
    ]);
    for (const [index, name] of names.entries()) {
      addResident(this.state, { model: name, on: { [`gpu-${index % 16}`]: 70 } });
    }
    for (const name of names) this.arrive(name);
    for (const name of waiting) this.arrive(name);
  }

  do(event: FleetEvent): void {
    step(this.state, event, { now: 1_000, random: () => 0.5 });
  }

  passTo(now: number): void {
    step(this.state, { kind: 'time.passed' }, { now, random: () => 0.5 });
  }

  arrive(model: string): string {
    this.#count += 1;
    const id = `t${this.#count}`;
    const keyId = `k${this.#count % 10}`;
    this.do({ kind: 'ticket.arrived', id, model, keyId, stream: true, patience: HOUR + this.#count });
    return id;
  }

  release(id: string): void {
    this.do({ kind: 'lease.released', id, outcome: 'completed' });
  }
}

/** Levels of a heap of deadlines, each a swap of two. */
const HEAP = 8 * Math.ceil(Math.log2(100_000));
const HEAP_OF_1000 = 4 * Math.ceil(Math.log2(1_000));

describe('a step', () => {
  it('of a request that waits, leaves or is served costs the same with one waiting ticket and with 100 000', () => {
    const costs = [1, 1_000, 100_000].map((waiting) => {
      const fleet = new Fleet(1);
      for (let index = 1; index < SLOTS + waiting; index += 1) fleet.arrive('m0');
      expect(fleet.state.tickets.size).toBe(waiting);
      let id = '';
      const arrive = operations(() => {
        id = fleet.arrive('m0');
      });
      const abandon = operations(() => fleet.do({ kind: 'ticket.abandoned', id }));
      const [lease = ''] = fleet.state.leases.keys();
      const release = operations(() => fleet.release(lease));
      expect(fleet.state.leases.size).toBe(SLOTS);
      return { arrive, abandon, release };
    });
    const [one, some, most] = costs;
    for (const name of ['arrive', 'abandon', 'release'] as const) {
      const least = one?.[name] ?? 0;
      expect(least).toBeGreaterThan(5);
      expect(some?.[name]).toBeLessThanOrEqual(least + HEAP);
      expect(most?.[name]).toBeLessThanOrEqual(least + HEAP);
    }
  });

  it('of a request that is granted at once and ends costs the same with one model and with 1 000', () => {
    const [one, most] = [1, 1_000].map((models) => {
      const fleet = new Fleet(models);
      return operations(() => fleet.release(fleet.arrive('m0')));
    });
    expect(one).toBeGreaterThan(10);
    // An idle clock goes into a heap of as many as there are models.
    expect(most).toBeLessThanOrEqual((one ?? 0) + HEAP_OF_1000);
  });

  it('of a request that is granted at once plans nothing, however many models wait for a place', () => {
    const [none, many] = [0, 500].map((unplaced) => {
      const fleet = new Fleet(32, { unplaced });
      expect(fleet.state.unplaced.size).toBe(unplaced);
      return operations(() => fleet.release(fleet.arrive('m0')));
    });
    expect(many).toBe(none);
  });

  it('that plans anew does so in time of the models that wait, not of those times all that runs', () => {
    const again = (unplaced: number, models: number): number => {
      const fleet = new Fleet(models, { unplaced });
      return operations(() =>
        fleet.do({ kind: 'device.observed', id: 'gpu-0', totalBytes: 80_000, usedBytes: 1, foreignBytes: 1 }),
      );
    };
    const more = again(100, 320) - again(100, 32);
    // Each of 288 replicas more is looked at some times in all, and not as often for each of 100.
    expect(more).toBeLessThan(288 * 25);
  });

  it('in which many have waited for their turn tries each of them once, and not once for each that is behind it', () => {
    const turns = (unplaced: number): number => {
      const fleet = new Fleet(16, { unplaced });
      expect(fleet.state.unplaced.size).toBe(unplaced);
      return operations(() => fleet.passTo(120_000));
    };
    const [some, many] = [turns(50), turns(200)];
    // Their deadlines stand in a heap.
    expect(many).toBeLessThan(some * 4 * 1.5);
  });
});
