/** A frozen read model of the fleet, for status, metrics and the command line. Plain data, safe to serialise. */
import type { StartFailureCause } from '../errors.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { DriverKind } from './settings.ts';
import type { FleetCounters, ReplicaPhase, StopReason } from './state.ts';

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
