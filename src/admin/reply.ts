/** Answers of the control plane: JSON, and errors in OpenAI's shape from the one table. */
import { ERRORS } from '../errors.ts';
import type { GatewayError } from '../errors.ts';
import { MINUTE, SECOND } from '../units.ts';
import type { Milliseconds } from '../units.ts';
import type { ErrorAnswer } from './contract.ts';

export function errorBody(error: GatewayError): ErrorAnswer & { readonly error: { readonly cause?: string } } {
  return {
    error: {
      message: error.message,
      type: ERRORS[error.code].type,
      param: error.param ?? null,
      code: error.code,
      ...(error.cause === undefined ? {} : { cause: error.cause }),
    },
  };
}

export function errorReply(error: GatewayError): Response {
  const row = ERRORS[error.code];
  const later = row.status === 503 || row.status === 429;
  const headers = later ? retryAfter(error.retryAfterMs ?? SECOND) : new Headers();
  if (error.allow !== undefined) headers.set('allow', error.allow);
  if (error.code === 'invalid_api_key') headers.set('www-authenticate', 'Bearer');
  if (!(error.shouldRetry ?? row.retry)) headers.set('x-should-retry', 'false');
  return jsonReply(errorBody(error), row.status, headers);
}

/** `retry-after` in whole seconds and `retry-after-ms`, both between one second and one minute. */
export function retryAfter(wait: Milliseconds): Headers {
  const clamped = Math.round(Math.min(MINUTE, Math.max(SECOND, wait)));
  return new Headers({ 'retry-after': String(Math.ceil(clamped / SECOND)), 'retry-after-ms': String(clamped) });
}

export function jsonReply(body: unknown, status = 200, headers = new Headers()): Response {
  headers.set('content-type', 'application/json');
  headers.set('cache-control', 'no-store');
  return new Response(JSON.stringify(body), { status, headers });
}
