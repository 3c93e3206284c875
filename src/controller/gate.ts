/** The only door between the data plane and the fleet. The proxy sees tickets and leases, never replicas. */
import type { LeaseOutcome } from '../core/events.ts';
import type { ComingStart } from '../core/lifecycle/forecast.ts';
import type { GatewayError } from '../errors.ts';
import type { Milliseconds } from '../units.ts';

export interface Ask {
  /** Unique; becomes the ticket's and the lease's id. */
  readonly id: string;
  /** A configured (canonical) name. */
  readonly model: string;
  readonly keyId: string;
  readonly stream: boolean;
  /** How long the client waits for a head, from now; null = unknown, or heartbeats will come. */
  readonly patience: Milliseconds | null;
  /** As its client knows it: for the books of whoever outlives the asker. */
  readonly request?: { readonly id: string; readonly route: string };
}

/** Told exactly one of granted / refused, later than `acquire`; after granted possibly `cut`, once. Never called inside `acquire`. */
export interface TicketSink {
  granted(lease: Lease): void;
  /** `atOnce`: it is the answer to `giveBack` itself, the request has not waited. */
  refused(error: GatewayError, atOnce?: boolean): void;
  /** The lease must end now: frame this error if the head is out, else answer it; then release as usual. */
  cut(error: GatewayError): void;
}

export interface Refusal {
  readonly kind: 'refused';
  readonly error: GatewayError;
}

export interface Ticket {
  readonly kind: 'ticket';
  readonly id: string;
  /** The client is gone. Idempotent; after it the sink hears nothing more. */
  abandon(): void;
}

/** Where a lease's request goes. One connection pool per `id`. */
export interface Upstream {
  /** Replica id: pools are keyed by it and closed with it. */
  readonly id: string;
  /** e.g. `http://127.0.0.1:20001` */
  readonly origin: string;
  readonly pathPrefix: string;
  /** Added to every request, e.g. `authorization` with the engine's own key. Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** What the engine calls the model: spliced into the body when it differs from what the client wrote. */
  readonly servedName: string;
  /** At most this many sockets: slots plus control reserve. */
  readonly connections: number;
  /** At most this many of them idle; left out = all. Each worker has its share. */
  readonly idleConnections?: number;
  /** Sockets idle longer are not reused. */
  readonly idleLimit: Milliseconds;
  /** True for a server that we did not start. */
  readonly external: boolean;
}

export interface Lease {
  readonly kind: 'lease';
  readonly id: string;
  readonly model: string;
  readonly replicaId: string;
  readonly generation: number;
  readonly upstream: Upstream;
  readonly queuedMs: Milliseconds;
  readonly coldStartMs: Milliseconds;
  /** Bytes moved: call on every piece relayed. A plain field write. */
  touch(): void;
  /** True while the replica is still ready (not exited, not fenced). */
  readonly alive: boolean;
  /**
   * May the request be attempted once more? Withdraws a token from the retry budget when true. Answered once, in the call
   * or later; not any more when the lease has ended meanwhile.
   */
  mayRetry(answer: (may: boolean) => void): void;
  /** The engine is going down and nothing reached the client: back to the head of the queue with the same sink, once; a refusal otherwise. */
  giveBack(): Ticket | Refusal | Lease;
  /** After the last byte, or when nothing more will come. Idempotent. */
  release(outcome: LeaseOutcome): void;
}

/** What the queue looks like right now, for `x-queue-depth` and friends. */
export interface QueueFacts {
  readonly depth: number;
  readonly maxQueueSize: number;
  readonly maxConcurrent: number;
}

export interface Gate {
  acquire(ask: Ask, sink: TicketSink): Lease | Ticket | Refusal;
  queueFacts(model: string): QueueFacts;
  /** Null when no start of the model is under way. */
  comingStart(model: string): ComingStart | null;
  /** False once shutdown has begun: new requests get `shutting_down`. */
  readonly accepting: boolean;
}

/** The proxy's pools, as the controller sees them: closed when a replica leaves. */
export interface UpstreamPools {
  /** No request is open on it any more: close idle sockets. */
  close(replicaId: string): void;
  /** Cut every socket now (stop protocol, 2 s after SIGTERM; engine died). */
  destroy(replicaId: string): void;
  /** Told when a replica is not ready any more, for pools whose leases cannot look it up. */
  left?(replicaId: string, generation: number): void;
}
