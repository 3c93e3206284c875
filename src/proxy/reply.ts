/** From a GatewayError to what a client sees, in the shape of its API. */
import { ERRORS } from '../errors.ts';
import type { AnthropicType, ErrorRow, GatewayError, OpenAiType } from '../errors.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import type { ErrorShape } from './endpoints.ts';
import { DEFAULT_RETRY_AFTER, MAX_RETRY_AFTER, MIN_RETRY_AFTER } from './limits.ts';

export function rowOf(error: GatewayError): ErrorRow {
  return ERRORS[error.code];
}

export function statusOf(error: GatewayError, shape: ErrorShape): number {
  const row = rowOf(error);
  return shape === 'anthropic' ? (row.anthropicStatus ?? row.status) : row.status;
}

/** The inner object of an OpenAI error. */
export interface OpenAiError {
  readonly message: string;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | number | null;
}

export function openAiError(error: GatewayError): OpenAiError & Record<string, unknown> {
  return {
    message: error.message,
    type: rowOf(error).type,
    param: error.param ?? null,
    code: error.code,
    ...(error.cause === undefined ? {} : { cause: error.cause }),
    ...(error.queue === undefined
      ? {}
      : {
          queue_depth: error.queue.depth,
          max_queue_size: error.queue.max,
          retry_after_seconds: wholeSeconds(clampRetryAfter(error.retryAfterMs)),
        }),
  };
}

export function anthropicError(error: GatewayError): Record<string, unknown> {
  const { message, code, type: openAiType, param, ...more } = openAiError(error);
  void openAiType;
  void param;
  return { type: rowOf(error).anthropicType, message, code, ...more };
}

export function errorBody(error: GatewayError, shape: ErrorShape, requestId: string): string {
  return shape === 'anthropic'
    ? JSON.stringify({ type: 'error', error: anthropicError(error), request_id: requestId })
    : JSON.stringify({ error: openAiError(error) });
}

export function clampRetryAfter(ms: Milliseconds | undefined): Milliseconds {
  return Math.round(Math.min(Math.max(ms ?? DEFAULT_RETRY_AFTER, MIN_RETRY_AFTER), MAX_RETRY_AFTER));
}

function wholeSeconds(ms: Milliseconds): number {
  return Math.ceil(ms / SECOND);
}

/** On 429, 503 and 529. */
export function retryAfterHeaders(ms: Milliseconds | undefined): string[] {
  const clamped = clampRetryAfter(ms);
  return ['retry-after', String(wholeSeconds(clamped)), 'retry-after-ms', String(clamped)];
}

export function isRetryLater(status: number): boolean {
  return status === 429 || status === 503 || status === 529;
}

/** Fields that belong to the error alone. */
export function errorHeaders(error: GatewayError, status: number): string[] {
  const headers = ['content-type', 'application/json'];
  if (isRetryLater(status)) headers.push(...retryAfterHeaders(error.retryAfterMs));
  if (!(error.shouldRetry ?? rowOf(error).retry)) headers.push('x-should-retry', 'false');
  if (error.allow !== undefined) headers.push('allow', error.allow);
  if (status === 401) headers.push('www-authenticate', 'Bearer');
  return headers;
}

export function openAiTypeOf(status: number): OpenAiType {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 404) return 'not_found_error';
  if (status === 429) return 'rate_limit_error';
  if (status === 503) return 'service_unavailable_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}

export function anthropicTypeOf(status: number): AnthropicType {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 404) return 'not_found_error';
  if (status === 413) return 'request_too_large';
  if (status === 429) return 'rate_limit_error';
  if (status === 503 || status === 529) return 'overloaded_error';
  return status < 500 ? 'invalid_request_error' : 'api_error';
}
