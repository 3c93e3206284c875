/** Puts logger, metrics and request log together into what the rest of the gateway sees. */
import { createLogger } from './logger.ts';
import type { LogLevelName, LoggerOptions } from './logger.ts';
import { createMetrics } from './metrics.ts';
import type { Metrics, MetricsOptions } from './metrics.ts';
import { createRequestLog } from './request-log.ts';
import type { RequestLog } from './request-log.ts';
import type { Logger, RequestRecord, Telemetry } from './telemetry.ts';
import { toMicrosecond } from '../units.ts';

export type TelemetryOptions = LoggerOptions & MetricsOptions;

export interface GatewayTelemetry extends Telemetry, Disposable {
  /** Gauges are computed from these at every scrape. Called once, when controller and proxy exist. */
  observe: Metrics['observe'];
  renderMetrics: Metrics['render'];
  meanStart: Metrics['meanStart'];
  readonly requests: RequestLog;
  setLevel(level: LogLevelName): void;
  /** Writes buffered log lines, synchronously: for the exit of the process. */
  flush(): void;
}

export function createTelemetry(options: TelemetryOptions): GatewayTelemetry {
  const { log, setLevel, flush } = createLogger(options);
  const metrics = createMetrics(options);
  const requests = createRequestLog();
  return {
    ...metrics,
    log,
    requestEnded: (record) => {
      metrics.requestEnded(record);
      requests.add(record);
      writeAccessLine(log, record);
    },
    invariantViolated: (id, detail) => {
      metrics.invariantViolated(id, detail);
      log.error({ invariant: id, detail }, 'a broken invariant: this is a bug of the gateway');
    },
    renderMetrics: () => metrics.render(),
    requests,
    setLevel,
    flush,
    [Symbol.dispose]: () => {
      metrics[Symbol.dispose]();
      flush();
    },
  };
}

type SnakeCase<Name extends string> = Name extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${SnakeCase<Rest>}`
  : Name;
/** Every field of the record, so that a new one cannot be forgotten here. */
type AccessLine = Record<SnakeCase<Exclude<keyof RequestRecord, 'id' | 'keyId'>> | 'request' | 'key', unknown>;

/**
 * One line per request, its fields named as in `GET /gateway/requests/{id}`. Bugs of the gateway are errors, failures of
 * engines warnings; what clients do wrong is not.
 */
function writeAccessLine(log: Logger, record: RequestRecord): void {
  // Written out: this is the one line of every request, and copies of the rest of an object are slow.
  const fields = {
    request: record.id,
    key: record.keyId,
    method: record.method,
    route: record.route,
    model: record.model,
    stream: record.stream,
    status: record.status,
    outcome: record.outcome,
    replica: record.replica,
    duration_ms: toMicrosecond(record.durationMs),
    first_byte_ms: toMicrosecond(record.firstByteMs),
    queue_ms: toMicrosecond(record.queueMs),
    cold_start_ms: toMicrosecond(record.coldStartMs),
    added_ms: toMicrosecond(record.addedMs),
    attempts: record.attempts,
    bytes_in: record.bytesIn,
    bytes_out: record.bytesOut,
    prompt_tokens: record.promptTokens,
    completion_tokens: record.completionTokens,
    // A field that is undefined is left out.
    code: record.code === '' ? undefined : record.code,
    started_at: new Date(record.startedAt).toISOString(),
  } satisfies AccessLine;
  const bad = record.outcome === 'upstream_failed' || record.outcome === 'deadline';
  if (record.outcome === 'internal') log.error(fields, 'request');
  else if (bad) log.warn(fields, 'request');
  else log.info(fields, 'request');
}
