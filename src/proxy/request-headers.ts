/** Which of a client's headers reach an engine. */
import type { Upstream } from '../controller/gate.ts';
import { FieldNames } from './field-names.ts';

/**
 * Not forwarded: hop-by-hop fields (RFC 9110 §7.6.1) and framing, which is made anew; credentials and cookies; what
 * would let a client jump the engine's queue or pick its rank; conditions and ranges, which mean nothing here; what
 * concerns the gateway's own front (CORS, forwarding, tracing of proxies).
 */
const DROPPED: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'accept-encoding',
  'authorization',
  'x-api-key',
  'api-key',
  'cookie',
  'cookie2',
  'x-vllm-priority',
  'x-data-parallel-rank',
  'range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
  'cache-control',
  'pragma',
  'max-forwards',
  'last-event-id',
  'origin',
  'referer',
  'via',
  'forwarded',
  'x-real-ip',
  'x-request-id',
]);

/** Where there are traces the engine's part belongs below our attempt; else the client's context passes as it is. */
const TRACE_CONTEXT: ReadonlySet<string> = new Set(['traceparent', 'tracestate']);

const DROPPED_PREFIX = /^(?:x-forwarded-|x-vgw-|x-queue-|x-max-|sec-|access-control-|proxy-)/;

/** Who we are in `via` (RFC 9110 §7.6.3): a pseudonym, no address. */
export const VIA = '1.1 vllm-gateway';

export interface ForwardedHeaders {
  readonly rawHeaders: readonly string[];
  /** The client's `connection` value, lower-case; its fields are dropped too. */
  readonly connection: string | undefined;
  readonly contentType: string;
  readonly requestId: string;
  readonly upstream: Upstream;
  /** Name, value, name, value … in place of the client's trace context; null = none. */
  readonly trace: readonly string[] | null;
}

/** Name, value, name, value … as undici takes them, without length and host. */
export function requestHeaders(from: ForwardedHeaders): string[] {
  const own = from.upstream.headers;
  const named = connectionFields(from.connection);
  const headers: string[] = ['content-type', from.contentType, 'x-request-id', from.requestId, 'via', VIA];
  for (const name in own) headers.push(name, own[name] as string);
  const { trace } = from;
  if (trace !== null) headers.push(...trace);
  const raw = from.rawHeaders;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = FORWARDED.of(raw[index] as string);
    if (name === '' || named?.has(name) === true || Object.hasOwn(own, name)) continue;
    if (trace !== null && TRACE_CONTEXT.has(name)) continue;
    headers.push(name, raw[index + 1] as string);
  }
  return headers;
}

const FORWARDED = new FieldNames((name) => {
  // Servers that map `-` to `_` take an underscored name for the real one.
  return !DROPPED.has(name) && !name.includes('_') && !DROPPED_PREFIX.test(name);
});

/** The fields that a `connection` header names; undefined when it is the usual `keep-alive` or `close`. */
export function connectionFields(connection: string | undefined): ReadonlySet<string> | undefined {
  if (connection === undefined || connection === '' || connection === 'keep-alive' || connection === 'close')
    return undefined;
  return new Set(connection.split(',').map((field) => field.trim().toLowerCase()));
}

const SECRET_PARAMETER = /^(?:api[-_]?key|key|access_token|token|authorization)(?:=|$)/i;

/** The query, `?` included, without parameters that look like credentials. */
export function forwardedQuery(query: string): string {
  if (query === '' || query === '?') return '';
  const kept = query
    .slice(1)
    .split('&')
    .filter((parameter) => !SECRET_PARAMETER.test(parameter));
  return kept.length === 0 ? '' : `?${kept.join('&')}`;
}
