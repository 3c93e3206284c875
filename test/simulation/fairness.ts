/** Who was served before whom: first come first served within a key, in turn between keys. */
import type { Entry } from './history.ts';
import type { Kernel } from './kernel.ts';

interface Lane {
  readonly waiting: Entry[];
  /** Grants that went to other keys while this one waited. */
  readonly overtakenBy: Map<string, number>;
}

export class Fairness {
  readonly #kernel: Kernel;
  readonly #lanes = new Map<string, Map<string, Lane>>();
  /** Models that could use a lease, with the grants to others since they could. */
  readonly #models = new Map<string, Map<string, number>>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  forget(): void {
    this.#lanes.clear();
    this.#models.clear();
  }

  queued(entry: Entry): void {
    const lane = this.#lane(entry);
    if (entry.timesReturned === 0) {
      lane.waiting.push(entry);
      return;
    }
    // Its key has the next turn, whoever was served last.
    for (const other of this.#lanes.get(entry.model)?.values() ?? []) {
      other.overtakenBy.set(entry.key, (other.overtakenBy.get(entry.key) ?? 0) - 1);
    }
    const place = lane.waiting.findIndex((other) => other.order > entry.order);
    lane.waiting.splice(place < 0 ? lane.waiting.length : place, 0, entry);
  }

  left(entry: Entry): void {
    const lanes = this.#lanes.get(entry.model);
    const lane = lanes?.get(entry.key);
    const place = lane?.waiting[0] === entry ? 0 : (lane?.waiting.indexOf(entry) ?? -1);
    if (!lanes || !lane || place < 0) return this.#kernel.fail('I-8', `${entry.id} leaves a line in which it is not`);
    if (place === 0) lane.waiting.shift();
    else lane.waiting.splice(place, 1);
    if (lane.waiting.length > 0) return;
    lanes.delete(entry.key);
    for (const other of lanes.values()) other.overtakenBy.delete(entry.key);
  }

  granted(entry: Entry): void {
    if (entry.state === 'waiting') {
      const lanes = this.#lanes.get(entry.model);
      const lane = lanes?.get(entry.key);
      const first = lane?.waiting[0];
      this.#kernel.check(
        'I-8',
        first === entry,
        () => `${entry.id} is granted before ${first?.id}, which came earlier`,
      );
      lane?.overtakenBy.clear();
      // One that came back goes first, whosever turn it is.
      if (entry.timesReturned === 0) this.#overtakes(lanes, entry);
      this.left(entry);
    } else {
      const waiting = this.#lanes.get(entry.model)?.size ?? 0;
      this.#kernel.check('I-8', waiting === 0, () => `${entry.id} passes ${waiting} keys that wait`);
    }
    for (const [name, others] of this.#models) {
      if (name === entry.model) continue;
      const count = (others.get(entry.model) ?? 0) + 1;
      others.set(entry.model, count);
    }
    this.#models.get(entry.model)?.clear();
  }

  /** After a step: models that are still in line must not have been passed twice by the same other one. */
  settled(): void {
    const { grantable } = this.#kernel.state;
    if (grantable.size === 0) {
      if (this.#models.size > 0) this.#models.clear();
      return;
    }
    for (const [name, others] of this.#models) {
      if (!grantable.has(name)) {
        this.#models.delete(name);
        continue;
      }
      for (const [other, count] of others) {
        this.#kernel.check('I-10', count <= 1, () => `${other} got ${count} leases while ${name} was in line`);
        if (!grantable.has(other)) others.delete(other);
      }
    }
    for (const name of grantable) if (!this.#models.has(name)) this.#models.set(name, new Map());
  }

  #overtakes(lanes: ReadonlyMap<string, Lane> | undefined, entry: Entry): void {
    for (const [key, other] of lanes ?? []) {
      if (key === entry.key) continue;
      const count = (other.overtakenBy.get(entry.key) ?? 0) + 1;
      other.overtakenBy.set(entry.key, count);
      this.#kernel.check('I-10', count <= 1, () => `${entry.key} was served ${count} times while ${key} waited`);
    }
  }

  #lane(entry: Entry): Lane {
    const lanes = this.#lanes.get(entry.model) ?? new Map<string, Lane>();
    this.#lanes.set(entry.model, lanes);
    const lane = lanes.get(entry.key) ?? { waiting: [], overtakenBy: new Map() };
    lanes.set(entry.key, lane);
    return lane;
  }
}
