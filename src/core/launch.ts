/** What an engine wants run: the engine wrote it, the driver runs it as it is. */
import type { Bytes } from '../units.ts';

export interface LaunchSpec {
  readonly argv: readonly string[];
  /** Added to (process: over) the driver's own base environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly host: string;
  readonly port: number | null;
  /** External servers: where they are; argv is empty then. */
  readonly url: string | null;
  /** Uuids of the devices it may use; null = as the machine has them (nothing is pinned). */
  readonly deviceUuids: readonly string[] | null;
  /** Set for container drivers. */
  readonly container: ContainerSpec | null;
}

export interface ContainerSpec {
  readonly image: string;
  /** `source:target[:ro]`, besides the mounts of the driver's own settings. */
  readonly volumes: readonly string[];
  /** Null = the host's IPC namespace, as engines with several devices need it. */
  readonly shmSize: Bytes | null;
}

/** What makes a model's files present before a start: run to its end by the driver, in the engine's own surroundings. */
export interface FetchSpec {
  /** Null = only the image is looked after. */
  readonly argv: readonly string[] | null;
  readonly env: Readonly<Record<string, string>>;
  readonly container: ContainerSpec | null;
}

/** What the plan decided that the engine is told. */
export interface LaunchShare {
  /** How many devices one replica spans. */
  readonly tensorParallel: number;
  /** Share of each device's total, to four decimals; null = what the model is configured with. */
  readonly utilization: number | null;
  /** KV cache per device, as it was measured on an earlier run; null = the engine measures. */
  readonly kvCacheBytes: Bytes | null;
  /** Context length in tokens; null = the model's own. */
  readonly maxModelLen: number | null;
}
