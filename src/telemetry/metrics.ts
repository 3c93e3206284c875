/** What Prometheus reads. Names, labels and units are part of the public interface. */
import { Registry, collectDefaultMetrics } from 'prom-client';
import { Counter, Histogram, gauge } from './series.ts';
import { ERRORS } from '../errors.ts';
import { SECOND, TIMER_MAX } from '../units.ts';
import type { FleetSnapshot } from '../core/snapshot.ts';
import type { ReplicaPhase } from '../core/state.ts';
import type { Clock } from '../platform/platform.ts';
import type { Milliseconds } from '../units.ts';
import type { ProxyStats, RequestRecord, Telemetry } from './telemetry.ts';

export const METRIC_PREFIX = 'vllm_gateway_';
export const UNKNOWN_MODEL = 'unknown';

const LAG_SAMPLE_EVERY: Milliseconds = SECOND / 2;
/** Route names are a fixed set of the data plane; a bug there must not become unbounded label values. */
const MAX_ROUTES = 100;

const REQUEST_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const WAIT_BOUNDS = [0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600];
const ADDED_BOUNDS = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];
const START_BOUNDS = [1, 2.5, 5, 10, 20, 30, 60, 90, 120, 180, 300, 600, 1_200, 1_800, 3_600];
const LAG_BOUNDS = [0.001, 0.002_5, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5];

const REPLICA_STATES: readonly ReplicaPhase[] = ['reserved', 'starting', 'ready', 'draining', 'stopping', 'zombie'];

const RELOAD_RESULTS = ['applied', 'unchanged', 'rejected'] as const;

/** What gauges are computed from, asked at scrape time. */
export interface MetricSources {
  snapshot(): FleetSnapshot;
  proxyStats(): ProxyStats;
  /** Errors and warnings in force. */
  configProblems(): number;
  /** Workers that serve; null, or absent, where the data plane is in this process. */
  workers?(): number | null;
  /** When the configuration in force was loaded, on the wall clock; without it there is no such gauge. */
  configLoadedAt?(): Milliseconds;
}

export interface MetricsOptions {
  readonly clock: Clock;
  /** Is this a configured model's name? Anything else is counted as `unknown`. */
  readonly isModel: (name: string) => boolean;
  /** Node's process metrics too (one registry of them per process is enough). */
  readonly processMetrics: boolean;
}

export interface Metrics extends Omit<Telemetry, 'log' | 'tracing'>, Disposable {
  /** Before this, and without sources, gauges have no samples. */
  observe(sources: MetricSources): void;
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
  /** A reload has ended. */
  reloaded(result: (typeof RELOAD_RESULTS)[number]): void;
  /** Spans that found no room in the queue to the collector, or could not be sent. */
  spansDropped(spans: number): void;
  /** How late a timer of a worker's event loop fired. */
  workerLagged(lag: Milliseconds): void;
  /** A worker ended that should not have. */
  workerEnded(): void;
  /** Ends every series of a model. */
  forget(model: string): void;
}

export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  if (options.processMetrics) collectProcessMetrics(registry);
  const series = createSeries(registry);
  // Known from the start: what appears with its first count is no increase to whoever watches.
  for (const result of RELOAD_RESULTS) series.configReloads.add(0, result);
  const scrape = createScrape(registry);
  const lag = sampleLag(options.clock, series.eventLoopLag);
  const model = (name: string): string => (options.isModel(name) ? name : UNKNOWN_MODEL);
  const route = boundedSet(MAX_ROUTES);
  return {
    requestEnded: (record) => countRequest(series, record, model(record.model), route(record.route)),
    upstreamRequest: (name, reused) => series.upstreamRequests.add(1, model(name), String(reused)),
    retried: (name, reason) => series.retries.add(1, model(name), reason),
    startEnded: (name, result, cause, durationMs) => {
      series.starts.add(1, model(name), result, cause);
      if (result === 'ready') series.coldStart.observe(durationMs / SECOND, model(name), 'total');
    },
    startPhaseEnded: (name, phase, durationMs) => series.coldStart.observe(durationMs / SECOND, model(name), phase),
    evicted: (name, reason) => series.evictions.add(1, model(name), reason),
    invariantViolated: () => series.invariantViolations.add(1),
    observe: (sources) => scrape.observe(sources),
    render: () => scrape.render(),
    reloaded: (result) => series.configReloads.add(1, result),
    spansDropped: (spans) => series.spansDropped.add(spans),
    workerLagged: (lag) => series.eventLoopLag.observe(lag / SECOND),
    workerEnded: () => series.workerExits.add(1),
    forget: (name) => {
      for (const one of ofModels(series)) one.forget(name);
    },
    [Symbol.dispose]: () => lag[Symbol.dispose](),
  };
}

