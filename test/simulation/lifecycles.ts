/** Replicas change only along the legal ways, and only what was seen to be gone is forgotten. */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import { TRANSITIONS } from '../../src/core/lifecycle/replica.ts';
import type { ReplicaPhase } from '../../src/core/state.ts';
import type { Kernel, Observer } from './kernel.ts';

type Place = ReplicaPhase | 'gone';

function reachable(from: ReplicaPhase): ReadonlySet<Place> {
  const found = new Set<Place>([from]);
  for (const place of found) if (place !== 'gone') for (const next of TRANSITIONS[place]) found.add(next);
  return found;
}

const REACHABLE: Readonly<Record<ReplicaPhase, ReadonlySet<Place>>> = {
  reserved: reachable('reserved'),
  starting: reachable('starting'),
  ready: reachable('ready'),
  draining: reachable('draining'),
  stopping: reachable('stopping'),
  zombie: reachable('zombie'),
};

export class Lifecycles implements Observer {
  readonly #kernel: Kernel;
  /** As they were after the step before. */
  readonly #phases = new Map<string, ReplicaPhase>();
  #life = 0;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  after(event: FleetEvent, _effects: readonly FleetEffect[], quiet: boolean): void {
    // What it did all the same is seen at the next step.
    if (quiet) return;
    const { state, life } = this.#kernel;
    if (life !== this.#life) this.#phases.clear();
    this.#life = life;
    let known = 0;
    for (const replica of state.replicas.values()) {
      const { id, phase } = replica;
      const from = this.#phases.get(id);
      if (from !== undefined) known += 1;
      if (from === phase) continue;
      if (from === undefined) {
        const fresh = phase === 'reserved' || phase === 'starting' || phase === 'stopping';
        this.#kernel.check('I-25', fresh, () => `${id} appears as ${phase}`);
        known += 1;
      } else {
        this.#kernel.check('I-25', REACHABLE[from].has(phase), () => `${id}: ${from} became ${phase}`);
      }
      this.#phases.set(id, phase);
    }
    if (known !== this.#phases.size) this.#gone(event);
  }

  #gone(event: FleetEvent): void {
    const { replicas } = this.#kernel.state;
    for (const [id, from] of this.#phases) {
      if (replicas.has(id)) continue;
      this.#phases.delete(id);
      this.#kernel.check('I-25', REACHABLE[from].has('gone'), () => `${id}: ${from} is gone`);
      // A step may take a replica to its end only when it was told that the end has come.
      const told = from === 'reserved' || (event.kind === 'replica.stopped' && event.replica.id === id);
      this.#kernel.check('I-41', told, () => `${from} ${id} is forgotten on ${event.kind}`);
    }
  }
}
