/** What the controller must know to run one model: its driver and its engine, bound to its configuration by gateway.ts. */
import type { FoundReplica } from '../core/events.ts';
import type { FetchSpec, LaunchShare, LaunchSpec } from '../core/launch.ts';
import type { ModelSize } from '../core/memory/model-shape.ts';
import type { Endpoint, ReplicaRef } from '../core/state.ts';
import type { Driver } from '../drivers/driver.ts';
import type { EngineCounters, MemoryReport, Progress, StartFailureVerdict } from '../engines/engine.ts';
import type { Bytes } from '../units.ts';
import type { Upstream } from './gate.ts';

export interface LaunchRequest {
  readonly replica: ReplicaRef;
  readonly reservations: ReadonlyMap<string, Bytes>;
  readonly share: LaunchShare;
  readonly port: number | null;
}

export interface ModelRuntime {
  /** Its configured name. */
  readonly model: string;
  readonly driver: Driver;
  /** A server that others run: its requests find out whether it is there. */
  readonly readyAtOnce: boolean;
  /** null = any answer on the port proves it. */
  readonly healthPath: string | null;
  /** After health, `/v1/models` must list the served name: proof that the port is ours. */
  readonly listsModels: boolean;
  readonly servedName: string;
  launchSpec(request: LaunchRequest): LaunchSpec;
  upstream(replica: ReplicaRef, endpoint: Endpoint): Upstream;
  /** For health, metrics and model list: the engine's own key. */
  controlHeaders(replica: ReplicaRef): Readonly<Record<string, string>>;
  /** What its files say of it; never rejects. Null = it has no files that anybody knows. */
  size(): Promise<ModelSize> | null;
  /** Finds the tokenizer that its files lack, for the next launch; never rejects. */
  findTokenizer(): Promise<void>;
  /** What makes its image and files present; null = there is nothing to make present. */
  fetchSpec(): FetchSpec | null;
  /** Also learns the engine's version for the next launch, where the line says it. */
  readProgress(line: string): Progress | null;
  readMemoryReport(lines: readonly string[]): MemoryReport;
  readKvCacheTokens(metrics: string): number | null;
  readCounters(metrics: string): EngineCounters | null;
  classifyFailure(
    lines: readonly string[],
    exit: { readonly code: number | null; readonly signal: string | null },
  ): StartFailureVerdict;
}

export interface ModelRuntimes {
  /** Undefined for a model that is not configured any more. */
  of(model: string): ModelRuntime | undefined;
  /** A replica's driver, also when its model is gone from the configuration. */
  driverOf(kind: string): Driver | undefined;
  readonly drivers: readonly Driver[];
  /** Why nothing that `list` found may be adopted (the secret was lost), or null. */
  readonly adoptionBarred: string | null;
}

export type { FoundReplica };
