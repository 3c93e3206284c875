/** Answers to browsers of other origins, where the configuration names them. */
import type { IncomingMessage } from 'node:http';

const ALLOWED_METHODS = 'GET, HEAD, POST, OPTIONS';
const EXPOSED =
  'x-request-id, request-id, retry-after, retry-after-ms, x-should-retry, x-vgw-model, x-vgw-replica, x-vgw-queue-ms, ' +
  'x-vgw-cold-start-ms, x-vgw-attempts, x-queue-depth, x-max-concurrent, x-max-queue-size';
/** How long a browser may remember a preflight, in seconds. */
const MAX_AGE = '600';

function allowedOrigin(request: IncomingMessage, origins: readonly string[]): string | null {
  const { origin } = request.headers;
  if (origin === undefined || origins.length === 0) return null;
  if (origins.includes('*')) return '*';
  return origins.includes(origin) ? origin : null;
}

/** For an actual answer. */
export function corsHeaders(request: IncomingMessage, origins: readonly string[]): string[] {
  if (origins.length === 0) return [];
  const allowed = allowedOrigin(request, origins);
  if (allowed === null) return ['vary', 'Origin'];
  return ['vary', 'Origin', 'access-control-allow-origin', allowed, 'access-control-expose-headers', EXPOSED];
}

/** What OPTIONS says besides. */
export function preflightHeaders(request: IncomingMessage, origins: readonly string[]): string[] {
  if (allowedOrigin(request, origins) === null) return [];
  const wanted = request.headers['access-control-request-headers'];
  const headers =
    wanted !== undefined && /^[\w\-, ]{1,2048}$/.test(wanted) ? wanted : 'authorization, content-type, x-api-key';
  return [
    ...['vary', 'Access-Control-Request-Headers'],
    ...['access-control-allow-methods', ALLOWED_METHODS],
    ...['access-control-allow-headers', headers],
    ...['access-control-max-age', MAX_AGE],
  ];
}
