/** docs/errors.md, from src/errors.ts. */
import { ERRORS, type ErrorCode, type ErrorRow, type StartFailureCause } from '../../src/errors.ts';
import { code, page, table } from './markdown.ts';

const MEANING: Readonly<Record<ErrorCode, string>> = {
  invalid_json: 'The body is not JSON, or not UTF-8.',
  invalid_body: 'The body is JSON but not an object, or a multipart body that cannot be read.',
  model_missing: 'The body names no model.',
  model_invalid: '`model` is not a usable string.',
  model_ambiguous: 'The body names the model twice.',
  model_not_found: 'No model of this name; the message lists the known ones.',
  route_not_found: 'No such path.',
  method_not_allowed: 'The path exists, the method does not; `allow` names the ones that do.',
  request_timeout: 'The request did not arrive in time.',
  request_too_large: 'The body is larger than `server.max_body_size`.',
  unsupported_media_type: 'A compressed body, or multipart on a route that takes JSON.',
  expectation_failed: 'An `expect` header other than `100-continue`.',
  config_invalid: '`POST /gateway/reload`: the new configuration cannot be used. `problems` beside `error` says why.',
  header_too_large: 'The request headers are too large.',
  invalid_api_key: 'No key, or an unknown one.',
  permission_denied:
    'The key may not do this, or the route needs a key that is not configured, or the request comes from a foreign page.',
  queue_full: "The model's queue is full. The body carries `queue_depth`, `max_queue_size` and `retry_after_seconds`.",
  server_busy: 'Bodies of waiting requests fill `limits.max_buffered_bytes`.',
  queue_timeout: 'The request waited longer than it may.',
  no_capacity: 'The model does not fit: the message says which bytes are missing and who holds them.',
  model_start_failed: 'The engine did not start; the message holds the cause (below).',
  model_backing_off: 'The last starts failed; the next attempt is not due yet.',
  upstream_unreachable: 'Every attempt to connect to the engine failed.',
  drain_timeout: 'The request outlived `limits.drain_timeout` on a replica that had to leave.',
  pool_exhausted: 'No connection for a granted request: a bug of the gateway.',
  shutting_down: 'The gateway is ending.',
  upstream_lost: 'The engine closed the connection before the answer was complete.',
  upstream_protocol_error: 'The engine answered something that is not HTTP, or refused the gateway.',
  upstream_timeout: 'The engine sent nothing in time.',
  internal_error: 'A bug of the gateway.',
};

export const CAUSES: Readonly<Record<StartFailureCause, string>> = {
  out_of_memory: 'The device had too little memory.',
  model_files: 'The model cannot be found, read or downloaded.',
  bad_arguments: 'The engine refused its arguments.',
  image: 'The container image cannot be had.',
  port_in_use: 'Somebody else took the port.',
  start_timeout: 'The start took too long, or showed no progress for too long.',
  crashed: 'The engine ended by itself.',
  driver_unavailable: 'What runs the engines cannot be reached, Docker for example.',
  unsupported: 'This version cannot run this model.',
};

export function errorsPage(): string {
  const rows = (Object.entries(ERRORS) as [ErrorCode, ErrorRow][]).map(([name, row]) => [
    code(name),
    String(row.status),
    code(row.type),
    `${row.anthropicStatus === undefined ? '' : `${row.anthropicStatus} `}${code(row.anthropicType)}`,
    row.retry ? 'yes' : 'no',
    code(row.outcome),
    MEANING[name],
  ]);
  return page(
    'Errors',
    'Errors that the gateway itself answers have the shape of the API that was called:',
    '```json\n{ "error": { "message": "…", "type": "rate_limit_error", "param": null, "code": "queue_full" } }\n```',
    'and on `/v1/messages*`:',
    '```json\n{ "type": "error", "error": { "type": "rate_limit_error", "message": "…", "code": "queue_full" }, "request_id": "…" }\n```',
    'Answers with status 429, 503 and 529 carry `retry-after` (whole seconds, 1 to 60) and `retry-after-ms`. Where a retry cannot help, ' +
      '`x-should-retry: false` says so. Once a stream has begun, the error comes as one framed event with the same code, and the stream ' +
      'ends without its terminal event.',
    'A complete answer of an engine, whatever its status, is passed on and never tried again. The one exception is an engine that is going ' +
      'down (`retry.engine_down`): while nothing was sent to the client, the request goes back to the head of its queue, once.',
    '## Codes',
    table(['Code', 'Status', 'OpenAI type', 'Anthropic', 'Retry helps', 'Outcome', 'When'], rows),
    '## Causes of a failed start',
    table(
      ['Cause', 'Meaning'],
      Object.entries(CAUSES).map(([name, meaning]) => [code(name), meaning]),
    ),
  );
}
