/** Everything that can happen to the fleet. Plain data; `step` is told, it never asks. */
import type { StartFailureCause } from '../errors.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { LaunchShare } from './launch.ts';
import type { StartTimes } from './lifecycle/start-times.ts';
import type { Footprint } from './memory/footprint.ts';
import type { ModelSize } from './memory/model-shape.ts';
import type { DriverKind, FleetSettings } from './settings.ts';
import type { Endpoint, ReplicaRef, StopReason } from './state.ts';

/** How a lease ended, as the proxy saw it. */
export type LeaseOutcome = 'completed' | 'client_closed' | 'upstream_failed' | 'deadline' | 'internal' | 'shutdown';

/** One look at a ready replica, every few seconds. */
export interface HealthReport {
  /** `refused`: connection refused or reset; `unavailable`: 503; `slow`: no answer in time. */
  readonly health: 'ok' | 'refused' | 'unavailable' | 'slow';
  /** The engine's token counters or KV usage changed since the last look; null = it has no such counters. */
  readonly countersMoved: boolean | null;
  /** A byte was relayed on some lease since the last look. */
  readonly bytesMoved: boolean;
}

export type StartMilestone = 'loading' | 'profiled';

/** What a driver found at start: something that an earlier gateway process launched. */
export interface FoundReplica {
  readonly id: string;
  readonly generation: number;
  readonly model: string;
  /** Who found it, and alone can end it; absent = the driver of its model. */
  readonly driver?: DriverKind;
  readonly specHash: string;
  readonly reservations: ReadonlyMap<string, Bytes>;
  /** What it was told; absent or null = nobody wrote it down. */
  readonly share?: LaunchShare | null;
  readonly port: number | null;
  readonly endpoint: Endpoint;
  /** Alive, answering, and holding our key: may be adopted. Otherwise why not. */
  readonly usable: true | string;
  /** Wall-clock age of the process, if known. */
  readonly ageMs: Milliseconds | null;
}

export type FleetEvent =
  | {
      readonly kind: 'ticket.arrived';
      readonly id: string;
      readonly model: string;
      readonly keyId: string;
      readonly stream: boolean;
      /** How long the client will wait for a head, from now; null = unknown or heartbeats will come. */
      readonly patience: Milliseconds | null;
    }
  | { readonly kind: 'ticket.abandoned'; readonly id: string }
  | { readonly kind: 'lease.released'; readonly id: string; readonly outcome: LeaseOutcome }
  /** The engine was going down before anything reached the client: back to the head of the queue, once. */
  | { readonly kind: 'lease.returned'; readonly id: string }
  /** May this lease's request be attempted again? Answered by a `retry.answered` effect of the same step. */
  | { readonly kind: 'retry.asked'; readonly id: string }
  | { readonly kind: 'replica.launched'; readonly replica: ReplicaRef; readonly endpoint: Endpoint }
  /** A log line, a byte loaded, memory growth: the start is alive. */
  | {
      readonly kind: 'replica.progressed';
      readonly replica: ReplicaRef;
      readonly phase: string;
      readonly fraction: number | null;
      /** `loading`: it has looked at free memory and begins to fill it; `profiled`: it measures no more. */
      readonly milestone: StartMilestone | null;
    }
  | { readonly kind: 'replica.ready'; readonly replica: ReplicaRef }
  | {
      readonly kind: 'replica.start_failed';
      readonly replica: ReplicaRef;
      readonly cause: StartFailureCause;
      readonly message: string;
      /** Out of memory for the KV cache: how much more on each device would have done, if it said so. */
      readonly shortage?: Bytes | null;
    }
  /** The driver says that the process is gone, asked or not. During a start the cause was classified from its log. */
  | {
      readonly kind: 'replica.exited';
      readonly replica: ReplicaRef;
      readonly detail: string;
      readonly cause: StartFailureCause;
      /** As in `replica.start_failed`. */
      readonly shortage?: Bytes | null;
    }
  /** The stop effect is done: nothing of it is left and its memory is seen back. */
  | { readonly kind: 'replica.stopped'; readonly replica: ReplicaRef }
  /** It could not be verified gone: its bytes stay promised and its devices take no start. */
  | { readonly kind: 'replica.stop_failed'; readonly replica: ReplicaRef; readonly detail: string }
  /** What it really takes, seen once ready: replaces what was promised, in this step. */
  | {
      readonly kind: 'replica.measured';
      readonly replica: ReplicaRef;
      /** Bytes per device, once ready. */
      readonly steady: ReadonlyMap<string, Bytes>;
      /** Null when it cannot be learned from (adopted, a neighbour moved meanwhile). */
      readonly footprint: Footprint | null;
    }
  /** At start: what earlier runs learned. */
  | { readonly kind: 'footprints.loaded'; readonly footprints: readonly Footprint[] }
  | { readonly kind: 'start_times.loaded'; readonly times: readonly StartTimes[] }
  /** Answers to `model.prepare`, in any order, until `model.prepared` or `model.prepare_failed`. */
  | { readonly kind: 'model.sized'; readonly model: string; readonly size: ModelSize }
  | {
      readonly kind: 'model.prepare_progressed';
      readonly model: string;
      /** `metadata`, `image`, `weights`. */
      readonly phase: string;
      readonly fraction: number | null;
    }
  /** Everything that a start needs is present. `image`: digest, null when the driver has none. */
  | { readonly kind: 'model.prepared'; readonly model: string; readonly image: string | null }
  | {
      readonly kind: 'model.prepare_failed';
      readonly model: string;
      readonly cause: StartFailureCause;
      readonly message: string;
    }
  | { readonly kind: 'replica.checked'; readonly replica: ReplicaRef; readonly report: HealthReport }
  /** Before the first request may arrive: tickets wait, nothing is started, until what an earlier run left is known … */
  | { readonly kind: 'adoption.begun' }
  | { readonly kind: 'replica.found'; readonly found: FoundReplica }
  /** … and all of it was told, or could not be listed. */
  | { readonly kind: 'adoption.ended' }
  /** A reading: what the device has, and what of it others hold (own replicas taken out). */
  | {
      readonly kind: 'device.observed';
      readonly id: string;
      readonly totalBytes: Bytes;
      readonly usedBytes: Bytes;
      readonly foreignBytes: Bytes;
    }
  /** No reading can be had: no start may begin there until there is one. What is ready goes on. */
  | { readonly kind: 'device.silent'; readonly id: string; readonly reason: string }
  | { readonly kind: 'model.load'; readonly model: string }
  | { readonly kind: 'model.unload'; readonly model: string; readonly reason: Extract<StopReason, 'unload' | 'reload'> }
  | { readonly kind: 'model.pin'; readonly model: string; readonly pinned: boolean }
  | { readonly kind: 'settings.replaced'; readonly settings: FleetSettings }
  /** `keep`: drivers whose engines stay for the next run. */
  | {
      readonly kind: 'shutdown.begun';
      readonly keep: readonly DriverKind[];
      readonly deadline: Milliseconds;
    }
  /** `state.deadlines` says that something is due. */
  | { readonly kind: 'time.passed' };

export type FleetEventKind = FleetEvent['kind'];
