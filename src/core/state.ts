/**
 * Fleet state: one plain object, written only by `step`. Everything that is counted is the size of a set or list here.
 */
import type { StartFailureCause } from '../errors.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { Deadlines } from './deadlines.ts';
import type { StartMilestone } from './events.ts';
import type { LaunchShare } from './launch.ts';
import type { Asking } from './memory/asked.ts';
import type { Footprint } from './memory/footprint.ts';
import type { ModelSize } from './memory/model-shape.ts';
import type { Plan } from './memory/plan.ts';
import type { Ring } from './ring.ts';
import type { PhaseProgress } from './lifecycle/phase-progress.ts';
import type { StartTimes } from './lifecycle/start-times.ts';
import type { TicketQueue } from './admission/queue.ts';
import type { RetryWindow } from './admission/retry-budget.ts';
import type { DriverKind, FleetSettings, ModelSettings } from './settings.ts';

/** A replica by identity: a result for an older generation is stale and dropped. */
export interface ReplicaRef {
  readonly id: string;
  readonly generation: number;
}

export type ReplicaPhase = 'reserved' | 'starting' | 'ready' | 'draining' | 'stopping' | 'zombie';

/** Why a replica leaves ready (or its start). Shown to operators, counted in `evictions_total{reason}`. */
export type StopReason =
  | 'idle'
  | 'evicted'
  | 'turn'
  | 'unload'
  | 'reload'
  | 'start_failed'
  | 'crashed'
  | 'stalled'
  | 'unhealthy'
  | 'abandoned'
  | 'not_adopted'
  | 'shutdown';

/** Where a launched replica answers. Opaque to the core; the shell wrote it and the shell reads it. */
export interface Endpoint {
  /** e.g. `http://127.0.0.1:20001` */
  readonly origin: string;
  /** Put before every path, no trailing slash; '' for our own engines. */
  readonly pathPrefix: string;
  readonly pid: number | null;
  readonly container: string | null;
}

export interface Replica {
  readonly id: string;
  readonly generation: number;
  readonly model: string;
  readonly driver: DriverKind;
  readonly specHash: string;
  readonly configVersion: number;
  /** From SIGTERM to verified gone, as configured when it was made. */
  readonly stopTimeout: Milliseconds;
  phase: ReplicaPhase;
  /** Devices with the bytes promised on each once it is ready; replaced when measured; empty when it takes no device memory. */
  reservations: ReadonlyMap<string, Bytes>;
  /** The same devices with the bytes promised from launch to ready: at least the reservation. */
  readonly peaks: ReadonlyMap<string, Bytes>;
  readonly share: LaunchShare;
  port: number | null;
  endpoint: Endpoint | null;
  readonly leases: Set<string>;
  readonly createdAt: Milliseconds;
  launchedAt: Milliseconds | null;
  readyAt: Milliseconds | null;
  /** End of the last lease, or ready time: the idle clock. */
  idleSince: Milliseconds;
  stopReason: StopReason | null;
  /** How far its start is, as reported by the shell; null = nothing was heard yet, or it is not starting. */
  progress: PhaseProgress | null;
  /** What the phases of its start took that are over. */
  readonly spent: Map<string, Milliseconds>;
  /** How far its start has changed memory; null = not yet. */
  milestone: StartMilestone | null;
  /** When memory beside it last changed before it began to load; null = never. */
  shakenAt: Milliseconds | null;
  /** Its reservation is what was seen, not what was thought. */
  measured: boolean;
  readonly adopted: boolean;
  /** The process is known to be gone. */
  exited: boolean;
  /** The stop effect is out. */
  stopSent: boolean;
  health: { refusedInRow: number; slowInRow: number; quietSince: Milliseconds | null };
}

/** An admitted request that waits. One end only: granted, refused, or abandoned. */
export interface Ticket {
  readonly id: string;
  readonly model: string;
  readonly keyId: string;
  readonly arrivedAt: Milliseconds;
  /** Counts arrivals: who came first, even in one moment. */
  readonly order: number;
  /** The client's own patience, as a point in time; null = none known. */
  readonly patienceUntil: Milliseconds | null;
  readonly stream: boolean;
  readonly configVersion: number;
  /** It came back from a replica that was going down: this happens once. */
  readonly returned: boolean;
  /** The model's two clocks when it arrived; the queue clock moved on by the time that it ran, if it came back. */
  readonly coldClockAtArrival: Milliseconds;
  readonly queueClockAtArrival: Milliseconds;
}

/** The right to use one replica for one request until the last byte. Same id as its ticket. */
export interface Lease {
  readonly id: string;
  readonly ticket: Ticket;
  readonly replicaId: string;
  readonly grantedAt: Milliseconds;
  /** What its wait had cost of `queue_timeout`. */
  readonly waited: Milliseconds;
  /** The shell was told to end it (drain timeout, stall). */
  cut: boolean;
}

export interface StartFailure {
  readonly cause: StartFailureCause;
  readonly message: string;
  readonly at: Milliseconds;
}

/** A clock that runs only while its condition holds; deadlines of all of a model's tickets hang on it. */
export interface PausableClock {
  elapsed: Milliseconds;
  runningSince: Milliseconds | null;
}

