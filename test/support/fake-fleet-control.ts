/** A FleetControl that says what a test wants and records what it was asked. */
import type { CommandOptions, CommandResult, FleetControl, JournalEntry } from '../../src/controller/control.ts';
import type { Decision } from '../../src/core/effects.ts';
import type { PlanReport } from '../../src/core/memory/plan-report.ts';
import type { FleetSnapshot } from '../../src/core/snapshot.ts';
import type { LogOptions } from '../../src/drivers/driver.ts';
import { fleetSnapshot } from './fleet-snapshot.ts';

export interface AskedCommand extends CommandOptions {
  readonly command: 'load' | 'unload' | 'pin' | 'unpin';
  readonly model: string;
}

export class FakeFleetControl implements FleetControl {
  fleet: FleetSnapshot = fleetSnapshot();
  report: PlanReport = { placement_mode: 'budget', eviction: 'lru', devices: {}, models: {} };
  reasons: readonly string[] = [];
  ready = true;
  readonly asked: AskedCommand[] = [];
  readonly askedLogs: (LogOptions & { readonly replica: string })[] = [];
  /** What commands answer. */
  result: (asked: AskedCommand) => CommandResult | Promise<CommandResult> = () => ({ ok: true, state: 'starting' });
  /** Log lines by replica. */
  lines: (replica: string, options: LogOptions) => AsyncIterable<string> | undefined = () => undefined;
  readonly listeners = new Set<(entry: JournalEntry) => void>();
  readonly journal: JournalEntry[] = [];
  snapshots = 0;

  snapshot(): FleetSnapshot {
    this.snapshots += 1;
    return this.fleet;
  }

  plan(model?: string): PlanReport {
    const { models, ...rest } = this.report;
    if (model === undefined) return this.report;
    return { ...rest, models: Object.fromEntries(Object.entries(models).filter(([name]) => name === model)) };
  }

  load = (model: string, options: CommandOptions): Promise<CommandResult> => this.#ask('load', model, options);
  unload = (model: string, options: CommandOptions): Promise<CommandResult> => this.#ask('unload', model, options);
  pin = (model: string, options: CommandOptions): Promise<CommandResult> => this.#ask('pin', model, options);
  unpin = (model: string, options: CommandOptions): Promise<CommandResult> => this.#ask('unpin', model, options);

  subscribe(listener: (entry: JournalEntry) => void): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => void this.listeners.delete(listener) };
  }

  recent(): readonly JournalEntry[] {
    return this.journal;
  }

  logs(replica: string, options: LogOptions): AsyncIterable<string> | undefined {
    this.askedLogs.push({ ...options, replica });
    return this.lines(replica, options);
  }

  health(): { readonly ready: boolean; readonly reasons: readonly string[] } {
    return { ready: this.ready, reasons: this.reasons };
  }

  decide(decision: Partial<Decision> & { readonly kind: string }): void {
    const filled = { model: null, replica: null, reason: 'because', ...decision };
    const entry: JournalEntry = { ...filled, seq: this.journal.length + 1, at: 1_769_000_000_000 };
    this.journal.push(entry);
    for (const listener of this.listeners) listener(entry);
  }

  async #ask(command: AskedCommand['command'], model: string, options: CommandOptions): Promise<CommandResult> {
    const asked = { command, model, ...options };
    this.asked.push(asked);
    return this.result(asked);
  }
}
