/** Who was made to leave, and whether that was allowed: pins, turns, idleness, rest after failures, waiting times. */
import type { Decision, FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import type { Model } from '../../src/core/state.ts';
import type { Kernel, Observer } from './kernel.ts';

/** A deadline may come up late by the timers' lag. */
const LATE = 1_000;

const isPinned = (model: Model): boolean => model.pinned || model.settings.alwaysOn;

export class Policy implements Observer {
  readonly #kernel: Kernel;
  #pinned = new Set<string>();
  #rests = new Map<string, number | null>();
  /** End of the last lease, or ready, per replica. */
  readonly #lastWork = new Map<string, number>();
  #busy = new Map<string, number>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  before(event: FleetEvent): void {
    const { state, now } = this.#kernel;
    this.#pinned = new Set([...state.models.values()].filter(isPinned).map((model) => model.name));
    this.#rests = new Map([...state.models.values()].map(({ name, backoff }) => [name, backoff.until]));
    this.#busy = new Map([...state.replicas.values()].map((replica) => [replica.id, replica.leases.size]));
    if (event.kind === 'lease.released' || event.kind === 'lease.returned') {
      const replica = state.leases.get(event.id)?.replicaId;
      if (replica !== undefined) this.#lastWork.set(replica, now);
    }
  }

  after(event: FleetEvent, effects: readonly FleetEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'decision') this.#decided(event, effect.decision);
      if (effect.kind === 'replica.watch') this.#lastWork.set(effect.replica.id, this.#kernel.now);
      if (effect.kind === 'ticket.granted') this.#lastWork.delete(effect.replica.id);
    }
    this.#nobodyWaitsTooLong();
  }

  #decided(event: FleetEvent, decision: Decision): void {
    const kernel: Kernel = this.#kernel;
    const { kind, model, replica } = decision;
    const known = kernel.state.replicas.get(replica ?? '');
    switch (kind) {
      case 'replica.evicted':
      case 'replica.fenced': {
        const owner = kernel.state.models.get(model ?? '');
        const pinned = this.#pinned.has(model ?? '') && owner !== undefined && isPinned(owner);
        kernel.check('I-50', !pinned, () => `${model} is pinned and has to leave (${kind})`);
        this.#forWhom(decision);
        if (kind === 'replica.evicted') {
          // A lease that ended in this very step has left nothing behind.
          const busy = event.kind === 'lease.released' ? 0 : (this.#busy.get(replica ?? '') ?? 0);
          kernel.check('I-49', busy === 0, () => `${replica} is evicted with ${busy} leases`);
        } else {
          const age = kernel.now - (known?.readyAt ?? kernel.now);
          const { minResidency, maxTurn } = kernel.state.settings.limits;
          const turn = Math.max(minResidency, maxTurn);
          kernel.check('turn', age >= turn, () => `${replica} is fenced after ${age} ms, a turn is ${turn} ms`);
        }
        return;
      }
      case 'replica.reserved': {
        // Only an operator ends a rest before its time.
        const asked = event.kind === 'model.load' || event.kind === 'model.pin';
        const rests = !asked && (this.#rests.get(model ?? '') ?? 0) > kernel.now;
        kernel.check('I-31', !rests, () => `${model} gets a place while it rests`);
        return;
      }
      case 'replica.idle': {
        const since = this.#lastWork.get(replica ?? '');
        const limit = kernel.state.models.get(model ?? '')?.settings.inactivityTimeout ?? 0;
        const idle = kernel.now - (since ?? kernel.now);
        kernel.check('I-56', idle >= limit, () => `${replica} is idle-stopped after ${idle} ms of ${limit}`);
        return;
      }
      default:
        return;
    }
  }

  /** Nobody leaves for a model that rests after a failure or that is the same one. */
  #forWhom({ replica, model, detail }: Decision): void {
    const { state, now } = this.#kernel;
    const newcomer = state.models.get(String(detail?.['for']));
    this.#kernel.check('I-52', newcomer !== undefined && newcomer.name !== model, () => `${replica} leaves for itself`);
    const rests = (newcomer?.backoff.until ?? 0) > now;
    this.#kernel.check('I-31', !rests, () => `${replica} leaves for ${newcomer?.name}, which rests`);
  }

  #nobodyWaitsTooLong(): void {
    const { state, now } = this.#kernel;
    for (const model of state.models.values()) {
      if (model.queue.size === 0) continue;
      const { elapsed, runningSince } = model.queueClock;
      // During a start nobody's time runs out; a reload may have taken time away in this very moment.
      const due = (state.deadlines.at(`queue:${model.name}`) ?? Infinity) <= now;
      const clock = runningSince === null || due ? -Infinity : elapsed + now - runningSince;
      for (const ticket of model.queue) {
        const waited = clock - ticket.queueClockAtArrival;
        const limit = model.settings.queueTimeout + LATE;
        this.#kernel.check('I-11', waited <= limit, () => `${ticket.id} has waited ${waited} ms of ${limit}`);
        const patienceDue = (state.deadlines.at(`patience:${ticket.id}`) ?? Infinity) <= now;
        const patient = ticket.patienceUntil === null || patienceDue || now <= ticket.patienceUntil + LATE;
        this.#kernel.check('I-11', patient, () => `${ticket.id} waits beyond the patience of its client`);
      }
    }
  }
}
