/** Puts logger, metrics and request log together into what the rest of the gateway sees. */
import { createActivity, type Activity } from './activity.ts';
import { accessFields, accessLevel } from './access-line.ts';
import { createLogger } from './logger.ts';
import type { LogLevelName, LoggerOptions } from './logger.ts';
import { createMetrics } from './metrics.ts';
import { ModelNames } from './model-names.ts';
import type { Metrics, MetricsOptions } from './metrics.ts';
import { createRequestLog } from './request-log.ts';
import type { RequestLog } from './request-log.ts';
import type { Telemetry } from './telemetry.ts';
import { loadTracing, type TracingSurroundings } from './traces/load-tracing.ts';
import type { TraceSettings, Tracing } from './tracing.ts';

export type TelemetryOptions = LoggerOptions & MetricsOptions;

export interface GatewayTelemetry extends Telemetry, Disposable {
  /** Gauges are computed from these at every scrape. Called once, when controller and proxy exist. */
  observe: Metrics['observe'];
  renderMetrics: Metrics['render'];
  readonly requests: RequestLog;
  readonly activity: Pick<Activity, 'totals'>;
  reloaded: Metrics['reloaded'];
  spansDropped: Metrics['spansDropped'];
  workerLagged: Metrics['workerLagged'];
  workerEnded: Metrics['workerEnded'];
  /** A line of a worker's log. */
  writeWhole(line: string): void;
  /** From now on there are traces; null = none. Called once, before the first request. */
  startTracing(settings: TraceSettings | null, surroundings: TracingSurroundings): Promise<void>;
  setLevel(level: LogLevelName): void;
  /** Values that no log line may contain from now on. */
  setSecrets(secrets: readonly string[]): void;
  /** The names that are configured now. */
  setModels(names: Iterable<string>): void;
  /** Writes buffered log lines, synchronously: for the exit of the process. */
  flush(): void;
}

export function createTelemetry(options: TelemetryOptions): GatewayTelemetry {
  const { log, safe, writeLine, writeWhole, setLevel, setSecrets, flush } = createLogger(options);
  const names = new ModelNames(options.isModel, (name) => {
    metrics.forget(name);
    activity.forget(name);
  });
  const isModel = (name: string): boolean => names.has(name);
  const metrics = createMetrics({ ...options, isModel });
  const requests = createRequestLog();
  const activity = createActivity(isModel);
  let tracing: Tracing | null = null;
  return {
    ...metrics,
    log,
    get tracing() {
      return tracing;
    },
    startTracing: async (settings, surroundings) => {
      if (settings === null) return;
      const { clock } = options;
      const dropped = (spans: number): void => metrics.spansDropped(spans);
      tracing = await loadTracing(settings, surroundings, { log, clock, dropped, safe });
    },
    requestEnded: (record) => {
      metrics.requestEnded(record);
      requests.add(record);
      activity.requestEnded(record);
      // Clients choose ids, and may put anything into them.
      writeLine(accessLevel(record), accessFields(record, safe(record.id)), 'request');
    },
    invariantViolated: (id, detail) => {
      metrics.invariantViolated(id, detail);
      log.error({ invariant: id, detail }, 'a broken invariant: this is a bug of the gateway');
    },
    renderMetrics: () => metrics.render(),
    requests,
    activity,
    writeWhole,
    setLevel,
    setSecrets,
    setModels: (configured) => names.replace(configured),
    flush,
    [Symbol.dispose]: () => {
      metrics[Symbol.dispose]();
      flush();
    },
  };
}
