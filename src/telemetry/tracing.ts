/** What the rest of the gateway tells of its requests and starts, for traces. Implementation: traces/, loaded only when configured. */
import type { Milliseconds } from '../units.ts';
import type { RequestRecord } from './telemetry.ts';

export interface TracedRequest {
  readonly method: string;
  /** Path of the route, as in a table of routes; '' when there is none: what clients write is no name of a span. */
  readonly path: string;
  /** Name, value, name, value …, as they came. */
  readonly rawHeaders: readonly string[];
  /** Monotonic, and the same moment on the wall. */
  readonly startedAt: Milliseconds;
  readonly wallStart: Milliseconds;
}

/** A lease that was granted. */
export interface TracedGrant {
  readonly replicaId: string;
  readonly queuedMs: Milliseconds;
  readonly coldStartMs: Milliseconds;
}

export interface TracedAttempt {
  readonly replicaId: string;
  /** e.g. `http://127.0.0.1:20001` */
  readonly origin: string;
  readonly method: string;
  /** Without query. */
  readonly path: string;
  /** 1 = the first of the request. */
  readonly number: number;
}

/** One attempt at one engine. */
export interface AttemptTrace {
  /** Name, value, name, value … in place of the client's trace context. */
  readonly headers: readonly string[];
  answered(status: number): void;
  /** `error`: why it failed, a word of a fixed set; '' when it did not. Idempotent. */
  end(error: string): void;
  /** Its request is back in the queue: the engine went down. */
  returned(): void;
}

/** One request. Times are monotonic and taken by the implementation, but for those of the record. */
export interface RequestTrace {
  granted(grant: TracedGrant): void;
  attempt(attempt: TracedAttempt): AttemptTrace;
  /** `waitedFrom`: it ends in the queue in which it has been since then. */
  end(record: RequestRecord, waitedFrom: Milliseconds | null): void;
}

/** A span that others are linked to, whichever process began it. */
export interface SpanReference {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceFlags: number;
}

/** Starts of engines, each a trace of its own to which the requests that waited for it are linked. */
export interface StartTraces {
  begun(replicaId: string, model: string): void;
  /** A phase of it begins, and with it the one before ends. A start that nobody has begun is left out. */
  entered(replicaId: string, phase: string): void;
  ended(replicaId: string, result: 'ready' | 'failed', cause: string): void;
  /** Undefined when nobody has begun it, or long ago. */
  contextOf(replicaId: string): SpanReference | undefined;
  /** It was begun in another process. */
  begunElsewhere(replicaId: string, context: SpanReference): void;
}

export interface Tracing {
  begin(request: TracedRequest): RequestTrace;
  readonly starts: StartTraces;
  /** Sends what is left, and gives up after `limit`. */
  close(limit: Milliseconds): Promise<void>;
}

/** From the configuration. */
export interface TraceSettings {
  /** Where OTLP is posted to: the whole URL. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly serviceName: string;
  /** 0 to 1: the part of the traces that begin here which is recorded. */
  readonly sampleRatio: number;
  /** What the caller's trace context says of recording goes before the ratio. */
  readonly followsCaller: boolean;
  readonly genaiAttributes: boolean;
}