/**
 * The library would wake the process a hundred times a second for percentiles of the event loop's delay, most of what a
 * gateway at rest costs. `event_loop_lag_seconds` tells the same; the library's reading at each scrape stays.
 */
function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: TIMER_MAX });
  for (const kind of ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99']) {
    registry.removeSingleMetric(`nodejs_eventloop_lag_${kind}_seconds`);
  }
}

interface Series {
  readonly requests: Counter;
  readonly requestDuration: Histogram;
  readonly firstByte: Histogram;
  readonly queueWait: Histogram;
  readonly addedLatency: Histogram;
  readonly coldStart: Histogram;
  readonly starts: Counter;
  readonly evictions: Counter;
  readonly upstreamRequests: Counter;
  readonly retries: Counter;
  readonly tokens: Counter;
  readonly invariantViolations: Counter;
  readonly configReloads: Counter;
  readonly spansDropped: Counter;
  readonly workerExits: Counter;
  readonly eventLoopLag: Histogram;
}

/** Those whose first label is a model. */
function ofModels(series: Series): readonly (Counter | Histogram)[] {
  const { invariantViolations, configReloads, spansDropped, workerExits, eventLoopLag } = series;
  const others: readonly unknown[] = [invariantViolations, configReloads, spansDropped, workerExits, eventLoopLag];
  return Object.values(series).filter((one) => !others.includes(one));
}

function createSeries(registry: Registry): Series {
  const describe = (name: string, help: string, ...labels: string[]) => ({ name: METRIC_PREFIX + name, help, labels });
  const counter = (name: string, help: string, ...labels: string[]): Counter =>
    new Counter(registry, describe(name, help, ...labels));
  const histogram = (bounds: readonly number[], name: string, help: string, ...labels: string[]): Histogram =>
    new Histogram(registry, describe(name, help, ...labels), bounds);
  return {
    requests: counter('requests_total', 'Finished requests.', 'model', 'route', 'outcome', 'code'),
    requestDuration: histogram(
      REQUEST_BOUNDS,
      'request_duration_seconds',
      'From the first byte of a request to the last byte of its answer.',
      'model',
    ),
    firstByte: histogram(
      REQUEST_BOUNDS,
      'time_to_first_byte_seconds',
      'From the first byte of a request to the first byte of its answer.',
      'model',
    ),
    queueWait: histogram(WAIT_BOUNDS, 'queue_wait_seconds', 'Wait of admitted requests for a lease.', 'model'),
    addedLatency: histogram(
      ADDED_BOUNDS,
      'added_latency_seconds',
      'Time of a request in the gateway itself: queue and engine left out.',
      'model',
    ),
    coldStart: histogram(
      START_BOUNDS,
      'cold_start_seconds',
      'Successful starts of engines, in all (phase="total") and by phase.',
      'model',
      'phase',
    ),
    starts: counter('starts_total', 'Starts of engines that ended, well or not.', 'model', 'result', 'cause'),
    evictions: counter('evictions_total', 'Replicas that had to leave.', 'model', 'reason'),
    upstreamRequests: counter(
      'upstream_requests_total',
      'Requests sent to engines, by whether the connection had served before.',
      'model',
      'reused',
    ),
    retries: counter('retries_total', 'Attempts beyond the first.', 'model', 'reason'),
    tokens: counter('tokens_total', 'Tokens, as told by the usage that engines sent.', 'model', 'kind'),
    invariantViolations: counter('invariant_violations_total', 'Broken invariants: each one is a bug.'),
    configReloads: counter(
      'config_reloads_total',
      'Reloads of the configuration that ended: applied, unchanged (asked for, and nothing was different) or rejected.',
      'result',
    ),
    spansDropped: counter(
      'trace_spans_dropped_total',
      'Spans of traces that found no room on their way to the collector, or could not be sent.',
    ),
    workerExits: counter('worker_exits_total', 'Workers of the data plane that ended and were started anew.'),
    eventLoopLag: histogram(
      LAG_BOUNDS,
      'event_loop_lag_seconds',
      'How late timers of the event loop fire, in every process of the gateway.',
    ),
  };
}

