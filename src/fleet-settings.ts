/** From the configuration, and the devices as they were read, to what the core decides on. */
import type { Config, ModelConfig } from './config/config.ts';
import { flagValue } from './config/merge-args.ts';
import type { MemoryRules, SizingSettings } from './core/memory/sizing.ts';
import type { DeviceSettings, FleetSettings, ModelSettings } from './core/settings.ts';
import { deviceSettings, isNamed, listedDevices } from './fleet-devices.ts';
import { specHash, type Sha256 } from './launch-identity.ts';
import type { ProbeReading } from './probes/probe.ts';
import { isSimulated } from './proxy-settings.ts';

export type { Sha256 } from './launch-identity.ts';

/** What vLLM takes on data-centre GPUs when nobody says otherwise: the larger of its usual defaults. */
const BATCHED_TOKENS = 8_192;

/** Why this model can never start here; null = nothing known against it. */
export type Refusal = (model: ModelConfig) => ModelSettings['unstartable'];

/**
 * An engine binds its port long after it was found free, a real one after a minute. So gateways on one machine begin at
 * different places of the range that they share; each at the same place after a restart.
 */
function portsOf({ server, drivers }: Config, sha256: Sha256): FleetSettings['ports'] {
  const { first, last } = drivers.process.portRange;
  const { host, port } = server.listen;
  const offset = Number.parseInt(sha256(`${host}:${port} ${server.stateDir}`).slice(0, 8), 16);
  return { first, last, begin: first + (offset % (last - first + 1)) };
}

/**
 * `version` counts replacements; tickets and leases remember the one they were admitted under. `reading`: what the probe
 * has read; null while the GPUs cannot be read, what the configuration lists when left out.
 */
export function toFleetSettings(
  config: Config,
  version: number,
  sha256: Sha256,
  reading: ProbeReading | null = listedDevices(config),
  refusal: Refusal = () => null,
): FleetSettings {
  const { limits } = config;
  const devices = deviceSettings(config, reading);
  const shared = sharedLists();
  return {
    version,
    limits: {
      maxInFlight: limits.maxConcurrent * limits.maxModelsConcurrent,
      maxTurn: limits.maxTurn,
      minResidency: limits.minResidency,
      drainTimeout: limits.drainTimeout,
    },
    retry: { attempts: config.retry.attempts },
    ports: portsOf(config, sha256),
    memory: memoryRules(config),
    devices,
    models: new Map(
      [...config.models.values()].map((model) => [
        model.name,
        { ...modelSettings(config, model, devices, sha256, shared), unstartable: refusal(model) },
      ]),
    ),
  };
}

function memoryRules({ memory, devices }: Config): MemoryRules {
  return {
    placementMode: memory.placementMode,
    eviction: memory.eviction,
    overheadFactor: memory.overheadFactor,
    overhead: memory.overhead,
    colocateMargin: memory.colocateMargin,
    weightOverhead: memory.weightOverhead,
    budgetFraction: devices.budgetFraction,
  };
}

function modelSettings(
  config: Config,
  model: ModelConfig,
  devices: readonly DeviceSettings[],
  sha256: Sha256,
  shared: Shared,
): Omit<ModelSettings, 'unstartable'> {
  const external = model.driver === 'external';
  const onDevices = !external && devices.length > 0;
  return {
    name: model.name,
    driver: model.driver,
    specHash: specHash(config, model, sha256),
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
    deviceIds: shared(onDevices ? deviceIds(config, model, devices) : []),
    memory: onDevices ? model.memory : null,
    sizing: onDevices && model.memory === null && model.engine === 'vllm' ? sizingSettings(model) : null,
    needsPreparation: needsPreparation(config, model),
    needsPort: model.driver === 'process',
  };
}

type Shared = (list: readonly string[]) => readonly string[];

/** One list for all models that may use the same devices: what is found of these once holds for all of them. */
function sharedLists(): Shared {
  const lists = new Map<string, readonly string[]>();
  return (list) => {
    const key = JSON.stringify(list);
    const known = lists.get(key) ?? list;
    lists.set(key, known);
    return known;
  };
}

/** In the order they were read: of its pool, and of its own `devices` when it names some. */
function deviceIds(config: Config, model: ModelConfig, devices: readonly DeviceSettings[]): readonly string[] {
  const own = model.devices;
  // A pool that the file does not have means nothing, as the check has told.
  const pool = model.pool !== null && config.pools.has(model.pool) ? model.pool : null;
  return devices
    .filter((device) => device.unmeasured || pool === null || device.pool === pool)
    .filter((device) => device.unmeasured || own === null || own.some((name) => isNamed(name, device)))
    .map(({ id }) => id);
}

/** A simulated engine has neither files nor an image; of a command that is not vLLM nobody knows what it loads. */
function needsPreparation(config: Config, model: ModelConfig): boolean {
  if (model.driver === 'docker') return true;
  return model.driver === 'process' && model.engine === 'vllm' && !isSimulated(config, model);
}

function sizingSettings(model: ModelConfig): SizingSettings {
  return {
    utilization: model.gpuMemoryUtilization,
    maxModelLen: model.maxModelLen,
    kvSequences: model.kvReservationSeqs ?? model.maxNumSeqs,
    maxNumSeqs: model.maxNumSeqs,
    maxBatchedTokens: Number(flagValue(model.extraArgs, '--max-num-batched-tokens') ?? 0) || BATCHED_TOKENS,
    kvElementBytes: kvElementBytes(flagValue(model.extraArgs, '--kv-cache-dtype')),
    // What loading does to the weights is part of what the files say.
    weightElementBytes: null,
    colocate: model.colocate,
    autoParallel: model.tensorParallelSize === 1 && !model.colocate,
  };
}

function kvElementBytes(type: string | null): number | null {
  if (type === null || type === 'auto') return null;
  if (type.startsWith('fp8') || type === 'int8') return 1;
  return 2;
}
