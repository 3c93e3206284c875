/** What the rest of the gateway may say about itself. Implementations: logger.ts, metrics.ts, request-log.ts. */
import type { Outcome } from '../errors.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { Tracing } from './tracing.ts';

export interface Logger {
  trace(fields: object, message: string): void;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** A logger that adds these fields to every line. */
  child(fields: object): Logger;
}

/** One finished request: the access line, the metrics and `GET /gateway/requests/{id}` are made from it, nothing else. */
export interface RequestRecord {
  readonly id: string;
  readonly keyId: string;
  readonly method: string;
  /** The endpoint's name (a fixed set), e.g. `chat_completions`, or `unknown`. */
  readonly route: string;
  /** A configured name, or `unknown`. */
  readonly model: string;
  readonly stream: boolean;
  /** Status sent to the client; 0 when none was sent. */
  readonly status: number;
  readonly outcome: Outcome;
  /** Error code, or '' */
  readonly code: string;
  readonly replica: string | null;
  /** Wall clock, ms since the epoch. */
  readonly startedAt: Milliseconds;
  readonly durationMs: Milliseconds;
  readonly firstByteMs: Milliseconds | null;
  readonly queueMs: Milliseconds;
  readonly coldStartMs: Milliseconds;
  /** Time in the gateway itself, queue and engine left out; null when it never reached an engine. */
  readonly addedMs: Milliseconds | null;
  readonly attempts: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
}

export interface Telemetry {
  readonly log: Logger;
  /** Null or absent: there are no traces. */
  readonly tracing?: Tracing | null;
  /** Exactly once per request. */
  requestEnded(record: RequestRecord): void;
  /** `reused` = the request went out on a socket that had served before. */
  upstreamRequest(model: string, reused: boolean): void;
  retried(model: string, reason: string): void;
  startEnded(model: string, result: 'ready' | 'failed', cause: string, durationMs: Milliseconds): void;
  /** A phase of a successful start (a fixed set of the engine's, e.g. `load`), for `cold_start_seconds{phase}`. */
  startPhaseEnded?(model: string, phase: string, durationMs: Milliseconds): void;
  evicted(model: string, reason: string): void;
  invariantViolated(id: string, detail: string): void;
}

/** Worker processes of the data plane. */
export interface WorkersFacts {
  readonly configured: number;
  /** Those that serve now. */
  readonly running: readonly { readonly pid: number; readonly connections: number }[];
  /** Since the start: those that ended and were started anew. */
  readonly exits: number;
}

/** What the data plane answers at scrape and status time. Implemented by the proxy. */
export interface ProxyStats {
  /** Bodies of requests that still wait, all together. */
  readonly bufferedBytes: Bytes;
  /** Sockets to engines: `busy` carries a request, `idle` is kept alive for the next. One entry per model with any. */
  readonly connections: readonly { readonly model: string; readonly busy: number; readonly idle: number }[];
}
