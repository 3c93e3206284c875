/** One worker's requests at the gate, in the controller's process: what it asked for, waits for and holds. */
import type { Ask, Gate, Lease, QueueFacts, Refusal, Ticket, Upstream } from '../controller/gate.ts';
import type { LeaseOutcome } from '../core/events.ts';
import type { GatewayError } from '../errors.ts';
import type { Clock } from '../platform/platform.ts';
import { NamedSlots } from '../platform/slots.ts';
import type { SpanReference } from '../telemetry/tracing.ts';
import type { Milliseconds } from '../units.ts';
import type { FromWorker, GrantedLease, ToWorker } from './protocol.ts';

interface Held {
  readonly ask: Ask;
  /** Monotonic. */
  readonly since: Milliseconds;
  ticket: Ticket | null;
  lease: Lease | null;
}

export interface WorkerDeskOptions {
  readonly gate: Gate;
  /** So many share the idle connections to an engine. */
  readonly workers: number;
  readonly say: (message: ToWorker) => void;
  /** Told what the worker is told of a queue. */
  readonly saidDepth: (model: string, depth: number) => void;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** The span of a replica's start, where there are traces. */
  readonly startOf: (replicaId: string) => SpanReference | undefined;
}

/** A request whose worker is gone, with the lease that it held. */
export interface LostRequest {
  readonly ask: Ask;
  readonly lease: Lease | null;
  /** Since it asked. */
  readonly lastedMs: Milliseconds;
}

export class WorkerDesk {
  readonly #options: WorkerDeskOptions;
  readonly #held = new NamedSlots<Held>();
  /** By replica: where its leases go, as the worker was told it last. */
  readonly #told = new Map<string, { readonly generation: number; readonly upstream: Upstream }>();

  constructor(options: WorkerDeskOptions) {
    this.#options = options;
  }

