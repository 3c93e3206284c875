/** Replicas change only along the legal ways, and only what was seen to be gone is forgotten. */
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
  readonly #phases = new Map<string, ReplicaPhase>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  before(): void {
    this.#phases.clear();
    for (const replica of this.#kernel.state.replicas.values()) this.#phases.set(replica.id, replica.phase);
  }

  after(event: FleetEvent): void {
    const { state } = this.#kernel;
    for (const [id, from] of this.#phases) {
      const to = state.replicas.get(id)?.phase ?? 'gone';
      if (to === from) continue;
      this.#kernel.check('I-25', REACHABLE[from].has(to), () => `${id}: ${from} became ${to}`);
      // A step may take a replica to its end only when it was told that the end has come.
      const told = from === 'reserved' || (event.kind === 'replica.stopped' && event.replica.id === id);
      this.#kernel.check('I-41', to !== 'gone' || told, () => `${from} ${id} is forgotten on ${event.kind}`);
    }
    for (const replica of state.replicas.values()) {
      if (this.#phases.has(replica.id)) continue;
      const fresh = replica.phase === 'reserved' || replica.phase === 'starting' || replica.phase === 'stopping';
      this.#kernel.check('I-25', fresh, () => `${replica.id} appears as ${replica.phase}`);
    }
  }
}
