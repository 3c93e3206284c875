/** The fields that answers carry besides those of the engine. Name, value, name, value … */
import type { IncomingMessage } from 'node:http';
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
  headers.push('x-vgw-model', model);
  if (ledger.replica !== null) headers.push('x-vgw-replica', ledger.replica);
  headers.push(
    ...['x-vgw-queue-ms', String(Math.round(ledger.queueMs))],
    ...['x-vgw-cold-start-ms', String(Math.round(ledger.coldStartMs))],
    ...['x-vgw-attempts', String(attempts)],
    ...['x-queue-depth', String(facts.depth)],
    ...['x-max-concurrent', String(facts.maxConcurrent)],
    ...['x-max-queue-size', size, 'x-queue-max-size', size],
  );
}

const REPLACED: ReadonlySet<string> = new Set(['content-type', 'content-length', 'cache-control', 'x-accel-buffering']);

/** For an engine's error answer: its own safe fields, and when to come back if it did not say. */
export function relayedErrorHeaders(head: UpstreamHead, status: number, length: number): string[] {
  const headers = withoutFields(head.headers, REPLACED);
  if (isRetryLater(status) && !head.hasRetryAfter) headers.push(...retryAfterHeaders(undefined));
  headers.push('content-type', 'application/json', 'content-length', String(length));
  return headers;
}
