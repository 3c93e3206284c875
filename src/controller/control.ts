/** What the control plane may see and ask. Implemented by the controller. */
import type { Decision } from '../core/effects.ts';
import type { PlanReport } from '../core/memory/plan-report.ts';
import type { FleetSnapshot } from '../core/snapshot.ts';
import type { GatewayError } from '../errors.ts';
import type { LogOptions } from '../drivers/driver.ts';

export interface JournalEntry extends Decision {
  /** Counts from 1 for the life of the process. */
  readonly seq: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** How a command ended; with `wait` after its effect, without it after its decision. */
export type CommandResult =
  { readonly ok: true; readonly state: string } | { readonly ok: false; readonly error: GatewayError };

export interface CommandOptions {
  readonly wait: boolean;
  readonly signal: AbortSignal;
}

export interface FleetControl {
  snapshot(): FleetSnapshot;
  /** What would go where if it were asked for now: of all models, or of one. Changes nothing. */
  plan(model?: string): PlanReport;
  load(model: string, options: CommandOptions): Promise<CommandResult>;
  /** Drains, then stops; waiting tickets of the model start it again. */
  unload(model: string, options: CommandOptions): Promise<CommandResult>;
  pin(model: string, options: CommandOptions): Promise<CommandResult>;
  unpin(model: string, options: CommandOptions): Promise<CommandResult>;
  /** Every decision from now on. */
  subscribe(listener: (entry: JournalEntry) => void): Disposable;
  /** The last decisions, oldest first, bounded. */
  recent(): readonly JournalEntry[];
  /** Of a replica, also of one that is gone, or of the newest one of a model. Undefined where there was none. */
  logs(replicaId: string, options: LogOptions): AsyncIterable<string> | undefined;
  /** Can work be accepted; if not, or only in part, why. */
  health(): { readonly ready: boolean; readonly reasons: readonly string[] };
}
