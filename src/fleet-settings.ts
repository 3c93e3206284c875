/** From the configuration to what the core decides on. */
import type { Config, ModelConfig } from './config/config.ts';
import type { DeviceSettings, FleetSettings, ModelSettings } from './core/settings.ts';

/** SHA-256 of a text as lower-case hex. */
export type Sha256 = (text: string) => string;

/** `version` counts reloads; tickets and leases remember the one they were admitted under. */
export function toFleetSettings(config: Config, version: number, sha256: Sha256): FleetSettings {
  const { limits, drivers } = config;
  const devices = deviceSettings(config);
  return {
    version,
    limits: {
      maxInFlight: limits.maxConcurrent * limits.maxModelsConcurrent,
      maxTurn: limits.maxTurn,
      minResidency: limits.minResidency,
      drainTimeout: limits.drainTimeout,
    },
    retry: { attempts: config.retry.attempts },
    ports: { first: drivers.process.portRange.first, last: drivers.process.portRange.last },
    devices,
    models: new Map(
      [...config.models.values()].map((model) => [model.name, modelSettings(config, model, devices, sha256)]),
    ),
  };
}

/** Until GPUs are probed, devices are what the configuration lists. */
function deviceSettings(config: Config): readonly DeviceSettings[] {
  const { devices, pools } = config;
  if (devices.probe !== 'static' && devices.probe !== 'simulated') return [];
  const poolOf = (id: string, uuid: string | null): string | null => {
    for (const [name, members] of pools) {
      if (members.includes(id) || (uuid !== null && members.includes(uuid))) return name;
    }
    return null;
  };
  return devices.list.map(({ id, memory, uuid }) => ({
    id,
    totalBytes: memory,
    budgetBytes: Math.floor(memory * devices.budgetFraction),
    pool: poolOf(id, uuid),
    uuid,
  }));
}

function modelSettings(
  config: Config,
  model: ModelConfig,
  devices: readonly DeviceSettings[],
  sha256: Sha256,
): ModelSettings {
  const external = model.driver === 'external';
  const onDevices = !external && devices.length > 0;
  return {
    name: model.name,
    driver: model.driver,
    specHash: sha256(launchIdentity(config, model)),
    maxQueueSize: model.maxQueueSize,
    maxConcurrent: model.maxConcurrent,
    queueTimeout: model.queueTimeout,
    inactivityTimeout: model.inactivityTimeout,
    alwaysOn: model.alwaysOn,
    preload: model.preload,
    startTimeout: model.startTimeout,
    startStallTimeout: model.startStallTimeout,
    stopTimeout: model.stopTimeout,
    stallTimeout: model.timeouts.stall,
    deviceCount: onDevices ? model.tensorParallelSize : 0,
    deviceIds: onDevices ? deviceIds(model, devices) : [],
    memory: onDevices ? model.memory : null,
    needsPort: model.driver === 'process',
    unstartable: unstartable(model),
  };
}

/** In the order of the configuration: of its pool, and of its own `devices` when it names some. */
function deviceIds(model: ModelConfig, devices: readonly DeviceSettings[]): readonly string[] {
  const own = model.devices;
  return devices
    .filter(({ pool }) => model.pool === null || pool === model.pool)
    .filter(({ id, uuid }) => own === null || own.includes(id) || (uuid !== null && own.includes(uuid)))
    .map(({ id }) => id);
}

function unstartable(model: ModelConfig): ModelSettings['unstartable'] {
  if (model.driver !== 'docker') return null;
  return {
    cause: 'driver_unavailable',
    message:
      'this version has no Docker driver: it comes with a later one; until then use driver: process, or url for a server that is already running',
  };
}

/**
 * Everything that makes the engine what it is: two replicas with the same text are interchangeable, so a restarted
 * gateway may adopt one. Aliases, limits and timeouts are left out, as they live in the gateway alone.
 */
function launchIdentity(config: Config, model: ModelConfig): string {
  const isVllm = model.engine === 'vllm';
  const command = model.driver === 'process' ? (model.command ?? config.drivers.process.command) : null;
  const sorted = (values: Readonly<Record<string, string>>): readonly (readonly [string, string])[] =>
    Object.entries(values).toSorted(([left], [right]) => (left < right ? -1 : 1));
  return JSON.stringify({
    name: model.name,
    repo: model.repo,
    driver: model.driver,
    engine: model.engine,
    url: model.url,
    command,
    env: sorted(model.env),
    image: model.driver === 'docker' ? (model.image ?? config.drivers.docker.image) : null,
    volumes: model.volumes,
    shmSize: model.shmSize,
    flags: isVllm
      ? {
          gpuMemoryUtilization: model.gpuMemoryUtilization,
          maxModelLen: model.maxModelLen,
          tensorParallelSize: model.tensorParallelSize,
          maxNumSeqs: model.maxNumSeqs,
          quantization: model.quantization,
          dtype: model.dtype,
          enforceEager: model.enforceEager,
          extraArgs: model.extraArgs,
        }
      : null,
    memory: model.memory,
    pool: model.pool,
    devices: model.devices,
    colocate: model.colocate,
    placementMode: config.memory.placementMode,
  });
}
