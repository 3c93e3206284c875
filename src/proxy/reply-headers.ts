/** The fields that answers carry besides those of the engine. Name, value, name, value … */
import type { IncomingMessage } from 'node:http';
import { STREAM_HEADERS } from './answers.ts';
import { corsHeaders } from './cors.ts';
import type { ErrorShape } from './endpoints.ts';
import { isRetryLater, retryAfterHeaders } from './reply.ts';
import type { RequestLedger } from './request-ledger.ts';
import { withoutFields, type UpstreamHead } from './response-headers.ts';
import type { ProxySettings } from './settings.ts';
import type { World } from './world.ts';

export function commonHeaders(
  world: World,
  settings: ProxySettings,
  request: IncomingMessage,
  requestId: string,
  shape: ErrorShape,
): string[] {
  const headers = ['x-request-id', requestId];
  if (shape === 'anthropic') headers.push('request-id', requestId);
  if (settings.corsOrigins.length > 0) headers.push(...corsHeaders(request, settings.corsOrigins));
  if (world.draining) headers.push('connection', 'close');
  return headers;
}

/** Of a stream whose head a heartbeat sends: more than the model is not known yet. */
export function earlyStreamHeaders(common: readonly string[], model: string): string[] {
  const type = ['content-type', 'text/event-stream; charset=utf-8', ...STREAM_HEADERS];
  return [...type, ...common, 'x-vgw-model', modelField(model)];
}

/** A model's name as the value of a field: what is not visible ASCII is percent-encoded, because no field can carry it. */
export function modelField(model: string): string {
  if (!/[^\x21-\x7e]/.test(model)) return model;
  return model.replace(/[^\x21-\x7e]/gu, (character) =>
    Buffer.from(character)
      .toString('hex')
      .replace(/../g, (byte) => `%${byte.toUpperCase()}`),
  );
}

/** What is known of a request once its model is. */
export function leaseHeaders(
  headers: string[],
  world: World,
  model: string,
  ledger: RequestLedger,
  attempts: number,
): void {
  const facts = world.gate.queueFacts(model);
  const size = String(facts.maxQueueSize);
  headers.push('x-vgw-model', modelField(model));
  if (ledger.replica !== null) headers.push('x-vgw-replica', ledger.replica);
  headers.push('x-vgw-queue-ms', String(Math.round(ledger.queueMs)));
  headers.push('x-vgw-cold-start-ms', String(Math.round(ledger.coldStartMs)));
  headers.push('x-vgw-attempts', String(attempts));
  headers.push('x-queue-depth', String(facts.depth));
  headers.push('x-max-concurrent', String(facts.maxConcurrent));
  headers.push('x-max-queue-size', size, 'x-queue-max-size', size);
}

const REPLACED: ReadonlySet<string> = new Set(['content-type', 'content-length', 'cache-control', 'x-accel-buffering']);
const RETRY_AFTER: ReadonlySet<string> = new Set(['retry-after', 'retry-after-ms']);

/** For an engine's error answer: its own safe fields, and when to come back if it did not say. */
export function relayedErrorHeaders(head: UpstreamHead, status: number, length: number): string[] {
  let headers = withoutFields(head.headers, REPLACED);
  // Both fields, from the one that the engine gave. A date stays as it is.
  if (isRetryLater(status) && (head.retryAfterMs !== null || !head.hasRetryAfter)) {
    headers = [...withoutFields(headers, RETRY_AFTER), ...retryAfterHeaders(head.retryAfterMs ?? undefined)];
  }
  headers.push('content-type', 'application/json', 'content-length', String(length));
  return headers;
}
