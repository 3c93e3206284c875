/** The spans of starts: one trace for each, with a span per phase. */
import { ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Span, SpanContext, Tracer } from '@opentelemetry/api';
import type { Clock } from '../../platform/platform.ts';
import type { SpanReference, StartTraces } from '../tracing.ts';
import { spanTime, type Moment } from './span-times.ts';

/** Starts that requests may still be linked to; what was begun before these is over, or nobody will ever say. */
const KEPT = 256;

interface Start {
  readonly span: Span;
  readonly origin: Moment;
  phase: Span | null;
  ended: boolean;
}

export class ReplicaStarts implements StartTraces {
  readonly #tracer: Tracer;
  readonly #clock: Clock;
  readonly #starts = new Map<string, Start>();
  readonly #elsewhere = new Map<string, SpanReference>();

  constructor(tracer: Tracer, clock: Clock) {
    this.#tracer = tracer;
    this.#clock = clock;
  }

  begun(replicaId: string, model: string): void {
    const origin = { monotonic: this.#clock.monotonic(), wall: this.#clock.wall() };
    const attributes = { 'vllm_gateway.model': model, 'vllm_gateway.replica': replicaId };
    const startTime = spanTime(origin, origin.monotonic);
    const span = this.#tracer.startSpan('start engine', { startTime, attributes }, ROOT_CONTEXT);
    this.#end(replicaId);
    this.#starts.delete(replicaId);
    this.#starts.set(replicaId, { span, origin, phase: null, ended: false });
    for (const oldest of this.#starts.keys()) {
      if (this.#starts.size <= KEPT) break;
      this.#end(oldest);
      this.#starts.delete(oldest);
    }
    this.entered(replicaId, 'launch');
  }

  entered(replicaId: string, phase: string): void {
    const start = this.#starts.get(replicaId);
    if (start === undefined || start.ended) return;
    const at = spanTime(start.origin, this.#clock.monotonic());
    start.phase?.end(at);
    start.phase = this.#tracer.startSpan(phase, { startTime: at }, trace.setSpan(ROOT_CONTEXT, start.span));
  }

  ended(replicaId: string, result: 'ready' | 'failed', cause: string): void {
    const span = this.#starts.get(replicaId)?.span;
    span?.setAttribute('vllm_gateway.result', result);
    if (result === 'failed') span?.setAttribute('error.type', cause).setStatus({ code: SpanStatusCode.ERROR });
    this.#end(replicaId);
  }

  contextOf(replicaId: string): SpanContext | undefined {
    return this.#starts.get(replicaId)?.span.spanContext() ?? this.#elsewhere.get(replicaId);
  }

  begunElsewhere(replicaId: string, context: SpanReference): void {
    this.#elsewhere.delete(replicaId);
    this.#elsewhere.set(replicaId, context);
    for (const oldest of this.#elsewhere.keys()) {
      if (this.#elsewhere.size <= KEPT) break;
      this.#elsewhere.delete(oldest);
    }
  }

  /** Those that were broken off: unloaded, or the gateway ends. */
  close(): void {
    for (const replicaId of this.#starts.keys()) this.#end(replicaId);
  }

  #end(replicaId: string): void {
    const start = this.#starts.get(replicaId);
    if (start === undefined || start.ended) return;
    start.ended = true;
    const at = spanTime(start.origin, this.#clock.monotonic());
    start.phase?.end(at);
    start.span.end(at);
  }
}
