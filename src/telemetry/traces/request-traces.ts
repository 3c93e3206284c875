/**
 * The spans of a request: one for the whole, below it the wait for a lease, the cold start in it, and every attempt at an
 * engine. Attributes: HTTP semantic conventions 1.x, our own as `vllm_gateway.*`, `gen_ai.*` on request. Nothing that a
 * client or an engine wrote as content is in them.
 */
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Attributes, Context, Span, SpanContext, Tracer } from '@opentelemetry/api';
import type { Clock } from '../../platform/platform.ts';
import type { Milliseconds } from '../../units.ts';
import type { RequestRecord } from '../telemetry.ts';
import type { AttemptTrace, RequestTrace, TracedAttempt, TracedGrant, TracedRequest } from '../tracing.ts';
import { parentOf, traceHeaders } from './propagation.ts';
import { spanTime, type Moment } from './span-times.ts';
import type { ReplicaStarts } from './start-traces.ts';

export interface RequestTracesOptions {
  readonly tracer: Tracer;
  readonly clock: Clock;
  readonly starts: ReplicaStarts;
  readonly genaiAttributes: boolean;
  /** Without the values that no log may contain: clients choose ids. */
  readonly safe: (text: string) => string;
}

/** Endpoint → `gen_ai.operation.name`; the others are no operation of those conventions. */
const OPERATIONS: Readonly<Record<string, string>> = {
  chat_completions: 'chat',
  messages: 'chat',
  responses: 'chat',
  completions: 'text_completion',
  embeddings: 'embeddings',
};

const FAILED: ReadonlySet<string> = new Set(['upstream_failed', 'deadline', 'shutdown', 'internal']);
/** https://opentelemetry.io/docs/specs/semconv/http/http-spans/: any other one is `_OTHER`. */
const METHODS: ReadonlySet<string> = new Set([
  ...['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'],
]);

const CLIENT_ERROR = 400;
const SERVER_ERROR = 500;
const HTTP_PORT = 80;
const HTTPS_PORT = 443;

export function beginRequest(options: RequestTracesOptions, request: TracedRequest): RequestTrace {
  return new SpannedRequest(options, request);
}

class SpannedRequest implements RequestTrace {
  readonly #options: RequestTracesOptions;
  readonly #origin: Moment;
  readonly #span: Span;
  readonly #context: Context;
  #attempt: SpannedAttempt | null = null;

