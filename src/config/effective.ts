/** The configuration in force, in the shape of a file: for `check`, the start-up log and /gateway/config. No secrets. */
import type { ApiKey, Config, ConfigProblem, Keepalive, ModelConfig, Timeouts } from './config.ts';
import { hideInArguments, hideInJson, hideInMapping, hideInText, redact, type Hide } from './hide-secrets.ts';
import type { LoadResult } from './load.ts';
import { listenText } from './schema/address-reader.ts';
import { exactSize } from './schema/spelling.ts';
import { formatDuration, SECOND, type Milliseconds } from '../units.ts';

type Json = Record<string, unknown>;

const size = (bytes: number | null): string | null => (bytes === null ? null : exactSize(bytes));

const keepalive = (value: Keepalive): Json => ({
  after: formatDuration(value.after),
  every: formatDuration(value.every),
});

const timeouts = (value: Timeouts): Json => ({
  connect: formatDuration(value.connect),
  first_byte: formatDuration(value.firstByte),
  between_chunks: formatDuration(value.betweenChunks),
  total: formatDuration(value.total),
  stall: formatDuration(value.stall),
});

function effectiveModel(model: ModelConfig, hide: Hide): Json {
  const defaults = [...model.requestDefaults].map(([name, text]) => [name, JSON.parse(text) as unknown]);
  const external =
    model.driver === 'external'
      ? {
          url: model.url,
          api_key: model.apiKey === null ? null : hide(model.apiKey),
          headers: hideInMapping(model.headers, true, hide),
        }
      : {};
  return {
    repo: model.repo,
    aliases: model.aliases,
    driver: model.driver,
    engine: model.engine,
    ...external,
    command: model.command === null ? null : hideInArguments(model.command, hide),
    env: hideInMapping(model.env, false, hide),
    image: model.image,
    volumes: model.volumes,
    shm_size: size(model.shmSize),
    gpu_memory_utilization: model.gpuMemoryUtilization,
    max_model_len: model.maxModelLen,
    tensor_parallel_size: model.tensorParallelSize,
    max_num_seqs: model.maxNumSeqs,
    kv_reservation_seqs: model.kvReservationSeqs,
    quantization: model.quantization,
    dtype: model.dtype,
    inactivity_timeout: formatDuration(model.inactivityTimeout),
    always_on: model.alwaysOn,
    preload: model.preload,
    extra_args: hideInArguments(model.extraArgs, hide),
    pool: model.pool,
    colocate: model.colocate,
    request_defaults: hideInJson(Object.fromEntries(defaults), hide),
    memory: size(model.memory),
    devices: model.devices,
    max_queue_size: model.maxQueueSize,
    max_concurrent: model.maxConcurrent,
    keepalive: keepalive(model.keepalive),
    timeouts: timeouts(model.timeouts),
    start_timeout: formatDuration(model.startTimeout),
    start_stall_timeout: formatDuration(model.startStallTimeout),
    stop_timeout: formatDuration(model.stopTimeout),
    health_path: model.healthPath,
    routes: model.routes,
    description: model.description === null ? null : hideInText(model.description, hide),
    unlisted: model.unlisted,
    metadata: hideInJson(model.metadata, hide),
  };
}

function effectiveServer(config: Pick<Config, 'server'>): Json {
  const { server } = config;
  return {
    listen: listenText(server.listen),
    admin_listen: server.adminListen === null ? null : listenText(server.adminListen),
    allowed_hosts: server.allowedHosts,
    cors_origins: server.corsOrigins,
    max_body_size: exactSize(server.maxBodySize),
    keepalive: keepalive(server.keepalive),
    workers: server.workers,
    shutdown_timeout: formatDuration(server.shutdownTimeout),
    on_shutdown: server.onShutdown,
    state_dir: server.stateDir,
  };
}

function effectiveLimits(config: Pick<Config, 'server' | 'limits' | 'models'>): Json {
  const { limits } = config;
  return {
    max_queue_size: limits.maxQueueSize,
    max_concurrent: limits.maxConcurrent,
    max_models_concurrent: limits.maxModelsConcurrent,
    max_in_flight: maxInFlight(config),
    http_pool_size: maxInFlight(config),
    queue_timeout: formatDuration(limits.queueTimeout),
    max_turn: formatDuration(limits.maxTurn),
    min_residency: formatDuration(limits.minResidency),
    drain_timeout: formatDuration(limits.drainTimeout),
    max_buffered_bytes: exactSize(limits.maxBufferedBytes),
    stop_grace_period: formatDuration(stopGracePeriod(config)),
  };
}

