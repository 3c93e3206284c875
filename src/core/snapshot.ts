/** A frozen read model of the fleet, for status, metrics and the command line. Plain data, safe to serialise. */
import type { StartFailureCause } from '../errors.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { DriverKind } from './settings.ts';
import type { StartMilestone } from './events.ts';
import type { LaunchShare } from './launch.ts';
import type { Footprint } from './memory/footprint.ts';
import { waitingFor } from './admission/waiting-for.ts';
import { comingStart, startLeft } from './lifecycle/forecast.ts';
import { held, isSilent, residents } from './memory/ledger.ts';
import { needOn, type NeedBasis } from './memory/need.ts';
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
  /** Its files are being made present; null = not now. */
  readonly preparation: {
    /** `metadata`, `image`, `weights`. */
    readonly phase: string;
    readonly fraction: number | null;
    readonly since: Milliseconds;
    /** Until the model is ready; where nobody knows that, until the phase is over; null = nobody knows that either. */
    readonly eta: Milliseconds | null;
  } | null;
  /** What it would take on the first of its devices, and how that is known; null when it takes no device memory. */
  readonly need: { readonly basis: NeedBasis; readonly totalBytes: Bytes; readonly peakBytes: Bytes } | null;
  /** Why its files do not tell its size; null = they do, or nobody has looked. */
  readonly sizeUnknown: string | null;
  /** The newest that was learned of it, whether it still applies or not; null = none. */
  readonly footprint: Footprint | null;
  /** Bytes per device that its starts lacked, on top of the estimate. */
  readonly shortageBytes: Bytes;
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
  /** Of the phase, in [0, 1]. */
  readonly progress: number | null;
  /** Until it is ready, while it is reserved or starting; null = nobody knows. */
  readonly eta: Milliseconds | null;
  readonly devices: readonly string[];
  /** Over all devices. */
  readonly reservedBytes: Bytes;
  /** Per device: what it takes once ready … */
  readonly steady: Readonly<Record<string, Bytes>>;
  /** … and between launch and ready. */
  readonly peak: Readonly<Record<string, Bytes>>;
  /** `steady` is what was seen, not what was thought. */
  readonly measured: boolean;
  readonly milestone: StartMilestone | null;
  readonly share: LaunchShare;
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
  /** As last read, whoever holds them; null = never read. */
  readonly usedBytes: Bytes | null;
  /** Monotonic; null = never. */
  readonly observedAt: Milliseconds | null;
  /** Why it cannot be read now; null = it can, or need not. */
  readonly silent: string | null;
  /** Why nothing is started there until an engine is seen to be gone; null = nothing of the kind. */
  readonly quarantine: string | null;
  /** It stands for devices that cannot be read. */
  readonly unmeasured: boolean;
  /** Replica ids. */
  readonly residents: readonly string[];
  /** `stale`: it cannot be read, so nothing is started there. */
  readonly state: 'free' | 'busy' | 'quarantined' | 'stale';
  readonly gateHolder: string | null;
  /** Since when; null = nobody holds it. */
  readonly gateSince: Milliseconds | null;
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
  if (current || model.preparation) return 'starting';
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

function needOf(state: FleetState, model: Model): ModelSnapshot['need'] {
  const { deviceCount, deviceIds } = model.settings;
  const current = model.current === null ? undefined : state.replicas.get(model.current);
  const device = state.devices.get(current?.reservations.keys().next().value ?? deviceIds[0] ?? '');
  if (!device || deviceCount === 0) return null;
  const { basis, totalBytes, peakBytes } = needOn(state, model, device, current?.reservations.size ?? deviceCount);
  return { basis, totalBytes, peakBytes };
}

function preparationOf(state: FleetState, model: Model, now: Milliseconds): ModelSnapshot['preparation'] {
  if (model.preparation === null) return null;
  const { since, progress } = model.preparation;
  const coming = comingStart(state, model, now);
  const { phase, fraction } = progress;
  return { phase, fraction, since, eta: coming?.left ?? coming?.phaseLeft ?? null };
}

function newestFootprint(model: Model): Footprint | null {
  return model.footprints.toSorted((one, other) => other.measuredAt - one.measuredAt)[0] ?? null;
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
    preparation: preparationOf(state, model, now),
    need: needOf(state, model),
    sizeUnknown: model.size?.kind === 'unknown' ? model.size.reason : null,
    footprint: newestFootprint(model),
    shortageBytes: model.shortage,
    lastFailure: model.lastFailure && { ...model.lastFailure, retryAt: model.backoff.until },
  };
}

function snapshotReplica(state: FleetState, replica: Replica, now: Milliseconds): ReplicaSnapshot {
  const model = state.models.get(replica.model);
  return {
    id: replica.id,
    generation: replica.generation,
    model: replica.model,
    driver: replica.driver,
    state: replica.phase,
    phase: replica.progress?.phase ?? null,
    progress: replica.progress?.fraction ?? null,
    eta: model ? startLeft(state, model, replica, now) : null,
    devices: [...replica.reservations.keys()],
    reservedBytes: [...replica.reservations.values()].reduce((sum, bytes) => sum + bytes, 0),
    steady: Object.fromEntries(replica.reservations),
    peak: Object.fromEntries(replica.peaks),
    measured: replica.measured,
    milestone: replica.milestone,
    share: replica.share,
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

function deviceState(device: Device): DeviceSnapshot['state'] {
  if (device.quarantine !== null) return 'quarantined';
  if (isSilent(device)) return 'stale';
  return device.gateHolder === null ? 'free' : 'busy';
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
    usedBytes: device.usedBytes,
    observedAt: device.observedAt,
    silent: device.silent,
    quarantine: device.quarantine,
    unmeasured: device.unmeasured,
    residents: residents(state, device.id).map((replica) => replica.id),
    state: deviceState(device),
    gateHolder: device.gateHolder,
    gateSince: device.gateSince,
  };
}

export function snapshot(state: FleetState, now: Milliseconds): FleetSnapshot {
  return {
    at: now,
    configVersion: state.settings.version,
    models: new Map([...state.models.values()].map((model) => [model.name, snapshotModel(state, model, now)])),
    replicas: new Map(
      [...state.replicas.values()].map((replica) => [replica.id, snapshotReplica(state, replica, now)]),
    ),
    devices: new Map([...state.devices.values()].map((device) => [device.id, snapshotDevice(state, device)])),
    waiting: state.tickets.size,
    inFlight: state.leases.size,
    maxInFlight: state.settings.limits.maxInFlight,
    counters: { ...state.counters },
    shuttingDown: state.shutdown !== null,
  };
}
