/** A frozen read model of the fleet, for status, metrics and the command line. Plain data, safe to serialise. */
import type { StartFailureCause } from '../errors.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { DriverKind } from './settings.ts';
import { held, residents } from './memory/ledger.ts';
import type { Device, FleetCounters, FleetState, Model, Replica, ReplicaPhase, StopReason } from './state.ts';

export type ModelState = 'cold' | 'starting' | 'ready' | 'draining' | 'asleep' | 'failed';

export interface ModelSnapshot {
  readonly name: string;
  readonly state: ModelState;
  readonly driver: DriverKind;
  readonly replicas: readonly string[];
  readonly queued: number;
  readonly inFlight: number;
  /** Why the waiting tickets wait, in words; null when none waits. */
  readonly waitingFor: string | null;
  readonly maxConcurrent: number;
  readonly maxQueueSize: number;
  /** Monotonic; null = never. */
  readonly lastUsedAt: Milliseconds | null;
  readonly pinnedBy: 'config' | 'operator' | null;
  readonly lastFailure: {
    readonly cause: StartFailureCause;
    readonly message: string;
    readonly at: Milliseconds;
    readonly retryAt: Milliseconds | null;
  } | null;
}

export interface ReplicaSnapshot {
  readonly id: string;
  readonly generation: number;
  readonly model: string;
  readonly driver: DriverKind;
  readonly state: ReplicaPhase;
  readonly phase: string | null;
  readonly progress: number | null;
  readonly devices: readonly string[];
  readonly reservedBytes: Bytes;
  readonly leases: number;
  readonly pid: number | null;
  readonly container: string | null;
  readonly origin: string | null;
  readonly port: number | null;
  readonly adopted: boolean;
  readonly stopReason: StopReason | null;
  readonly createdAt: Milliseconds;
  readonly launchedAt: Milliseconds | null;
  readonly readyAt: Milliseconds | null;
  readonly idleSince: Milliseconds;
}

export interface DeviceSnapshot {
  readonly id: string;
  readonly uuid: string | null;
  readonly pool: string | null;
  readonly totalBytes: Bytes;
  readonly budgetBytes: Bytes;
  /** Promised to launched replicas. */
  readonly reservedBytes: Bytes;
  readonly foreignBytes: Bytes;
  /** Replica ids. */
  readonly residents: readonly string[];
  readonly state: 'free' | 'busy' | 'quarantined';
  readonly gateHolder: string | null;
}

export interface FleetSnapshot {
  readonly at: Milliseconds;
  readonly configVersion: number;
  readonly models: ReadonlyMap<string, ModelSnapshot>;
  readonly replicas: ReadonlyMap<string, ReplicaSnapshot>;
  readonly devices: ReadonlyMap<string, DeviceSnapshot>;
  readonly waiting: number;
  readonly inFlight: number;
  readonly maxInFlight: number;
  readonly counters: FleetCounters;
  readonly shuttingDown: boolean;
}

function modelState(state: FleetState, model: Model, now: Milliseconds): ModelState {
  const current = model.current === null ? undefined : state.replicas.get(model.current);
  if (current?.phase === 'ready') return 'ready';
  if (current) return 'starting';
  for (const replica of state.replicas.values()) {
    if (replica.model === model.name && replica.phase === 'draining') return 'draining';
  }
  if (model.settings.unstartable) return 'failed';
  return model.backoff.until !== null && model.backoff.until > now ? 'failed' : 'cold';
}

/** One model's state, without building the whole snapshot. */
export function stateOfModel(state: FleetState, name: string, now: Milliseconds): ModelState | undefined {
  const model = state.models.get(name);
  return model && modelState(state, model, now);
}

function waitingFor(state: FleetState, model: Model): string | null {
  if (model.queue.size === 0) return null;
  const current = model.current === null ? undefined : state.replicas.get(model.current);
  if (!current) return model.waitingFor ?? model.lastFailure?.message ?? null;
  if (current.phase === 'reserved') return 'memory that others are leaving, or the start of a neighbour';
  if (current.phase === 'starting') return `its start (${current.progress?.phase ?? 'launch'})`;
  return current.leases.size < model.settings.maxConcurrent ? 'a lease: max_in_flight is reached' : 'a free slot';
}

function snapshotModel(state: FleetState, model: Model, now: Milliseconds): ModelSnapshot {
  const replicas = [...state.replicas.values()].filter((replica) => replica.model === model.name);
  return {
    name: model.name,
    state: modelState(state, model, now),
    driver: model.settings.driver,
    replicas: replicas.map((replica) => replica.id),
    queued: model.queue.size,
    inFlight: replicas.reduce((sum, replica) => sum + replica.leases.size, 0),
    waitingFor: waitingFor(state, model),
    maxConcurrent: model.settings.maxConcurrent,
    maxQueueSize: model.settings.maxQueueSize,
    lastUsedAt: model.lastUsedAt,
    pinnedBy: model.settings.alwaysOn ? 'config' : model.pinned ? 'operator' : null,
    lastFailure: model.lastFailure && { ...model.lastFailure, retryAt: model.backoff.until },
  };
}

function snapshotReplica(replica: Replica): ReplicaSnapshot {
  return {
    id: replica.id,
    generation: replica.generation,
    model: replica.model,
    driver: replica.driver,
    state: replica.phase,
    phase: replica.progress?.phase ?? null,
    progress: replica.progress?.fraction ?? null,
    devices: [...replica.reservations.keys()],
    reservedBytes: [...replica.reservations.values()].reduce((sum, bytes) => sum + bytes, 0),
    leases: replica.leases.size,
    pid: replica.endpoint?.pid ?? null,
    container: replica.endpoint?.container ?? null,
    origin: replica.endpoint?.origin ?? null,
    port: replica.port,
    adopted: replica.adopted,
    stopReason: replica.stopReason,
    createdAt: replica.createdAt,
    launchedAt: replica.launchedAt,
    readyAt: replica.readyAt,
    idleSince: replica.idleSince,
  };
}

function snapshotDevice(state: FleetState, device: Device): DeviceSnapshot {
  return {
    id: device.id,
    uuid: device.uuid,
    pool: device.pool,
    totalBytes: device.totalBytes,
    budgetBytes: device.budgetBytes,
    reservedBytes: held(state, device.id),
    foreignBytes: device.foreignBytes,
    residents: residents(state, device.id).map((replica) => replica.id),
    state: device.quarantine === null ? (device.gateHolder === null ? 'free' : 'busy') : 'quarantined',
    gateHolder: device.gateHolder,
  };
}

export function snapshot(state: FleetState, now: Milliseconds): FleetSnapshot {
  return {
    at: now,
    configVersion: state.settings.version,
    models: new Map([...state.models.values()].map((model) => [model.name, snapshotModel(state, model, now)])),
    replicas: new Map([...state.replicas.values()].map((replica) => [replica.id, snapshotReplica(replica)])),
    devices: new Map([...state.devices.values()].map((device) => [device.id, snapshotDevice(state, device)])),
    waiting: state.tickets.size,
    inFlight: state.leases.size,
    maxInFlight: state.settings.limits.maxInFlight,
    counters: { ...state.counters },
    shuttingDown: state.shutdown !== null,
  };
}
