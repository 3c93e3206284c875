/** Looks at the run from outside: every request has one end, in order, for a reason that was true when it was given. */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import type { GatewayError } from '../../src/errors.ts';
import type { Milliseconds } from '../../src/units.ts';
import { Books, type Standing } from './books.ts';
import { Fairness } from './fairness.ts';
import type { Kernel, Observer } from './kernel.ts';
import { whyRefusalIsWrong } from './refusals.ts';

export interface Entry extends Standing {
  readonly key: string;
  readonly order: number;
  readonly arrivedAt: Milliseconds;
  readonly patience: Milliseconds | null;
  timesReturned: number;
}

export class History implements Observer {
  /** Of requests without an end. */
  readonly entries = new Map<string, Entry>();
  readonly books: Books;
  /** How often each remarkable thing happened. */
  readonly #marks = new Map<string, number>();
  readonly #ends = new Map<string, number>();
  readonly #kernel: Kernel;
  readonly #fairness: Fairness;
  readonly #ready = new Set<string>();
  #order = 0;
  #waitingBefore = 0;
  #readyBefore = false;
  #retries: { at: Milliseconds; model: string }[] = [];
  #requests: Milliseconds[] = [];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.books = new Books(kernel);
    this.#fairness = new Fairness(kernel);
  }

  /** The gateway died: nobody gets an answer any more. */
  gatewayDied(): void {
    for (const entry of this.entries.values()) this.#ended(entry, 'gateway_died');
    this.#ready.clear();
    this.books.begin();
    this.#retries = [];
    this.#requests = [];
    this.#fairness.forget();
  }

  get marks(): ReadonlyMap<string, number> {
    return new Map([...this.#marks, ...[...this.#ends].map(([end, count]) => [`end:${end}`, count] as const)]);
  }

  mark(name: string): void {
    this.#marks.set(name, (this.#marks.get(name) ?? 0) + 1);
  }

  before(event: FleetEvent): void {
    const { state } = this.#kernel;
    switch (event.kind) {
      case 'ticket.arrived': {
        const model = state.models.get(event.model);
        this.#waitingBefore = model?.queue.size ?? 0;
        this.#readyBefore = state.replicas.get(model?.current ?? '')?.phase === 'ready';
        this.#arrived(event);
        return;
      }
      case 'ticket.abandoned':
        return this.#end(event.id, 'waiting', 'abandoned');
      case 'lease.released':
        return this.#end(event.id, 'leased', event.outcome);
      case 'lease.returned':
        return this.#returned(event.id);
      default:
        return;
    }
  }

  after(event: FleetEvent, effects: readonly FleetEffect[]): void {
    for (const effect of effects) this.#effect(event, effect);
    if (event.kind === 'ticket.arrived' || event.kind === 'lease.returned') {
      const state = this.entries.get(event.id)?.state;
      const open = state === 'new' || state === 'returned';
      this.#kernel.check('I-5', !open, () => `${event.id} was neither granted nor queued nor refused`);
    }
    this.#fairness.settled();
    this.books.agree();
  }

  /** At the very end: nobody was forgotten. */
  finish(): void {
    for (const entry of this.entries.values())
      this.#kernel.fail('I-57', `${entry.id} has no end: it is ${entry.state}`);
    this.books.close();
  }

  #arrived(event: Extract<FleetEvent, { kind: 'ticket.arrived' }>): void {
    const { id, model, keyId: key, patience } = event;
    this.#kernel.check('I-4', !this.entries.has(id), () => `${id} came twice`);
    this.#order += 1;
    this.#requests.push(this.#kernel.now);
    this.entries.set(id, {
      id,
      model,
      key,
      order: this.#order,
      arrivedAt: this.#kernel.now,
      patience,
      timesReturned: 0,
      state: 'new',
      replica: '',
    });
    this.books.open();
  }

  #end(id: string, from: Entry['state'], end: string): void {
    const entry = this.entries.get(id);
    // Said twice, or too late: it must change nothing, which the recounts would see.
    if (entry?.state !== from) return;
    if (from === 'waiting') this.#fairness.left(entry);
    this.#ended(entry, end);
  }

  /** What is said of it from here on finds nobody. */
  #ended(entry: Entry, end: string): void {
    this.books.move(entry, 'ended');
    this.entries.delete(entry.id);
    this.#countEnd(end);
  }

  #countEnd(end: string): void {
    this.#ends.set(end, (this.#ends.get(end) ?? 0) + 1);
  }

  #returned(id: string): void {
    const entry = this.entries.get(id);
    if (entry?.state !== 'leased') return;
    this.books.move(entry, 'returned');
    entry.timesReturned += 1;
    this.mark('returned');
  }

  #effect(event: FleetEvent, effect: FleetEffect): void {
    switch (effect.kind) {
      case 'ticket.granted':
        return this.#granted(effect);
      case 'ticket.refused':
        return this.#refused(event, effect.id, effect.error);
      case 'ticket.queued':
        return this.#queued(effect.id, effect.depth);
      case 'retry.answered':
        return effect.granted ? this.#retried(effect.id) : this.mark('retry.budget_empty');
      case 'replica.watch':
        this.#ready.add(effect.replica.id);
        return;
      case 'replica.unwatch':
        this.#ready.delete(effect.replica.id);
        return;
      case 'replica.stop':
        return this.mark(`stop:${effect.reason}`);
      case 'lease.cut':
        return this.mark(`cut:${effect.error.code}`);
      case 'decision':
        return this.mark(effect.decision.kind);
      default:
        return;
    }
  }

  #granted({ id, replica, queuedMs }: Extract<FleetEffect, { kind: 'ticket.granted' }>): void {
    const { state, now } = this.#kernel;
    const entry = this.entries.get(id);
    const waited = entry?.state === 'new' || entry?.state === 'waiting';
    if (!entry || !waited) return this.#kernel.fail('I-4', `${id} is granted while ${entry?.state}`);
    this.#kernel.check('I-19', this.#ready.has(replica.id), () => `${id} is granted ${replica.id}, which is not ready`);
    const known = state.replicas.get(replica.id);
    this.#kernel.check('I-22', known?.model === entry.model, () => `${id} of ${entry.model} got ${known?.model}`);
    const wanted = state.models.get(entry.model)?.settings.specHash;
    this.#kernel.check('I-37', known?.specHash === wanted, () => `${id} got ${known?.specHash} and not ${wanted}`);
    this.#kernel.check('I-66', queuedMs === now - entry.arrivedAt, () => `${id}: queued for ${queuedMs} ms`);
    this.#fairness.granted(entry);
    if (entry.timesReturned > 0) this.mark('grant.after_return');
    this.books.move(entry, 'leased', replica.id);
    const leased = this.books.leasedOn(replica.id);
    const slots = state.models.get(entry.model)?.settings.maxConcurrent ?? 0;
    this.#kernel.check('I-16', leased <= slots, () => `${replica.id} has ${leased} leases and ${slots} slots`);
    const { maxInFlight } = state.settings.limits;
    const { inFlight } = this.books;
    this.#kernel.check('I-16', inFlight <= maxInFlight, () => `${inFlight} in flight of ${maxInFlight}`);
  }

  #queued(id: string, depth: number): void {
    const entry = this.entries.get(id);
    if (!entry || (entry.state !== 'new' && entry.state !== 'returned'))
      return this.#kernel.fail('I-4', `${id} queued twice`);
    this.#fairness.queued(entry);
    if (entry.state === 'new') {
      const settings = this.#kernel.state.models.get(entry.model)?.settings;
      const bound = (settings?.maxQueueSize ?? 0) + (this.#readyBefore ? 0 : (settings?.maxConcurrent ?? 0));
      this.#kernel.check('I-2', depth <= bound, () => `${id} waits at ${depth}, the bound is ${bound}`);
    }
    this.books.move(entry, 'waiting');
  }

  #refused(event: FleetEvent, id: string, error: GatewayError): void {
    const entry = this.entries.get(id);
    if (!entry || entry.state === 'leased') {
      return this.#kernel.fail('I-57', `${id} is refused while ${entry?.state}`);
    }
    const wrong = whyRefusalIsWrong({
      event,
      entry,
      error,
      now: this.#kernel.now,
      state: this.#kernel.state,
      waitingBefore: this.#waitingBefore,
      readyBefore: this.#readyBefore,
    });
    if (wrong !== null) this.#kernel.fail('I-6', `${id} is refused with ${error.code}: ${wrong}`);
    if (entry.state === 'waiting') this.#fairness.left(entry);
    this.#ended(entry, error.code);
  }

  /**
   * Over any ten seconds: a fifth of the requests that were in sight (one retry sees the ten seconds before it), and what
   * each model may always do.
   */
  #retried(id: string): void {
    const { now, state } = this.#kernel;
    this.mark('retry.granted');
    this.#retries.push({ at: now, model: this.entries.get(id)?.model ?? '' });
    this.#retries = this.#retries.filter(({ at }) => at > now - 10_000);
    this.#requests = this.#requests.filter((at) => at > now - 20_000);
    const models = new Set(this.#retries.map(({ model }) => model)).size;
    const floor = models * Math.max(3, state.settings.retry.attempts - 1);
    const allowed = this.#requests.length * 0.2 + floor;
    const count = this.#retries.length;
    this.#kernel.check('I-72', count <= allowed, () => `${count} retries in 10 s, ${allowed} allowed`);
  }
}
