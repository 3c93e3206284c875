/** The gate: turns asks into tickets and leases, and the core's answers into calls of the waiting sinks. */
import type { FleetEffect } from '../core/effects.ts';
import type { FleetEvent, LeaseOutcome } from '../core/events.ts';
import { comingStart, type ComingStart } from '../core/lifecycle/forecast.ts';
import type { FleetState, ReplicaRef } from '../core/state.ts';
import { gatewayError, type GatewayError } from '../errors.ts';
import type { Ask, Gate, Lease, QueueFacts, Refusal, Ticket, TicketSink, Upstream } from './gate.ts';
import type { Activity } from './health-monitor.ts';
import type { Clock } from '../platform/platform.ts';
import { NamedSlots } from '../platform/slots.ts';
import type { ModelRuntimes } from './model-runtime.ts';

type Granted = Extract<FleetEffect, { kind: 'ticket.granted' }>;

export interface LeaseDeskOptions {
  readonly state: FleetState;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly runtimes: ModelRuntimes;
  /** Steps at once and returns the effects; null when that cannot be done now. */
  readonly decide: (event: FleetEvent) => readonly FleetEffect[] | null;
  readonly post: (event: FleetEvent) => void;
}

export class LeaseDesk implements Gate {
  readonly #options: LeaseDeskOptions;
  /** Waiting and leased requests, by ticket id. */
  readonly #sinks = new NamedSlots<TicketSink>();
  readonly #upstreams = new Map<string, { readonly upstream: Upstream; readonly activity: Activity }>();

  constructor(options: LeaseDeskOptions) {
    this.#options = options;
  }

  get accepting(): boolean {
    return this.#options.state.shutdown === null;
  }

  /** Requests that wait or run: for idle counts in tests. */
  get size(): number {
    return this.#sinks.size;
  }

