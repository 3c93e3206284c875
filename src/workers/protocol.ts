/**
 * What the controller's process and a worker say to each other. On the link, as lines, what is said of every request;
 * beside it, as structured clones, what is seldom said: configurations, and connections with their sockets. Durations
 * only: no two processes have the same zero of their monotonic clocks.
 */
import type { AccessOptions } from '../auth/access.ts';
import type { Ask, QueueFacts, Upstream } from '../controller/gate.ts';
import type { LeaseOutcome } from '../core/events.ts';
import type { ComingStart } from '../core/lifecycle/forecast.ts';
import type { GatewayError } from '../errors.ts';
import type { Address, DataPlaneStats } from '../proxy/proxy.ts';
import type { ProxySettings } from '../proxy/settings.ts';
import type { LogLevelName } from '../telemetry/logger.ts';
import type { RequestRecord } from '../telemetry/telemetry.ts';
import type { SpanReference, TraceSettings } from '../telemetry/tracing.ts';
import type { Milliseconds } from '../units.ts';

export interface GrantedLease {
  readonly model: string;
  readonly replicaId: string;
  readonly generation: number;
  /** Only with the first grant of this generation that the worker hears of. */
  readonly upstream?: Upstream;
  readonly queuedMs: Milliseconds;
  readonly coldStartMs: Milliseconds;
  /** Span of the start that it waited for, where there are traces. */
  readonly start?: SpanReference;
}

export type ToWorker =
  | { readonly kind: 'granted'; readonly id: string; readonly lease: GrantedLease; readonly facts: QueueFacts }
  | {
      readonly kind: 'refused';
      readonly id: string;
      readonly error: GatewayError;
      readonly atOnce: boolean;
      readonly model: string;
      readonly facts: QueueFacts;
    }
  /** With the answer to an `acquire` that waits, and whenever what others ask for has changed it. */
  | { readonly kind: 'queued'; readonly model: string; readonly facts: QueueFacts }
  | { readonly kind: 'cut'; readonly id: string; readonly error: GatewayError }
  | { readonly kind: 'retry'; readonly id: string; readonly may: boolean }
  /** It is not ready any more: no attempt on it is worth another. */
  | { readonly kind: 'left'; readonly replicaId: string; readonly generation: number }
  | { readonly kind: 'close'; readonly replicaId: string }
  | { readonly kind: 'destroy'; readonly replicaId: string }
  /**
   * Of what its requests hold and wait for: replicas whose token counters moved lately, and starts that are under way. All
   * others do not move, and are not under way.
   */
  | {
      readonly kind: 'outlook';
      readonly moving: readonly string[];
      readonly starts: readonly (readonly [model: string, start: ComingStart])[];
    }
  /** Answered at once by a process that still runs its loop. */
  | { readonly kind: 'ping' }
  /** The shutdown has begun. */
  | { readonly kind: 'refuse' }
  | { readonly kind: 'drain'; readonly limit: Milliseconds };

export type FromWorker =
  | { readonly kind: 'acquire'; readonly ask: Ask }
  | { readonly kind: 'abandon'; readonly id: string }
  | { readonly kind: 'retry'; readonly id: string }
  | { readonly kind: 'give_back'; readonly id: string }
  | { readonly kind: 'release'; readonly id: string; readonly outcome: LeaseOutcome }
  /** Again and again while it has requests or connections to engines: replicas on whose leases bytes moved, and changed figures. */
  | { readonly kind: 'pulse'; readonly touched: readonly string[]; readonly stats: DataPlaneStats | null }
  | { readonly kind: 'pong' }
  /** The connection that was handed over as this one has arrived; those before it that have not never will. */
  | { readonly kind: 'taken'; readonly number: number }
  /** The same of all up to this one. */
  | { readonly kind: 'passed'; readonly number: number }
  /** So many of its clients' connections are closed. */
  | { readonly kind: 'closed'; readonly connections: number }
  | { readonly kind: 'record'; readonly record: RequestRecord }
  | { readonly kind: 'upstream_request'; readonly model: string; readonly reused: boolean }
  | { readonly kind: 'retried'; readonly model: string; readonly reason: string }
  | { readonly kind: 'invariant_violated'; readonly id: string; readonly detail: string }
  | { readonly kind: 'spans_dropped'; readonly spans: number }
  | { readonly kind: 'lags'; readonly lags: readonly Milliseconds[] }
  /** A line of the log, JSON, with its end. */
  | { readonly kind: 'line'; readonly line: string }
  /** It serves with this configuration, and with no other. */
  | { readonly kind: 'configured'; readonly version: number }
  | { readonly kind: 'drained' };

/** All that a worker knows of the configuration. */
export interface WorkerConfiguration {
  /** Counts what was sent. */
  readonly version: number;
  readonly access: AccessOptions;
  readonly settings: ProxySettings;
  readonly logLevel: LogLevelName;
  readonly logSecrets: readonly string[];
  /** By model: what is said of a queue that nobody has asked yet. */
  readonly queues: ReadonlyMap<string, QueueFacts>;
}

export interface WorkerStart {
  readonly gatewayId: string;
  readonly version: string;
  readonly listen: Address;
  /** The control plane has a listener of its own. */
  readonly separateControl: boolean;
  /** Where requests for the control plane go, and what shows that they come from a worker. */
  readonly control: { readonly path: string; readonly token: string };
  readonly traces: TraceSettings | null;
  readonly configuration: WorkerConfiguration;
}

/** Beside the link. A connection comes with its socket. */
export type Parcel =
  | { readonly kind: 'start'; readonly start: WorkerStart }
  | { readonly kind: 'configuration'; readonly configuration: WorkerConfiguration }
  | { readonly kind: 'connection'; readonly number: number }
  /** Sent behind connections, and said back: they keep their order. Node gives one up that the worker has no descriptor for. */
  | { readonly kind: 'passed'; readonly number: number };
