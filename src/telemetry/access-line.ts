/**
 * The one line of every request, written out by hand: through the general way of fields, redaction and serialiser it would
 * cost more than the whole decision about the request. Its fields are named as in `GET /gateway/requests/{id}`.
 */
import { toMicrosecond } from '../units.ts';
import { isoTimes } from './iso-time.ts';
import type { LogLevelName } from './logger.ts';
import type { RequestRecord } from './telemetry.ts';

/** Bugs of the gateway are errors, failures of engines warnings; what clients do wrong is not. */
export function accessLevel(record: RequestRecord): LogLevelName {
  if (record.outcome === 'internal') return 'error';
  return record.outcome === 'upstream_failed' || record.outcome === 'deadline' ? 'warn' : 'info';
}

const startedAt = isoTimes();

/**
 * The members of a JSON object, without braces. `id`: the record's, fit for a log. Every other text in it is ours or the
 * configuration's; numbers are finite.
 */
export function accessFields(record: RequestRecord, id: string): string {
  const code = record.code === '' ? '' : `"code":${JSON.stringify(record.code)},`;
  const replica = record.replica === null ? 'null' : JSON.stringify(record.replica);
  return (
    `"request":${JSON.stringify(id)},"key":${JSON.stringify(record.keyId)},"method":${JSON.stringify(record.method)},` +
    `"route":${JSON.stringify(record.route)},"model":${JSON.stringify(record.model)},"stream":${record.stream},` +
    `"status":${record.status},"outcome":"${record.outcome}","replica":${replica},` +
    `"duration_ms":${toMicrosecond(record.durationMs)},"first_byte_ms":${toMicrosecond(record.firstByteMs)},` +
    `"queue_ms":${toMicrosecond(record.queueMs)},"cold_start_ms":${toMicrosecond(record.coldStartMs)},` +
    `"added_ms":${toMicrosecond(record.addedMs)},"attempts":${record.attempts},"bytes_in":${record.bytesIn},` +
    `"bytes_out":${record.bytesOut},"prompt_tokens":${record.promptTokens},` +
    `"completion_tokens":${record.completionTokens},${code}"started_at":"${startedAt(record.startedAt)}"`
  );
}