  get waiting(): number {
    let waiting = 0;
    for (const { lease } of this.#held.values()) if (lease === null) waiting += 1;
    return waiting;
  }

  get leases(): number {
    return this.#held.size - this.waiting;
  }

  /** Replicas that it holds leases of. */
  replicas(): ReadonlySet<string> {
    return new Set([...this.#held.values()].flatMap(({ lease }) => (lease === null ? [] : [lease.replicaId])));
  }

  /** What its requests wait for. */
  models(): ReadonlySet<string> {
    return new Set([...this.#held.values()].flatMap(({ lease, ask }) => (lease === null ? [ask.model] : [])));
  }

  /** True when the message was one of the gate's. */
  hear(message: FromWorker): boolean {
    switch (message.kind) {
      case 'acquire':
        this.#acquire(message.ask);
        return true;
      case 'abandon':
        this.#abandon(message.id);
        return true;
      case 'retry':
        this.#retry(message.id);
        return true;
      case 'give_back':
        this.#giveBack(message.id);
        return true;
      case 'release': {
        const lease = this.#held.get(message.id)?.lease;
        this.#held.delete(message.id);
        lease?.release(message.outcome);
        return true;
      }
      default:
        return false;
    }
  }

  /** Marks what bytes moved on, as a lease of this process does. */
  touched(replicas: readonly string[]): void {
    const all = new Set(replicas);
    for (const { lease } of this.#held.values()) {
      if (lease !== null && all.delete(lease.replicaId)) lease.touch();
      if (all.size === 0) return;
    }
  }

  /** The next grant of this replica tells its upstream anew. */
  forget(replicaId: string): void {
    this.#told.delete(replicaId);
  }

  /** The worker is gone, and its sockets with it: nothing works for its requests any more, and nobody waits for them. */
  lost(outcome: LeaseOutcome): readonly LostRequest[] {
    const held = [...this.#held.values()];
    this.#held.clear();
    const now = this.#options.clock.monotonic();
    const lost = held.map(({ ask, since, lease }) => ({ ask, lease, lastedMs: now - since }));
    // Who waits goes first, so that no lease which is freed here is granted to the dead.
    for (const { ticket } of held) ticket?.abandon();
    for (const { lease } of held) lease?.release(outcome);
    return lost;
  }

  #acquire(ask: Ask): void {
    const held: Held = { ask, since: this.#options.clock.monotonic(), ticket: null, lease: null };
    this.#held.set(ask.id, held);
    const next = this.#options.gate.acquire(ask, {
      granted: (lease) => this.#granted(held, lease),
      refused: (error) => this.#refused(held, error, false),
      cut: (error) => {
        if (held.lease !== null) this.#options.say({ kind: 'cut', id: ask.id, error });
      },
    });
    this.#take(held, next);
  }

  #take(held: Held, next: Lease | Ticket | Refusal): void {
    if (next.kind === 'lease') return this.#granted(held, next);
    if (next.kind === 'refused') return this.#refused(held, next.error, true);
    held.ticket = next;
    this.#options.say({ kind: 'queued', model: held.ask.model, facts: this.#factsOf(held.ask.model) });
  }

  #granted(held: Held, lease: Lease): void {
    held.ticket = null;
    held.lease = lease;
    const { id } = held.ask;
    if (this.#held.get(id) !== held) {
      lease.release('client_closed');
      return;
    }
    const { model, replicaId, generation, queuedMs, coldStartMs, upstream } = lease;
    const start = coldStartMs > 0 ? this.#options.startOf(replicaId) : undefined;
    const news = this.#newsOf(generation, upstream);
    const told = { model, replicaId, generation, queuedMs, coldStartMs };
    const all: GrantedLease = { ...told, ...(news && { upstream: news }), ...(start && { start }) };
    this.#options.say({ kind: 'granted', id, lease: all, facts: this.#factsOf(model) });
  }

  /** What the worker has to learn before it goes there; a reload may give the same one other credentials, or more slots. */
  #newsOf(generation: number, given: Upstream): Upstream | null {
    const { id, connections } = given;
    const told = this.#told.get(id);
    if (told?.generation === generation && isSame(told.upstream, given)) return null;
    // A copy: what is given changes in place.
    const upstream = { ...given, headers: { ...given.headers } };
    this.#told.set(id, { generation, upstream });
    return { ...upstream, idleConnections: Math.ceil(connections / this.#options.workers) };
  }

  #refused(held: Held, error: GatewayError, atOnce: boolean): void {
    const { id, model } = held.ask;
    held.ticket = null;
    if (this.#held.get(id) !== held) return;
    this.#held.delete(id);
    this.#options.say({ kind: 'refused', id, error, atOnce, model, facts: this.#factsOf(model) });
  }

  #abandon(id: string): void {
    const held = this.#held.get(id);
    this.#held.delete(id);
    held?.ticket?.abandon();
    // Granted while the word was under way: the worker has sent nothing to its engine.
    held?.lease?.release('client_closed');
  }

  #retry(id: string): void {
    const lease = this.#held.get(id)?.lease;
    if (!lease?.alive) this.#options.say({ kind: 'retry', id, may: false });
    else lease.mayRetry((may) => this.#options.say({ kind: 'retry', id, may }));
  }

  #giveBack(id: string): void {
    const held = this.#held.get(id);
    const lease = held?.lease;
    if (!held || !lease) return;
    held.lease = null;
    this.#take(held, lease.giveBack());
  }

  #factsOf(model: string): QueueFacts {
    const facts = this.#options.gate.queueFacts(model);
    this.#options.saidDepth(model, facts.depth);
    return facts;
  }
}

/** Looked at with every lease: without a copy of either, nor its text. */
function isSame(one: Upstream, other: Upstream): boolean {
  for (const key in one) {
    const name = key as keyof Upstream;
    if (name !== 'headers' && one[name] !== other[name]) return false;
  }
  return hasAll(one.headers, other.headers) && hasAll(other.headers, one.headers);
}

function hasAll(headers: Upstream['headers'], others: Upstream['headers']): boolean {
  for (const name in headers) if (headers[name] !== others[name]) return false;
  return true;
}
