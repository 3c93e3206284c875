/** Trace context between headers and spans. */
import { createTraceState, ROOT_CONTEXT, trace, TraceFlags } from '@opentelemetry/api';
import type { Context, SpanContext } from '@opentelemetry/api';
import { readTraceContext, traceparent } from './trace-context.ts';

/** The caller's span as parent; without a valid one the trace begins here. */
export function parentOf(rawHeaders: readonly string[]): Context {
  const given = readTraceContext(rawHeaders);
  if (given === null) return ROOT_CONTEXT;
  const { traceId, spanId, sampled, traceState } = given;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId,
    traceFlags: sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote: true,
    ...(traceState !== '' && { traceState: createTraceState(traceState) }),
  });
}

/** Name, value, name, value … */
export function traceHeaders({ traceId, spanId, traceFlags, traceState }: SpanContext): string[] {
  const sampled = (traceFlags & TraceFlags.SAMPLED) === TraceFlags.SAMPLED;
  const state = traceState?.serialize() ?? '';
  const headers = ['traceparent', traceparent(traceId, spanId, sampled)];
  if (state !== '') headers.push('tracestate', state);
  return headers;
}
