/** Fleets with residents, for tests of planning: built by hand, without the steps that would lead there. */
import { emptyFleet } from '../../src/core/fleet.ts';
import { blank } from '../../src/core/lifecycle/start.ts';
import type { Footprint } from '../../src/core/memory/footprint.ts';
import type { ModelShape } from '../../src/core/memory/model-shape.ts';
import type { MemoryRules, SizingSettings } from '../../src/core/memory/sizing.ts';
import type { DeviceSettings, FleetSettings, ModelSettings } from '../../src/core/settings.ts';
import type { FleetState, Model, Replica } from '../../src/core/state.ts';
import { MIB } from '../../src/units.ts';

const RULES: MemoryRules = {
  placementMode: 'budget',
  eviction: 'lru',
  overheadFactor: 1.1,
  overhead: 1024 * MIB,
  colocateMargin: 1024 * MIB,
  weightOverhead: 1.15,
  budgetFraction: 0.9,
};

interface FleetRules extends Partial<MemoryRules> {
  readonly minResidency?: number;
  readonly maxTurn?: number;
}

export function fleetSettingsOf(
  devices: readonly DeviceSettings[],
  models: readonly ModelSettings[],
  { minResidency = 90_000, maxTurn = 60_000, ...rules }: FleetRules = {},
): FleetSettings {
  return {
    version: 1,
    limits: { maxInFlight: 150, maxTurn, minResidency, drainTimeout: 300_000 },
    retry: { attempts: 3 },
    ports: { first: 20_000, last: 29_999 },
    memory: { ...RULES, ...rules },
    devices,
    models: new Map(models.map((settings) => [settings.name, settings])),
  };
}

export function fleetOf(
  devices: readonly DeviceSettings[],
  models: readonly ModelSettings[],
  rules: FleetRules = {},
): FleetState {
  return emptyFleet(fleetSettingsOf(devices, models, rules), 0);
}

/** A device of which all may be promised, unless a budget is named. */
export function device(id: string, bytes: number, over: Partial<DeviceSettings> = {}): DeviceSettings {
  return {
    id,
    totalBytes: bytes,
    budgetBytes: bytes,
    pool: null,
    uuid: null,
    deviceClass: 'card',
    unmeasured: false,
    ...over,
  };
}

export function modelOn(
  name: string,
  memory: number | null,
  deviceIds: readonly string[],
  deviceCount = 1,
  over: Partial<ModelSettings> = {},
): ModelSettings {
  return {
    name,
    driver: 'simulated',
    specHash: `${name}#0`,
    maxQueueSize: 200,
    maxConcurrent: 50,
    queueTimeout: 540_000,
    inactivityTimeout: 1_800_000,
    alwaysOn: false,
    preload: false,
    startTimeout: 3_900_000,
    startStallTimeout: 600_000,
    stopTimeout: 30_000,
    stallTimeout: 120_000,
    deviceCount,
    deviceIds,
    memory,
    sizing: null,
    needsPreparation: false,
    needsPort: false,
    unstartable: null,
    ...over,
  };
}

/** The built-in settings of a vLLM model, but for what is said. */
export function sizing(over: Partial<SizingSettings> = {}): SizingSettings {
  return {
    utilization: 0.9,
    maxModelLen: 8192,
    kvSequences: 16,
    maxNumSeqs: 16,
    maxBatchedTokens: 8192,
    kvElementBytes: null,
    weightElementBytes: null,
    colocate: false,
    autoParallel: false,
    ...over,
  };
}

/** 32 layers of grouped-query attention: 131 072 bytes of KV cache for each token. */
export function shape(weightBytes: number | null, over: Partial<ModelShape> = {}): ModelShape {
  return {
    weightBytes,
    kv: [{ kind: 'full', layers: 32, kvHeads: 8, keySize: 128, valueSize: 128 }],
    kvElementBytes: 2,
    nativeLength: 131_072,
    attentionHeads: 32,
    notes: [],
    ...over,
  };
}

export function modelNamed(state: FleetState, name: string): Model {
  const model = state.models.get(name);
  if (!model) throw new Error(`no model ${name}`);
  return model;
}

/** As learned on `card`. */
export function footprintOf(
  model: Model,
  steadyBytes: number,
  over: Partial<Footprint> & { readonly tensorParallel?: number } = {},
): Footprint {
  const { tensorParallel = 1, ...rest } = over;
  return {
    model: model.name,
    signature: { specHash: model.settings.specHash, image: model.image, deviceClass: 'card', tensorParallel },
    steadyBytes,
    peakBytes: steadyBytes,
    utilization: null,
    kvCacheBytes: null,
    kvCacheTokens: null,
    startTime: 20_000,
    measuredAt: 0,
    source: 'process',
    ...rest,
  };
}

interface Resident {
  readonly model: string;
  readonly on: Readonly<Record<string, number>>;
  /** From launch to ready, on each device; the reservation when nothing is said. */
  readonly peak?: number;
  readonly launchedAt?: number;
  readonly readyAt?: number;
  readonly idleSince?: number;
  readonly leases?: number;
  readonly phase?: Replica['phase'];
  readonly adopted?: boolean;
}

/** A replica as it would stand there; its id is the name of its model. */
export function addResident(state: FleetState, resident: Resident): Replica {
  const { model: name, readyAt = 0, idleSince = 0, leases = 0, phase = 'ready', peak = 0, adopted = false } = resident;
  const model = modelNamed(state, name);
  const reservations = new Map(Object.entries(resident.on));
  const replica: Replica = {
    ...blank(readyAt),
    id: name,
    generation: 1,
    model: name,
    driver: 'simulated',
    specHash: model.settings.specHash,
    configVersion: 1,
    stopTimeout: model.settings.stopTimeout,
    reservations,
    peaks: new Map([...reservations].map(([id, bytes]) => [id, Math.max(bytes, peak)])),
    share: { tensorParallel: reservations.size, utilization: null, kvCacheBytes: null, maxModelLen: null },
    adopted,
    phase,
    launchedAt: phase === 'reserved' ? null : (resident.launchedAt ?? readyAt),
    readyAt: phase === 'ready' || phase === 'draining' ? readyAt : null,
    idleSince,
    endpoint: { origin: `sim://${name}`, pathPrefix: '', pid: 1, container: null },
  };
  for (let lease = 0; lease < leases; lease += 1) replica.leases.add(`${name}-${lease}`);
  state.replicas.set(replica.id, replica);
  if (phase === 'ready' || phase === 'starting' || phase === 'reserved') model.current = replica.id;
  return replica;
}
