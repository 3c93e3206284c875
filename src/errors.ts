/**
 * The one table of error codes. Wire names, statuses and types are part of the public interface: a change needs a
 * changelog line and a decision record.
 */

export type OpenAiType =
  | 'invalid_request_error'
  | 'authentication_error'
  | 'permission_error'
  | 'not_found_error'
  | 'rate_limit_error'
  | 'server_error'
  | 'service_unavailable_error';

export type AnthropicType =
  | 'invalid_request_error'
  | 'authentication_error'
  | 'permission_error'
  | 'not_found_error'
  | 'request_too_large'
  | 'rate_limit_error'
  | 'api_error'
  | 'overloaded_error';

/** How a request ended, as counted in `vllm_gateway_requests_total{outcome}`. Exactly one per request. */
export type Outcome =
  'completed' | 'rejected' | 'client_closed' | 'upstream_failed' | 'deadline' | 'shutdown' | 'internal';

export interface ErrorRow {
  /** HTTP status on OpenAI routes. */
  readonly status: number;
  readonly type: OpenAiType;
  /** HTTP status on Anthropic routes when it differs. */
  readonly anthropicStatus?: number;
  readonly anthropicType: AnthropicType;
  readonly outcome: Outcome;
  /** False where a retry cannot help: sent as `x-should-retry: false`. */
  readonly retry: boolean;
}

const invalid = (status: number, over: Partial<ErrorRow> = {}): ErrorRow => ({
  status,
  type: 'invalid_request_error',
  anthropicType: 'invalid_request_error',
  outcome: 'rejected',
  retry: false,
  ...over,
});

const unavailable = (anthropicType: AnthropicType, over: Partial<ErrorRow> = {}): ErrorRow => ({
  status: 503,
  type: 'service_unavailable_error',
  ...(anthropicType === 'overloaded_error' ? { anthropicStatus: 529 } : {}),
  anthropicType,
  outcome: 'rejected',
  retry: true,
  ...over,
});

const server = (status: number, outcome: Outcome, retry: boolean): ErrorRow => ({
  status,
  type: 'server_error',
  anthropicType: 'api_error',
  outcome,
  retry,
});

export const ERRORS = {
  invalid_json: invalid(400),
  invalid_body: invalid(400),
  model_missing: invalid(400),
  model_invalid: invalid(400),
  model_ambiguous: invalid(400),
  model_not_found: invalid(404, { type: 'not_found_error', anthropicType: 'not_found_error' }),
  route_not_found: invalid(404, { type: 'not_found_error', anthropicType: 'not_found_error' }),
  method_not_allowed: invalid(405),
  request_timeout: invalid(408, { retry: true }),
  request_too_large: invalid(413, { anthropicType: 'request_too_large' }),
  unsupported_media_type: invalid(415),
  expectation_failed: invalid(417),
  config_invalid: invalid(422),
  header_too_large: invalid(431),
  invalid_api_key: invalid(401, { type: 'authentication_error', anthropicType: 'authentication_error' }),
  permission_denied: invalid(403, { type: 'permission_error', anthropicType: 'permission_error' }),
  queue_full: {
    status: 429,
    type: 'rate_limit_error',
    anthropicType: 'rate_limit_error',
    outcome: 'rejected',
    retry: true,
  },
  server_busy: unavailable('overloaded_error'),
  queue_timeout: unavailable('overloaded_error', { outcome: 'deadline' }),
  no_capacity: unavailable('overloaded_error'),
  model_start_failed: unavailable('api_error'),
  model_backing_off: unavailable('api_error'),
  upstream_unreachable: unavailable('api_error', { outcome: 'upstream_failed' }),
  drain_timeout: unavailable('api_error', { outcome: 'deadline' }),
  pool_exhausted: unavailable('api_error', { outcome: 'internal' }),
  shutting_down: unavailable('api_error', { outcome: 'shutdown' }),
  upstream_lost: server(502, 'upstream_failed', true),
  upstream_protocol_error: server(502, 'upstream_failed', true),
  upstream_timeout: server(504, 'deadline', true),
  internal_error: server(500, 'internal', true),
} as const satisfies Readonly<Record<string, ErrorRow>>;

export type ErrorCode = keyof typeof ERRORS;

/** Why a start failed, as told to clients, operators and `vllm_gateway_starts_total{cause}`. */
export type StartFailureCause =
  | 'out_of_memory'
  | 'model_files'
  | 'bad_arguments'
  | 'image'
  | 'port_in_use'
  | 'start_timeout'
  | 'crashed'
  | 'driver_unavailable'
  | 'unsupported';

/**
 * An expected failure as data. Plain and serialisable, so that the core can decide it and the edges can render it.
 * `message` says what, where, and what would be right; it never holds addresses, keys or prompts.
 */
export interface GatewayError {
  readonly code: ErrorCode;
  readonly message: string;
  /** The request field at fault, e.g. `model`. */
  readonly param?: string;
  /** When to come back, in whole milliseconds; the edge clamps it to 1 000–60 000. */
  readonly retryAfterMs?: number;
  /** Overrides the table's `retry`. */
  readonly shouldRetry?: boolean;
  /** Start failures: the classified cause. */
  readonly cause?: StartFailureCause;
  /** `queue_full`: numbers that the body carries. */
  readonly queue?: { readonly depth: number; readonly max: number };
  /** `method_not_allowed`: the `allow` header. */
  readonly allow?: string;
}

export function gatewayError(
  code: ErrorCode,
  message: string,
  more: Omit<GatewayError, 'code' | 'message'> = {},
): GatewayError {
  return { code, message, ...more };
}

/** Carries a GatewayError through code that throws (parsers of what strangers send). */
export class GatewayFailure extends Error {
  readonly error: GatewayError;
  constructor(error: GatewayError) {
    super(error.message);
    this.name = 'GatewayFailure';
    this.error = error;
  }
}
