/** Everything the core may ask of the shell. Plain data, performed in order after the step that returned it. */
import type { GatewayError } from '../errors.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import type { LaunchShare } from './launch.ts';
import type { StartTimes } from './lifecycle/start-times.ts';
import type { Footprint } from './memory/footprint.ts';
import type { Endpoint, ReplicaRef, StopReason } from './state.ts';

/** A decision for people: `GET /gateway/events`, the log, the dashboard. */
export interface Decision {
  /** e.g. `replica.reserved`, `replica.evicted`, `model.backing_off`; `noun.verb`. */
  readonly kind: string;
  readonly model: string | null;
  readonly replica: string | null;
  /** One sentence that says why. */
  readonly reason: string;
  readonly detail?: Readonly<Record<string, string | number | boolean | null>>;
}

export type FleetEffect =
  | {
      readonly kind: 'ticket.granted';
      readonly id: string;
      readonly replica: ReplicaRef;
      readonly model: string;
      readonly queuedMs: Milliseconds;
      readonly coldStartMs: Milliseconds;
    }
  | { readonly kind: 'ticket.refused'; readonly id: string; readonly error: GatewayError }
  /** The ticket waits; `depth` includes it. */
  | { readonly kind: 'ticket.queued'; readonly id: string; readonly depth: number }
  /** End this lease now with this error (framed when its head is out); its release still follows. */
  | { readonly kind: 'lease.cut'; readonly id: string; readonly error: GatewayError }
  | { readonly kind: 'retry.answered'; readonly id: string; readonly granted: boolean }
  | {
      readonly kind: 'replica.launch';
      readonly replica: ReplicaRef;
      readonly model: string;
      readonly specHash: string;
      readonly reservations: ReadonlyMap<string, Bytes>;
      readonly share: LaunchShare;
      readonly port: number | null;
    }
  /** Find the model's size if it has `sizing`, and make its image and weights present; answered by `model.prepared` … */
  | { readonly kind: 'model.prepare'; readonly model: string }
  /** … unless nobody wants it any more: end it, without an answer. */
  | { readonly kind: 'model.prepare_cancelled'; readonly model: string }
  /** Write it down. */
  | { readonly kind: 'footprint.learned'; readonly footprint: Footprint }
  | { readonly kind: 'start.learned'; readonly times: StartTimes }
  | {
      readonly kind: 'replica.stop';
      readonly replica: ReplicaRef;
      readonly model: string;
      readonly reason: StopReason;
      /** From SIGTERM to verified gone. */
      readonly timeout: Milliseconds;
      /** It never was ready: SIGTERM may be lost (vllm-engine §10.1), so kill early. */
      readonly starting: boolean;
      /** The process is already gone: verify the tree and the memory only. */
      readonly exited: boolean;
    }
  /** An earlier gateway process started it: watch its process and prove that it is ready. */
  | {
      readonly kind: 'replica.adopt';
      readonly replica: ReplicaRef;
      readonly model: string;
      readonly endpoint: Endpoint;
    }
  /** Look after a ready replica from now on (health, counters) … */
  | { readonly kind: 'replica.watch'; readonly replica: ReplicaRef; readonly model: string }
  /** … and no longer. */
  | { readonly kind: 'replica.unwatch'; readonly replica: ReplicaRef }
  | { readonly kind: 'pins.changed'; readonly pinned: readonly string[] }
  | { readonly kind: 'decision'; readonly decision: Decision }
  /** Shutdown only: nothing is waiting, leased or left to stop. */
  | { readonly kind: 'shutdown.done' };

export type FleetEffectKind = FleetEffect['kind'];