/** Leases over all models: `max_concurrent` × `max_models_concurrent`. */
export const maxInFlight = ({ limits }: Pick<Config, 'limits'>): number =>
  limits.maxConcurrent * limits.maxModelsConcurrent;

/** Closing listeners, writing state, ending the process. */
const CLOSING = 5 * SECOND;

/**
 * The longest that the process may need from SIGTERM to its end: running requests first, then the engines that it stops.
 * Whoever ends it earlier (`stop_grace_period` of Compose, `TimeoutStopSec` of systemd) cuts requests and leaves engines.
 */
export function stopGracePeriod({ server, models }: Pick<Config, 'server' | 'models'>): Milliseconds {
  const stops = server.onShutdown === 'leave' ? [] : [...models.values()].filter(({ driver }) => driver !== 'external');
  return server.shutdownTimeout + Math.max(0, ...stops.map(({ stopTimeout }) => stopTimeout)) + CLOSING;
}

const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** `hide`: of keys it is given the digest, which is all that is known of them. */
export function effectiveConfig(config: Omit<Config, 'problems'>, hide: Hide = redact): Json {
  const { auth, memory, devices, drivers } = config;
  const { traces } = config.telemetry;
  const open = auth.keys.length === 0;
  const key = ({ id, digest, roles, models }: ApiKey): Json => ({ id, key: hide(digest), roles, models });
  return {
    source: config.source,
    server: effectiveServer(config),
    log: { level: config.log.level, format: config.log.format },
    limits: effectiveLimits(config),
    timeouts: timeouts(config.timeouts),
    retry: {
      attempts: config.retry.attempts,
      delay: formatDuration(config.retry.delay),
      factor: config.retry.factor,
      engine_down: config.retry.engineDown,
    },
    auth: open ? 'none' : { keys: auth.keys.map(key) },
    admin_key: auth.adminKey === null ? null : hide(auth.adminKey.digest),
    devices: {
      probe: devices.probe,
      command: hideInText(devices.command, hide),
      list: devices.list.map(({ id, memory: bytes, uuid }) => ({ id, memory: exactSize(bytes), uuid })),
      budget_fraction: devices.budgetFraction,
    },
    memory: {
      placement_mode: memory.placementMode,
      eviction: memory.eviction,
      overhead_factor: memory.overheadFactor,
      overhead: exactSize(memory.overhead),
      colocate_margin: exactSize(memory.colocateMargin),
      weight_overhead: memory.weightOverhead,
      colocate_max_share: memory.colocateMaxShare,
    },
    drivers: {
      default: drivers.default,
      docker: Object.fromEntries(Object.entries(drivers.docker).map(([name, value]) => [snake(name), value])),
      process: {
        command: hideInArguments(drivers.process.command, hide),
        port_range: `${drivers.process.portRange.first}-${drivers.process.portRange.last}`,
      },
    },
    pools: Object.fromEntries(config.pools),
    telemetry: {
      traces: {
        endpoint: traces.url,
        headers: hideInMapping(traces.headers, true, hide),
        sample_ratio: traces.sampleRatio,
        service_name: traces.serviceName,
        genai_attributes: traces.genaiAttributes,
      },
    },
    models: Object.fromEntries([...config.models].map(([name, model]) => [name, effectiveModel(model, hide)])),
  };
}

export interface CheckReport {
  /** `check` may exit with 0. */
  readonly ok: boolean;
  readonly problems: readonly ConfigProblem[];
  /** Null when an error forbids a start. */
  readonly effective: Json | null;
}

/** What `check --json` prints: errors fail, with strict warnings too, notes never. */
export function checkReport(result: LoadResult): CheckReport {
  const fails = (problem: ConfigProblem): boolean =>
    problem.severity === 'error' || (result.strict && problem.severity === 'warning');
  return {
    ok: !result.problems.some(fails),
    problems: result.problems,
    effective: result.config === null ? null : effectiveConfig(result.config),
  };
}
