/**
 * What a reload can do with each key. One table for the reference page, the comparison and what is kept until the next
 * start; a key that is missing here does not compile.
 */
import type { Config } from './config.ts';
import type { dockerKeys } from './schema/docker-keys.ts';
import type { Path } from './problems.ts';
import type { Key, Keys } from './schema/key.ts';
import type { modelKeys } from './schema/model-keys.ts';
import type {
  deviceKeys,
  limitKeys,
  logKeys,
  memoryKeys,
  processKeys,
  retryKeys,
  serverKeys,
  timeoutKeys,
} from './schema/sections.ts';
import type { traceKeys } from './schema/telemetry-keys.ts';

/**
 * `live`: holds at once, for whatever is decided from then on. `drain`: makes another engine of a model; the old one ends
 * its requests and leaves. `restart`: stays as it is until the gateway is started anew.
 */
export type ReloadRule = 'live' | 'drain' | 'restart';

type Rules<K extends Keys> = {
  readonly [P in keyof K]: K[P] extends Key<unknown> ? ReloadRule : ReloadRule | Readonly<Record<string, ReloadRule>>;
};

export interface RuleTree {
  readonly [name: string]: ReloadRule | RuleTree;
}

export const MODEL_RULES = {
  repo: 'drain',
  aliases: 'live',
  driver: 'drain',
  engine: 'drain',
  url: 'drain',
  api_key: 'live',
  headers: 'live',
  command: 'drain',
  env: 'drain',
  image: 'drain',
  volumes: 'drain',
  shm_size: 'drain',
  gpu_memory_utilization: 'drain',
  max_model_len: 'drain',
  tensor_parallel_size: 'drain',
  max_num_seqs: 'drain',
  kv_reservation_seqs: 'drain',
  quantization: 'drain',
  dtype: 'drain',
  extra_args: 'drain',
  memory: 'drain',
  devices: 'live',
  pool: 'live',
  colocate: 'drain',
  inactivity_timeout: 'live',
  always_on: 'live',
  preload: 'live',
  request_defaults: 'live',
  max_queue_size: 'live',
  max_concurrent: 'live',
  keepalive: 'live',
  timeouts: 'live',
  start_timeout: 'live',
  start_stall_timeout: 'live',
  stop_timeout: 'live',
  health_path: 'live',
  routes: 'live',
  description: 'live',
  unlisted: 'live',
  metadata: 'live',
} as const satisfies Rules<typeof modelKeys>;

/** By section of the file. `models` and `defaults` have `MODEL_RULES`. */
export const SECTION_RULES = {
  server: {
    listen: 'restart',
    admin_listen: 'restart',
    allowed_hosts: 'live',
    cors_origins: 'live',
    max_body_size: 'live',
    keepalive: 'live',
    workers: 'restart',
    shutdown_timeout: 'live',
    on_shutdown: 'live',
    state_dir: 'restart',
  } satisfies Rules<typeof serverKeys>,
  log: { level: 'live', format: 'restart' } satisfies Rules<typeof logKeys>,
  limits: {
    max_queue_size: 'live',
    max_concurrent: 'live',
    max_models_concurrent: 'live',
    queue_timeout: 'live',
    max_turn: 'live',
    min_residency: 'live',
    drain_timeout: 'live',
    max_buffered_bytes: 'live',
  } satisfies Rules<typeof limitKeys>,
  timeouts: {
    connect: 'live',
    request: 'live',
    first_byte: 'live',
    between_chunks: 'live',
    total: 'live',
    stall: 'live',
  } satisfies Rules<typeof timeoutKeys>,
  retry: {
    attempts: 'live',
    delay: 'live',
    factor: 'live',
    engine_down: 'live',
  } satisfies Rules<typeof retryKeys>,
  auth: 'live',
  devices: {
    probe: 'restart',
    command: 'restart',
    // Of the probes static and simulated it is all that they know; to the others it only gives names.
    list: 'live',
    budget_fraction: 'drain',
  } satisfies Rules<typeof deviceKeys> & { readonly list: ReloadRule },
  memory: {
    placement_mode: 'drain',
    eviction: 'live',
    overhead_factor: 'drain',
    overhead: 'drain',
    colocate_margin: 'live',
    weight_overhead: 'live',
    colocate_max_share: 'live',
  } satisfies Rules<typeof memoryKeys>,
  drivers: {
    default: 'drain',
    docker: {
      socket: 'restart',
      network: 'restart',
      image: 'drain',
      gpus: 'restart',
      reach: 'restart',
      port: 'restart',
      container_prefix: 'restart',
      gateway_container: 'restart',
      probe_image: 'restart',
      cache_dir: 'restart',
      temp_dir: 'restart',
      library_path: 'restart',
    } satisfies Rules<typeof dockerKeys>,
    process: { command: 'drain', port_range: 'restart' } satisfies Rules<typeof processKeys>,
  },
  pools: 'live',
  telemetry: {
    traces: {
      endpoint: 'restart',
      headers: 'restart',
      sample_ratio: 'restart',
      service_name: 'restart',
      genai_attributes: 'restart',
    } satisfies Rules<typeof traceKeys>,
  },
} as const;

/** The probes that know nothing but `devices.list`. */
export function readsList({ devices }: Pick<Config, 'devices'>): boolean {
  return devices.probe === 'static' || devices.probe === 'simulated';
}

/** The leaves of the table with their paths, `devices.list` as `config` has it. */
export function sectionRules(config: Pick<Config, 'devices'>): readonly { path: Path; rule: ReloadRule }[] {
  return leaves(SECTION_RULES, []).map(({ path, rule }) =>
    path.join('.') === 'devices.list' && !readsList(config) ? { path, rule: 'restart' } : { path, rule },
  );
}

function leaves(tree: RuleTree, above: Path): readonly { path: Path; rule: ReloadRule }[] {
  return Object.entries(tree).flatMap(([name, entry]) =>
    typeof entry === 'string' ? [{ path: [...above, name], rule: entry }] : leaves(entry, [...above, name]),
  );
}

type Settings = Omit<Config, 'problems'>;

/** What can be in force without a new start: `wanted`, with the keys of rule `restart` as they are in `running`. */
export function untilRestart(running: Settings, wanted: Settings): Settings {
  const { server, devices, drivers, log } = running;
  const sameProbe = devices.probe === wanted.devices.probe;
  return {
    ...wanted,
    server: {
      ...wanted.server,
      listen: server.listen,
      adminListen: server.adminListen,
      workers: server.workers,
      stateDir: server.stateDir,
    },
    log: { ...wanted.log, format: log.format },
    telemetry: running.telemetry,
    devices: {
      ...wanted.devices,
      probe: devices.probe,
      command: devices.command,
      // A list that was written for another probe says nothing about this one.
      list: readsList(running) && sameProbe ? wanted.devices.list : devices.list,
    },
    drivers: {
      default: wanted.drivers.default,
      docker: { ...drivers.docker, image: wanted.drivers.docker.image },
      process: { command: wanted.drivers.process.command, portRange: drivers.process.portRange },
    },
  };
}
