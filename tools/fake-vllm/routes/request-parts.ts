import { shortId } from '../app.ts';
import type { Json } from '../body.ts';
import { badRequest, RequestError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { failureOf } from '../generate.ts';

/** The header wins, then the body's own, else 16 hex digits. */
export function requestId(x: Exchange, body: Json): string {
  const own = body['request_id'];
  return x.header('x-request-id') ?? (typeof own === 'string' ? own : shortId());
}

export function checkRank(x: Exchange): void {
  const rank = x.header('x-data-parallel-rank');
  if (rank !== undefined && rank !== '0') throw badRequest(`data_parallel_rank ${rank} is out of range [0, 1).`);
}

export function asRequestError(error: Error): RequestError {
  return error instanceof RequestError ? error : failureOf(error);
}

export function orcaHeader(x: Exchange): [string, string][] {
  const format = x.header('endpoint-load-metrics-format');
  if (format === undefined) return [];
  const waiting = `${x.app.engine.waitingCount}.0`;
  const usage = x.app.engine.kvUsage;
  const kv = Number.isInteger(usage) ? `${usage}.0` : String(usage);
  if (format.toUpperCase() === 'JSON') {
    const text = `JSON {"named_metrics": {"num_requests_waiting": ${waiting}, "kv_cache_usage_perc": ${kv}}}`;
    return [['endpoint-load-metrics', text]];
  }
  const text = `TEXT named_metrics.num_requests_waiting=${waiting}, named_metrics.kv_cache_usage_perc=${kv}`;
  return [['endpoint-load-metrics', text]];
}
