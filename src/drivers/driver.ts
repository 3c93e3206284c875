/**
 * How to run an engine. A driver decides nothing, retries nothing and keeps no fleet state; what it must remember over a
 * restart of the gateway it writes where it runs (records in `state_dir`, container labels). One contract suite,
 * `test/contract/driver-contract.ts`, holds for every driver.
 */
import type { FetchSpec, LaunchSpec } from '../core/launch.ts';
import type { DriverKind } from '../core/settings.ts';
import type { Endpoint, ReplicaRef } from '../core/state.ts';
import type { FoundReplica } from '../core/events.ts';
import type { StartFailureCause } from '../errors.ts';
import type { DockerSettings } from '../config/config.ts';
import type { Platform } from '../platform/platform.ts';
import type { Bytes, Milliseconds } from '../units.ts';

export interface ReplicaIdentity extends ReplicaRef {
  readonly model: string;
  readonly specHash: string;
  readonly reservations: ReadonlyMap<string, Bytes>;
}

export interface ExitReport {
  readonly replica: ReplicaRef;
  readonly code: number | null;
  readonly signal: string | null;
  /** For people: `exit code 1`, `killed by SIGKILL`. */
  readonly detail: string;
}

export interface StopOptions {
  /** From the first signal to verified gone. */
  readonly timeout: Milliseconds;
  /** It never was ready: SIGTERM, 2 s, SIGKILL to the group. */
  readonly starting: boolean;
  /** Called 2 s after SIGTERM: every open upstream socket must be cut, or the engine may wait for ever. */
  readonly cutConnections: () => void;
}

/** Rejections of `launch`; anything else is a bug. */
export class LaunchError extends Error {
  readonly failure: StartFailureCause;
  constructor(failure: StartFailureCause, message: string) {
    super(message);
    this.name = 'LaunchError';
    this.failure = failure;
  }
}

export interface FetchOptions {
  readonly signal: AbortSignal;
  /** `image`, `weights`; a fraction in [0, 1] when it is known. Each call proves that the fetch is alive. */
  readonly progress: (phase: 'image' | 'weights', fraction: number | null) => void;
}

export interface LogOptions {
  /** Last lines first to send; 0 = none. */
  readonly tail: number;
  readonly follow: boolean;
  readonly signal: AbortSignal;
}

export interface Driver {
  readonly kind: DriverKind;
  /**
   * Makes present what a launch needs: pulls the image when it is absent, then runs `argv` to its end where engines run.
   * Resolves with the digest of the image, null where there is none; rejects with LaunchError. Aborting ends all of it.
   */
  fetch(spec: FetchSpec, options: FetchOptions): Promise<{ readonly image: string | null }>;
  /** Process ids of its whole tree as the machine (and so `nvidia-smi`) numbers them; empty when unknown. */
  pids(replica: ReplicaRef): Promise<readonly number[]>;
  /** Idempotent by identity. Resolves when the process exists (not when it is ready). */
  launch(spec: LaunchSpec, identity: ReplicaIdentity): Promise<Endpoint>;
  /** Idempotent; resolves when nothing of it is left (whole tree); rejects when that cannot be had within the timeout. */
  stop(replica: ReplicaRef, options: StopOptions): Promise<void>;
  /** Everything of ours that is there, from before this process too. */
  list(): Promise<readonly FoundReplica[]>;
  /** Told of every exit of what this process launched or adopted, asked or not, once each. */
  watch(report: (exit: ExitReport) => void): Disposable;
  /** Start watching something that `list` found and the core adopted. */
  adopt(replica: ReplicaRef): void;
  /** Lines as written, without the newline. Ends at the end of the log, or with `follow` when the signal aborts or the replica is gone. */
  logs(replica: ReplicaRef, options: LogOptions): AsyncIterable<string>;
  /** Last lines of the log, for failure classification. */
  tail(replica: ReplicaRef, lines: number): Promise<readonly string[]>;
  /** Why nothing can be launched now (the daemon does not answer, …), for `/readyz`; null = as far as is known it can. */
  trouble?(): string | null;
  close(): Promise<void>;
}

/** What every driver is made from. */
export interface DriverContext {
  readonly platform: Platform;
  /** Absolute, or relative to the working folder of the gateway. */
  readonly stateDir: string;
  /** Identity of this gateway over restarts; marks what it launches. */
  readonly gatewayId: string;
  /** Size at which a log of the process driver is rotated; 16 MiB when left out. */
  readonly rotateLogsAt?: Bytes;
  /** Of the Docker driver; without them it cannot launch. */
  readonly docker?: DockerSettings;
  /** Told once of each thing that an operator should know: a fallback that was taken, a foreign container in the way. */
  readonly notice?: (text: string) => void;
}