/** Metadata, image and weights are being made present; no memory is promised meanwhile. */
export interface Preparation {
  readonly since: Milliseconds;
  progress: PhaseProgress;
}

export interface Model {
  readonly name: string;
  settings: ModelSettings;
  /** What its files say; null = nobody has looked yet. */
  size: ModelSize | null;
  preparation: Preparation | null;
  /** Everything a start needs was present when last looked; false again when a start failed for want of it. */
  prepared: boolean;
  /** Digest of its image; null = unknown or none. */
  image: string | null;
  /** Learned, one per device class and tensor parallel size. */
  footprints: readonly Footprint[];
  /** What its starts took, one per signature, oldest first. */
  readonly startTimes: StartTimes[];
  /** Bytes per device that a start said it lacked: added to the estimate until a footprint is known. */
  shortage: Bytes;
  readonly queue: TicketQueue;
  /** Replica that is reserved, starting or ready; one at most in this version. */
  current: string | null;
  /** Of devices: kept, because a plan asks for it again and again. */
  readonly asking: Asking;
  /** Generations given out so far. */
  generation: number;
  backoff: { failures: number; until: Milliseconds | null };
  lastFailure: StartFailure | null;
  lastUsedAt: Milliseconds | null;
  /** Runs while the model waits and no start is under way. */
  readonly queueClock: PausableClock;
  /** Runs while a start is under way. */
  readonly coldClock: PausableClock;
  /** Since when it has waiting tickets and no place; null when placed or without demand. */
  unplacedSince: Milliseconds | null;
  /** Why it waits, as it was last planned: `whyItWaits` says it in words, once somebody asks. */
  waitingFor: { readonly plan: Plan; words: string | null } | null;
  /** Why it last could not be placed at all, in words. */
  lastPlanFailure: string | null;
  pinned: boolean;
  /** An operator asked for it; the start goes on without tickets. */
  loadRequested: boolean;
  /** A port was taken by a stranger: one more start, without back-off. */
  portRetryUsed: boolean;
  /** Ports in a row that were found taken before anything was spawned. */
  portsSkipped: number;
  /** How long its leases run that are answered to the end, for Retry-After; null = none yet. */
  meanLease: Milliseconds | null;
  readonly retries: RetryWindow;
  /** Starts in a row that were given up because memory beside them changed while they measured it. */
  disturbed: number;
  /** Models that were evicted for its coming start. */
  readonly displaced: Set<string>;
}

export interface Device {
  readonly id: string;
  totalBytes: Bytes;
  budgetBytes: Bytes;
  pool: string | null;
  uuid: string | null;
  deviceClass: string;
  unmeasured: boolean;
  /** As last read, whoever holds them; null = never read. */
  usedBytes: Bytes | null;
  /** Time of the last reading; null = never. */
  observedAt: Milliseconds | null;
  /** Bytes of others, when known. */
  foreignBytes: Bytes;
  /** Why there is no reading; no start may begin meanwhile. Null = there is one, or none is needed. */
  silent: string | null;
  /** The replica whose memory is changing right now. */
  gateHolder: string | null;
  /** Since when it is held. */
  gateSince: Milliseconds | null;
  /** Why no start may begin here; null = fine. */
  quarantine: string | null;
}

export interface FleetState {
  settings: FleetSettings;
  readonly models: Map<string, Model>;
  readonly devices: Map<string, Device>;
  readonly replicas: Map<string, Replica>;
  readonly tickets: Map<string, Ticket>;
  readonly leases: Map<string, Lease>;
  /** Models with waiting tickets and a free slot, in turn order. */
  readonly grantable: Ring<string>;
  /** Models without a place that have demand, longest waiting first. */
  readonly unplaced: Ring<string>;
  /** Models that lost their replica in this step and may want another. */
  readonly orphaned: Set<string>;
  /** Models that were evicted for a start that failed, with the id of the replica whose memory they wait for. */
  readonly restoring: Map<string, string>;
  /** Operations that wait for their devices, oldest first. */
  readonly gateQueue: GateRequest[];
  readonly ports: Set<number>;
  nextPort: number;
  readonly deadlines: Deadlines;
  readonly retries: RetryWindow;
  readonly counters: FleetCounters;
  /** What an earlier run left is still being looked for: until then nothing is started, or it might run twice. */
  adopting: boolean;
  /** `keep`: drivers whose engines stay. `cut`: when its time was over, requests still waited or ran. */
  shutdown: {
    readonly keep: readonly DriverKind[];
    readonly deadline: Milliseconds;
    cut: boolean;
    done: boolean;
  } | null;
}

export interface GateRequest {
  readonly replicaId: string;
  readonly operation: 'start' | 'stop';
  readonly since: Milliseconds;
}

/** Totals since start; never decremented. */
export interface FleetCounters {
  received: number;
  grantedTotal: number;
  refused: number;
  abandoned: number;
  released: number;
  returned: number;
  starts: number;
  startsFailed: number;
  stops: number;
  evictions: number;
  fences: number;
  staleResults: number;
}