  acquire(ask: Ask, sink: TicketSink): Lease | Ticket | Refusal {
    this.#sinks.set(ask.id, sink);
    return this.#enter(ask.id, {
      kind: 'ticket.arrived',
      id: ask.id,
      model: ask.model,
      keyId: ask.keyId,
      stream: ask.stream,
      patience: ask.patience,
    });
  }

  queueFacts(model: string): QueueFacts {
    const found = this.#options.state.models.get(model);
    if (!found) return { depth: 0, maxQueueSize: 0, maxConcurrent: 0 };
    return {
      depth: found.queue.size,
      maxQueueSize: found.settings.maxQueueSize,
      maxConcurrent: found.settings.maxConcurrent,
    };
  }

  comingStart(model: string): ComingStart | null {
    const { state, clock } = this.#options;
    const found = state.models.get(model);
    return found ? comingStart(state, found, clock.monotonic()) : null;
  }

  /** Bytes moved on any lease of this replica. */
  activityOf(replicaId: string): Activity {
    return this.#upstreams.get(replicaId)?.activity ?? { moved: false };
  }

  /** When a replica became ready, or with its first grant, whichever is performed first. */
  open(replicaId: string, upstream: Upstream): Activity {
    const known = this.#upstreams.get(replicaId);
    if (known) return known.activity;
    const activity: Activity = { moved: false };
    this.#upstreams.set(replicaId, { upstream, activity });
    return activity;
  }

  forget(replicaId: string): void {
    this.#upstreams.delete(replicaId);
  }

  /** An effect that the caller of `decide` takes itself. */
  isOwn(event: FleetEvent, effect: FleetEffect): boolean {
    if (!('id' in event) || !('id' in effect) || event.id !== effect.id) return false;
    return (
      effect.kind === 'ticket.granted' ||
      effect.kind === 'ticket.refused' ||
      effect.kind === 'ticket.queued' ||
      effect.kind === 'retry.answered'
    );
  }

  granted(effect: Granted): void {
    const sink = this.#sinks.get(effect.id);
    const lease = this.#leaseOf(effect);
    // The asker is gone: nobody will release this lease but we.
    if (!sink) lease.release('client_closed');
    else sink.granted(lease);
  }

  refused(id: string, error: GatewayError): void {
    const sink = this.#sinks.get(id);
    this.#sinks.delete(id);
    sink?.refused(error);
  }

  cut(id: string, error: GatewayError): void {
    this.#sinks.get(id)?.cut(error);
  }

  #enter(id: string, event: FleetEvent): Lease | Ticket | Refusal {
    const effects = this.#options.decide(event);
    if (effects === null) {
      this.#options.post(event);
      return this.#ticket(id);
    }
    for (const effect of effects) {
      if (effect.kind === 'ticket.granted' && effect.id === id) return this.#leaseOf(effect);
      if (effect.kind === 'ticket.refused' && effect.id === id) {
        this.#sinks.delete(id);
        return { kind: 'refused', error: effect.error };
      }
    }
    return this.#ticket(id);
  }

  #ticket(id: string): Ticket {
    return {
      kind: 'ticket',
      id,
      abandon: () => {
        if (this.#sinks.delete(id)) this.#options.post({ kind: 'ticket.abandoned', id });
      },
    };
  }

  #leaseOf(effect: Granted): Lease {
    const open = this.#upstreams.get(effect.replica.id) ?? this.#reopen(effect.model, effect.replica);
    return new DeskLease(this, effect, open.upstream, open.activity);
  }

  /** A grant can only name a ready replica; one whose upstream is not known yet gets it here. */
  #reopen(model: string, replica: ReplicaRef): { readonly upstream: Upstream; readonly activity: Activity } {
    const endpoint = this.#options.state.replicas.get(replica.id)?.endpoint;
    const runtime = this.#options.runtimes.of(model);
    if (!endpoint || !runtime) throw new Error(`lease on replica ${replica.id}, which has no endpoint`);
    const upstream = runtime.upstream(replica, endpoint);
    return { upstream, activity: this.open(replica.id, upstream) };
  }

  isAlive(replica: ReplicaRef): boolean {
    const found = this.#options.state.replicas.get(replica.id);
    return found !== undefined && found.generation === replica.generation && found.phase === 'ready';
  }

  /** False while effects are being performed: a retry decided there would come from a cut lease. */
  mayRetry(id: string): boolean {
    const effects = this.#options.decide({ kind: 'retry.asked', id }) ?? [];
    return effects.some((effect) => effect.kind === 'retry.answered' && effect.granted);
  }

  giveBack(id: string): Lease | Ticket | Refusal {
    if (!this.#sinks.has(id))
      return { kind: 'refused', error: gatewayError('internal_error', 'The lease has ended already.') };
    return this.#enter(id, { kind: 'lease.returned', id });
  }

  release(id: string, outcome: LeaseOutcome): void {
    this.#sinks.delete(id);
    this.#options.post({ kind: 'lease.released', id, outcome });
  }
}

/** One per request: fields and a reference to the desk, nothing else. */
class DeskLease implements Lease {
  readonly kind = 'lease';
  readonly id: string;
  readonly model: string;
  readonly replicaId: string;
  readonly generation: number;
  readonly upstream: Upstream;
  readonly queuedMs: number;
  readonly coldStartMs: number;
  readonly #desk: LeaseDesk;
  readonly #activity: Activity;
  #ended = false;

  constructor(desk: LeaseDesk, effect: Granted, upstream: Upstream, activity: Activity) {
    this.#desk = desk;
    this.#activity = activity;
    this.id = effect.id;
    this.model = effect.model;
    this.replicaId = effect.replica.id;
    this.generation = effect.replica.generation;
    this.upstream = upstream;
    this.queuedMs = effect.queuedMs;
    this.coldStartMs = effect.coldStartMs;
  }

  get alive(): boolean {
    return !this.#ended && this.#desk.isAlive({ id: this.replicaId, generation: this.generation });
  }

  touch(): void {
    this.#activity.moved = true;
  }

  mayRetry(answer: (may: boolean) => void): void {
    answer(!this.#ended && this.#desk.mayRetry(this.id));
  }

  giveBack(): Lease | Ticket | Refusal {
    if (this.#ended) return { kind: 'refused', error: gatewayError('internal_error', 'The lease has ended already.') };
    this.#ended = true;
    return this.#desk.giveBack(this.id);
  }

  release(outcome: LeaseOutcome): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#desk.release(this.id, outcome);
  }
}