  constructor(options: RequestTracesOptions, request: TracedRequest) {
    this.#options = options;
    this.#origin = { monotonic: request.startedAt, wall: request.wallStart };
    const { path } = request;
    const method = METHODS.has(request.method) ? request.method : '_OTHER';
    const known: Attributes = path === '' ? {} : { 'http.route': path, 'url.path': path };
    const attributes = { 'http.request.method': method, 'url.scheme': 'http', ...known };
    const startTime = spanTime(this.#origin, request.startedAt);
    const name = path === '' ? method.replace('_OTHER', 'HTTP') : `${method} ${path}`;
    const parent = parentOf(request.rawHeaders);
    this.#span = options.tracer.startSpan(name, { kind: SpanKind.SERVER, startTime, attributes }, parent);
    this.#context = trace.setSpan(ROOT_CONTEXT, this.#span);
  }

  granted({ replicaId, queuedMs, coldStartMs }: TracedGrant): void {
    const before = this.#attempt;
    this.#attempt = null;
    if (queuedMs <= 0 || !this.#span.isRecording()) return;
    const now = this.#options.clock.monotonic();
    // One that was given back has waited before, and the attempt in between was no waiting.
    const from = Math.max(now - queuedMs, before?.endedAt ?? this.#origin.monotonic);
    const queue = this.#past('queue', from, now, this.#context, {});
    if (coldStartMs <= 0) return;
    const start = this.#options.starts.contextOf(replicaId);
    const attributes = { 'vllm_gateway.replica': replicaId };
    this.#past('cold start', Math.max(from, now - coldStartMs), now, queue, attributes, start);
  }

  attempt(attempt: TracedAttempt): AttemptTrace {
    this.#attempt = new SpannedAttempt(this.#options, this.#origin, this.#context, attempt);
    return this.#attempt;
  }

  end(record: RequestRecord, waitedFrom: Milliseconds | null): void {
    const span = this.#span;
    const attempt = this.#attempt;
    // Whoever leaves in the middle of an answer ends the attempt too.
    const endedAt = this.#origin.monotonic + record.durationMs;
    attempt?.endAt(endedAt, record.outcome === 'completed' ? '' : record.code || record.outcome);
    if (span.isRecording()) {
      const error = errorOf(record);
      const waiting = attempt?.wasReturned === true ? attempt.endedAt : waitedFrom;
      if (waiting !== null) this.#past('queue', waiting, endedAt, this.#context, error);
      span.setAttribute('vllm_gateway.request_id', this.#options.safe(record.id));
      span.setAttributes({ ...requestAttributes(record), ...error });
      if (this.#options.genaiAttributes) span.setAttributes(genaiAttributes(record));
      if (isFault(record)) span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span.end(spanTime(this.#origin, endedAt));
  }

  /** A span of something that is over. */
  #past(
    name: string,
    from: Milliseconds,
    to: Milliseconds,
    parent: Context,
    attributes: Attributes,
    link?: SpanContext,
  ): Context {
    const startTime = spanTime(this.#origin, from);
    const links = link === undefined ? [] : [{ context: link }];
    const span = this.#options.tracer.startSpan(name, { startTime, attributes, links }, parent);
    span.end(spanTime(this.#origin, Math.max(from, to)));
    return trace.setSpan(ROOT_CONTEXT, span);
  }
}

class SpannedAttempt implements AttemptTrace {
  readonly headers: readonly string[];
  wasReturned = false;
  endedAt: Milliseconds = 0;
  readonly #clock: Clock;
  readonly #origin: Moment;
  readonly #span: Span;
  #status = 0;

  constructor({ tracer, clock }: RequestTracesOptions, origin: Moment, parent: Context, attempt: TracedAttempt) {
    const { origin: server, method, path, replicaId, number } = attempt;
    const { hostname, port, protocol } = new URL(server);
    const resent: Attributes = number > 1 ? { 'http.request.resend_count': number - 1 } : {};
    this.#clock = clock;
    this.#origin = origin;
    const attributes = {
      'http.request.method': method,
      'url.full': `${server}${path}`,
      'server.address': hostname.replaceAll(/^\[|\]$/g, ''),
      'server.port': Number(port) || (protocol === 'https:' ? HTTPS_PORT : HTTP_PORT),
      'vllm_gateway.replica': replicaId,
      ...resent,
    };
    const startTime = spanTime(origin, clock.monotonic());
    this.#span = tracer.startSpan(`${method} ${path}`, { kind: SpanKind.CLIENT, startTime, attributes }, parent);
    this.headers = traceHeaders(this.#span.spanContext());
  }

  answered(status: number): void {
    this.#status = status;
    this.#span.setAttribute('http.response.status_code', status);
  }

  end(error: string): void {
    this.endAt(this.#clock.monotonic(), error);
  }

  endAt(at: Milliseconds, error: string): void {
    if (this.endedAt !== 0) return;
    this.endedAt = at;
    const type = error || (this.#status >= CLIENT_ERROR ? String(this.#status) : '');
    if (type !== '') this.#span.setAttribute('error.type', type).setStatus({ code: SpanStatusCode.ERROR });
    this.#span.end(spanTime(this.#origin, this.endedAt));
  }

  returned(): void {
    this.wasReturned = true;
    this.end('engine_down');
  }
}

function requestAttributes(record: RequestRecord): Attributes {
  const { status, firstByteMs, replica } = record;
  return {
    ...(status > 0 && { 'http.response.status_code': status }),
    ...(replica !== null && { 'vllm_gateway.replica': replica }),
    ...(firstByteMs !== null && { 'vllm_gateway.first_byte_ms': firstByteMs }),
    'vllm_gateway.model': record.model,
    'vllm_gateway.key': record.keyId,
    'vllm_gateway.outcome': record.outcome,
    'vllm_gateway.stream': record.stream,
    'vllm_gateway.attempts': record.attempts,
    'vllm_gateway.queue_ms': record.queueMs,
    'vllm_gateway.cold_start_ms': record.coldStartMs,
  };
}

/** https://github.com/open-telemetry/semantic-conventions-genai (in development, which is why there is a switch). */
function genaiAttributes(record: RequestRecord): Attributes {
  const operation = OPERATIONS[record.route];
  if (operation === undefined) return {};
  const { promptTokens, completionTokens } = record;
  return {
    'gen_ai.operation.name': operation,
    'gen_ai.provider.name': 'vllm',
    'gen_ai.request.model': record.model,
    'gen_ai.request.stream': record.stream,
    ...(promptTokens !== null && { 'gen_ai.usage.input_tokens': promptTokens }),
    ...(completionTokens !== null && { 'gen_ai.usage.output_tokens': completionTokens }),
  };
}

/** `error.type` is the code that the client was told; where there is none, the status, or how it ended. */
function errorOf({ code, status, outcome }: RequestRecord): Attributes {
  if (code !== '') return { 'error.type': code };
  if (status >= SERVER_ERROR) return { 'error.type': String(status) };
  return outcome === 'completed' ? {} : { 'error.type': outcome };
}

/** What a client does wrong is no error of a server span. */
const isFault = ({ status, outcome }: RequestRecord): boolean => status >= SERVER_ERROR || FAILED.has(outcome);
