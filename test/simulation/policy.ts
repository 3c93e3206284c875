/** Who was made to leave, and whether that was allowed: pins, turns, idleness, rest after failures, waiting times. */
import type { Decision, FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import type { Model, Ticket } from '../../src/core/state.ts';
import type { Milliseconds } from '../../src/units.ts';
import type { Books } from './books.ts';
import type { Kernel, Observer } from './kernel.ts';

/** A deadline may come up late by the timers' lag. */
const LATE = 1_000;

const isPinned = (model: Model): boolean => model.pinned || model.settings.alwaysOn;

/** As it was after the step before. */
interface Before {
  pinned: boolean;
  restsUntil: Milliseconds | null;
}

export class Policy implements Observer {
  readonly #kernel: Kernel;
  readonly #books: Books;
  readonly #before = new Map<string, Before>();
  /** End of the last lease, or ready, per replica. */
  readonly #lastWork = new Map<string, number>();
  #life = 0;

  constructor(kernel: Kernel, books: Books) {
    this.#kernel = kernel;
    this.#books = books;
  }

  before(event: FleetEvent): void {
    const { state, now } = this.#kernel;
    if (event.kind === 'lease.released' || event.kind === 'lease.returned') {
      const replica = state.leases.get(event.id)?.replicaId;
      if (replica !== undefined) this.#lastWork.set(replica, now);
    }
  }

  after(event: FleetEvent, effects: readonly FleetEffect[], quiet: boolean): void {
    if (this.#life !== this.#kernel.life) this.#before.clear();
    this.#life = this.#kernel.life;
    for (const effect of effects) {
      if (effect.kind === 'decision') this.#decided(event, effect.decision);
      if (effect.kind === 'replica.watch') this.#lastWork.set(effect.replica.id, this.#kernel.now);
      if (effect.kind === 'ticket.granted') this.#lastWork.delete(effect.replica.id);
    }
    if (quiet) return;
    const { models } = this.#kernel.state;
    for (const model of models.values()) {
      this.#remember(model);
      const oldest = model.queue.size > 0 ? model.queue.oldest() : undefined;
      if (oldest) this.#hasNotWaitedTooLong(model, oldest);
    }
    if (this.#before.size > models.size)
      for (const name of this.#before.keys()) if (!models.has(name)) this.#before.delete(name);
  }

  recount(): void {
    for (const model of this.#kernel.state.models.values()) {
      for (const ticket of model.queue) this.#hasNotWaitedTooLong(model, ticket);
    }
  }

  #remember(model: Model): void {
    const before = this.#before.get(model.name);
    const pinned = isPinned(model);
    const restsUntil = model.backoff.until;
    if (!before) this.#before.set(model.name, { pinned, restsUntil });
    else {
      before.pinned = pinned;
      before.restsUntil = restsUntil;
    }
  }

  #decided(event: FleetEvent, decision: Decision): void {
    const kernel: Kernel = this.#kernel;
    const { kind, model, replica } = decision;
    const known = kernel.state.replicas.get(replica ?? '');
    switch (kind) {
      case 'replica.evicted':
      case 'replica.fenced': {
        const owner = kernel.state.models.get(model ?? '');
        const was = this.#before.get(model ?? '')?.pinned === true;
        const pinned = was && owner !== undefined && isPinned(owner);
        kernel.check('I-50', !pinned, () => `${model} is pinned and has to leave (${kind})`);
        this.#forWhom(event, decision);
        if (kind === 'replica.evicted') {
          const busy = this.#books.leasedOn(replica ?? '');
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
        kernel.check('I-31', !this.#rested(event, model), () => `${model} gets a place while it rests`);
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

  /** As this step began: the start may fail in it. Only an operator ends a rest before its time. */
  #rested(event: FleetEvent, model: string | null): boolean {
    if (event.kind === 'model.load' || event.kind === 'model.pin') return false;
    return (this.#before.get(model ?? '')?.restsUntil ?? 0) > this.#kernel.now;
  }

  /** Nobody leaves for a model that rests after a failure or that is the same one. */
  #forWhom(event: FleetEvent, { replica, model, detail }: Decision): void {
    const { state } = this.#kernel;
    const newcomer = state.models.get(String(detail?.['for']));
    this.#kernel.check('I-52', newcomer !== undefined && newcomer.name !== model, () => `${replica} leaves for itself`);
    const rested = this.#rested(event, newcomer?.name ?? null);
    this.#kernel.check('I-31', !rested, () => `${replica} leaves for ${newcomer?.name}, which rests`);
  }

  #hasNotWaitedTooLong(model: Model, ticket: Ticket): void {
    const { state, now } = this.#kernel;
    const { elapsed, runningSince } = model.queueClock;
    const limit = model.settings.queueTimeout + LATE;
    // During a start nobody's time runs out.
    const waited = runningSince === null ? 0 : elapsed + now - runningSince - ticket.queueClockAtArrival;
    if (waited > limit) {
      // A reload may have taken time away in this very moment.
      const due = (state.deadlines.at(`queue:${model.name}`) ?? Infinity) <= now;
      this.#kernel.check('I-11', due, () => `${ticket.id} has waited ${waited} ms of ${limit}`);
    }
    if (ticket.patienceUntil === null || now <= ticket.patienceUntil + LATE) return;
    const due = (state.deadlines.at(`patience:${ticket.id}`) ?? Infinity) <= now;
    this.#kernel.check('I-11', due, () => `${ticket.id} waits beyond the patience of its client`);
  }
}