function countRequest(series: Series, record: RequestRecord, model: string, route: string): void {
  const code = record.code === '' || record.code in ERRORS ? record.code : 'other';
  series.requests.add(1, model, route, record.outcome, code);
  series.requestDuration.observe(record.durationMs / SECOND, model);
  if (record.firstByteMs !== null) series.firstByte.observe(record.firstByteMs / SECOND, model);
  if (record.replica !== null || record.queueMs > 0) series.queueWait.observe(record.queueMs / SECOND, model);
  if (record.addedMs !== null) series.addedLatency.observe(record.addedMs / SECOND, model);
  if (record.promptTokens !== null) series.tokens.add(record.promptTokens, model, 'prompt');
  if (record.completionTokens !== null) series.tokens.add(record.completionTokens, model, 'completion');
}

/** The first `limit` distinct values pass, any further one reads `other`. */
function boundedSet(limit: number): (value: string) => string {
  const seen = new Set<string>();
  return (value) => {
    if (seen.has(value)) return value;
    if (seen.size >= limit) return 'other';
    seen.add(value);
    return value;
  };
}

/** Measures how late a short timer fires. Stalls shorter than the sampling interval are seen in proportion. */
function sampleLag(clock: Clock, histogram: Histogram): Disposable {
  let timer: Disposable;
  const arm = (): void => {
    const due = clock.monotonic() + LAG_SAMPLE_EVERY;
    timer = clock.after(LAG_SAMPLE_EVERY, () => {
      histogram.observe(Math.max(0, clock.monotonic() - due) / SECOND);
      arm();
    });
  };
  arm();
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}

interface Scrape {
  observe(sources: MetricSources): void;
  render(): Promise<{ contentType: string; text: string }>;
}

/** Gauges: all of one scrape come from one snapshot. */
function createScrape(registry: Registry): Scrape {
  let sources: MetricSources | undefined;
  let fleet: FleetSnapshot | undefined;
  let proxy: ProxyStats | undefined;
  const define = (
    name: string,
    help: string,
    labels: readonly string[],
    read: () => Iterable<readonly [number, ...string[]]>,
  ): void => gauge(registry, { name: METRIC_PREFIX + name, help, labels }, read);

  define('queue_depth', 'Waiting requests.', ['model'], () =>
    [...(fleet?.models.values() ?? [])].map((model) => [model.queued, model.name] as const),
  );
  define('in_flight', 'Requests that hold a lease.', ['model'], () =>
    [...(fleet?.models.values() ?? [])].map((model) => [model.inFlight, model.name] as const),
  );
  define('replicas', 'Engine processes, by what they are doing.', ['model', 'state'], () => replicaCounts(fleet));
  define('device_memory_bytes', 'Memory of devices.', ['device', 'kind'], () =>
    [...(fleet?.devices.values() ?? [])].flatMap((device) => [
      [device.totalBytes, device.id, 'total'] as const,
      [device.budgetBytes, device.id, 'budget'] as const,
      [device.reservedBytes, device.id, 'reserved'] as const,
      [device.foreignBytes, device.id, 'foreign'] as const,
    ]),
  );
  define('upstream_connections', 'Sockets to engines.', ['model', 'state'], () =>
    (proxy?.connections ?? []).flatMap(({ model, busy, idle }) => [
      [busy, model, 'busy'] as const,
      [idle, model, 'idle'] as const,
    ]),
  );
  define('buffered_bytes', 'Bodies of waiting requests.', [], () => (proxy ? [[proxy.bufferedBytes]] : []));
  define('workers', 'Worker processes of the data plane that serve; none where it is in the one process.', [], () => {
    const workers = sources?.workers?.() ?? null;
    return workers === null ? [] : [[workers]];
  });
  define('config_problems', 'Errors and warnings of the configuration that are in force.', [], () =>
    sources ? [[sources.configProblems()]] : [],
  );
  define(
    'config_last_reload_success_timestamp_seconds',
    'When the configuration in force was loaded; the start counts.',
    [],
    () => (sources?.configLoadedAt ? [[sources.configLoadedAt() / SECOND]] : []),
  );

  return {
    observe: (given) => {
      sources = given;
    },
    render: async () => {
      fleet = sources?.snapshot();
      proxy = sources?.proxyStats();
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
  };
}

function replicaCounts(fleet: FleetSnapshot | undefined): (readonly [number, string, string])[] {
  if (!fleet) return [];
  const counts = new Map<string, number>();
  const key = (model: string, state: string): string => `${state} ${model}`;
  for (const { model, state } of fleet.replicas.values()) {
    counts.set(key(model, state), (counts.get(key(model, state)) ?? 0) + 1);
  }
  return [...fleet.models.keys()].flatMap((model) =>
    REPLICA_STATES.map((state) => [counts.get(key(model, state)) ?? 0, model, state] as const),
  );
}
