/** Snapshots of a fleet for tests of what reads them, written as the differences from an idle one. */
import type { DeviceSnapshot, FleetSnapshot, ModelSnapshot, ReplicaSnapshot } from '../../src/core/snapshot.ts';
import { GIB } from '../../src/units.ts';

export function modelSnapshot(name: string, over: Partial<ModelSnapshot> = {}): ModelSnapshot {
  return {
    name,
    state: 'cold',
    driver: 'process',
    replicas: [],
    queued: 0,
    inFlight: 0,
    waitingFor: null,
    maxConcurrent: 50,
    maxQueueSize: 200,
    lastUsedAt: null,
    pinnedBy: null,
    preparation: null,
    need: null,
    sizeUnknown: null,
    footprint: null,
    shortageBytes: 0,
    lastFailure: null,
    ...over,
  };
}

export function replicaSnapshot(id: string, model: string, over: Partial<ReplicaSnapshot> = {}): ReplicaSnapshot {
  return {
    id,
    generation: 1,
    model,
    driver: 'process',
    state: 'ready',
    phase: null,
    progress: null,
    eta: null,
    devices: [],
    reservedBytes: 0,
    steady: {},
    peak: {},
    measured: false,
    milestone: null,
    share: { tensorParallel: 0, utilization: null, kvCacheBytes: null, maxModelLen: null },
    leases: 0,
    pid: 4_711,
    container: null,
    origin: 'http://127.0.0.1:20001',
    port: 20_001,
    adopted: false,
    stopReason: null,
    createdAt: 0,
    launchedAt: 0,
    readyAt: 0,
    idleSince: 0,
    ...over,
  };
}

export function deviceSnapshot(id: string, over: Partial<DeviceSnapshot> = {}): DeviceSnapshot {
  return {
    id,
    uuid: null,
    pool: null,
    totalBytes: 24 * GIB,
    budgetBytes: 0.9 * 24 * GIB,
    reservedBytes: 0,
    foreignBytes: 0,
    usedBytes: null,
    observedAt: null,
    silent: null,
    quarantine: null,
    unmeasured: false,
    residents: [],
    state: 'free',
    gateHolder: null,
    gateSince: null,
    ...over,
  };
}

export interface FleetParts {
  readonly models?: readonly ModelSnapshot[];
  readonly replicas?: readonly ReplicaSnapshot[];
  readonly devices?: readonly DeviceSnapshot[];
}

export function fleetSnapshot(parts: FleetParts = {}, over: Partial<FleetSnapshot> = {}): FleetSnapshot {
  const models = parts.models ?? [];
  return {
    at: 0,
    configVersion: 1,
    models: new Map(models.map((model) => [model.name, model])),
    replicas: new Map((parts.replicas ?? []).map((replica) => [replica.id, replica])),
    devices: new Map((parts.devices ?? []).map((device) => [device.id, device])),
    waiting: models.reduce((total, model) => total + model.queued, 0),
    inFlight: models.reduce((total, model) => total + model.inFlight, 0),
    maxInFlight: 150,
    counters: {
      received: 0,
      grantedTotal: 0,
      refused: 0,
      abandoned: 0,
      released: 0,
      returned: 0,
      starts: 0,
      stops: 0,
      startsFailed: 0,
      evictions: 0,
      fences: 0,
      staleResults: 0,
    },
    shuttingDown: false,
    ...over,
  };
}
