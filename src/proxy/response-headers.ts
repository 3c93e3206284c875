/** Which of an engine's headers reach a client, and what its head says about the body. */
import { SECOND, type Milliseconds } from '../units.ts';
import { FieldNames } from './field-names.ts';
import { connectionFields } from './request-headers.ts';

const KEPT: ReadonlySet<string> = new Set([
  'content-type',
  'content-length',
  'content-disposition',
  'content-language',
  'cache-control',
  'expires',
  'etag',
  'last-modified',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  'x-accel-buffering',
  'endpoint-load-metrics',
  'deprecation',
  'warning',
]);

const KEPT_PREFIX = /^(?:openai-|anthropic-|x-ratelimit-)/;

/** Read here, and not passed on. */
const READ_ONLY: ReadonlySet<string> = new Set(['transfer-encoding', 'content-encoding', 'connection']);

const LOOKED_AT = new FieldNames((name) => READ_ONLY.has(name) || KEPT.has(name) || KEPT_PREFIX.test(name));

/** Horizontal tab, visible ASCII, space, obs-text: anything else in a value is dropped with its field (RFC 9110 §5.5). */
const UNSAFE_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

export interface UpstreamHead {
  readonly status: number;
  /** Lower-case, '' when absent. */
  readonly contentType: string;
  /** The end of the body is known from the framing, not from the end of the connection. */
  readonly delimited: boolean;
  readonly contentLength: number | null;
  /** Other than identity. */
  readonly encoded: boolean;
  /** The engine says when to come back; as a number if it gave one. */
  readonly hasRetryAfter: boolean;
  readonly retryAfterMs: Milliseconds | null;
  /** Safe fields: name, value, name, value … with lower-case names. */
  readonly headers: readonly string[];
}

export function readHead(status: number, fields: readonly string[]): UpstreamHead {
  const headers: string[] = [];
  let contentType = '';
  let contentLength: number | null = null;
  let chunked = false;
  let encoded = false;
  let connection: string | undefined;
  let retryAfter: string | undefined;
  let retryAfterMs: string | undefined;
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = LOOKED_AT.of(fields[index] as string);
    if (name === '') continue;
    const value = fields[index + 1] as string;
    if (name === 'content-type') contentType = value.toLowerCase();
    else if (name === 'content-length') contentLength = Number(value);
    else if (name === 'transfer-encoding') chunked = true;
    else if (name === 'content-encoding') encoded = value.trim().toLowerCase() !== 'identity';
    else if (name === 'connection') connection = value.toLowerCase();
    else if (name === 'retry-after') retryAfter = value;
    else if (name === 'retry-after-ms') retryAfterMs = value;
    if (!READ_ONLY.has(name) && !UNSAFE_VALUE.test(value)) headers.push(name, value);
  }
  return {
    status,
    contentType,
    delimited: chunked || contentLength !== null || status === 204 || status === 304,
    contentLength,
    encoded,
    hasRetryAfter: retryAfter !== undefined,
    retryAfterMs: amount(retryAfterMs, 1) ?? amount(retryAfter, SECOND),
    headers: withoutNamed(headers, connection),
  };
}

/** Null: absent, or a date. */
function amount(value: string | undefined, unit: Milliseconds): Milliseconds | null {
  return value !== undefined && /^\d{1,9}(?:\.\d{1,9})?$/.test(value) ? Number(value) * unit : null;
}

function withoutNamed(headers: string[], connection: string | undefined): string[] {
  const named = connectionFields(connection);
  return named === undefined ? headers : withoutFields(headers, named);
}

export function withoutFields(headers: readonly string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    if (!names.has(headers[index] as string)) kept.push(headers[index] as string, headers[index + 1] as string);
  }
  return kept;
}
