/** What the control plane asks: commands with an optional wait, the journal, logs and health, all over the one controller. */
import { planReport, type PlanReport } from '../core/memory/plan-report.ts';
import type { FleetSnapshot } from '../core/snapshot.ts';
import type { DriverKind } from '../core/settings.ts';
import type { ReplicaRef } from '../core/state.ts';
import type { LogOptions } from '../drivers/driver.ts';
import { gatewayError, type GatewayError } from '../errors.ts';
import type { CommandOptions, CommandResult, FleetControl, JournalEntry } from './control.ts';
import type { Controller } from './controller.ts';
import type { ModelRuntimes } from './model-runtime.ts';

/** Of so many replicas that are gone the log can still be asked for; drivers keep fewer files. */
const GONE_KEPT = 200;

interface LogSource extends ReplicaRef {
  readonly model: string;
  readonly driver: DriverKind;
}

export class Commands implements FleetControl {
  readonly #controller: Controller;
  readonly #runtimes: ModelRuntimes;
  readonly #reasons: () => readonly string[];
  /** Those that were started, the newest last, whether they are still there or not. */
  readonly #started = new Map<string, LogSource>();

  /** `reasons`: why the gateway as a whole cannot take work, from its parts. */
  constructor(controller: Controller, runtimes: ModelRuntimes, reasons: () => readonly string[]) {
    this.#controller = controller;
    this.#runtimes = runtimes;
    this.#reasons = reasons;
    controller.journal.subscribe(({ replica }) => this.#remember(replica));
  }

  snapshot(): FleetSnapshot {
    return this.#controller.snapshot();
  }

  plan(model?: string): PlanReport {
    return planReport(this.#controller.state, this.#controller.now, model);
  }

  async load(model: string, options: CommandOptions): Promise<CommandResult> {
    const refusal = this.#unstartable(model);
    if (refusal) return { ok: false, error: refusal };
    const seen = this.#controller.state.models.get(model)?.lastFailure?.at ?? null;
    this.#controller.post({ kind: 'model.load', model });
    return this.#until(model, options, (): CommandResult | null => {
      const found = this.#controller.state.models.get(model);
      if (!found) return { ok: false, error: notFound(model) };
      if (this.#controller.modelState(model) === 'ready') return { ok: true, state: 'ready' };
      if (this.#controller.state.shutdown && found.current === null) {
        return { ok: false, error: gatewayError('shutting_down', `Model '${model}' is not loaded: the gateway ends.`) };
      }
      const underWay = found.current !== null || found.preparation !== null || found.unplacedSince !== null;
      if (underWay || this.#controller.state.adopting) return null;
      if (found.lastFailure && found.lastFailure.at !== seen) {
        const { cause, message } = found.lastFailure;
        return {
          ok: false,
          error: gatewayError('model_start_failed', `Model '${model}' could not be started: ${message}`, { cause }),
        };
      }
      return {
        ok: false,
        error: gatewayError('no_capacity', found.lastPlanFailure ?? `Model '${model}' was not loaded.`),
      };
    });
  }

  async unload(model: string, options: CommandOptions): Promise<CommandResult> {
    const { replicas } = this.#controller.state;
    // Those that an earlier word or the idle clock has sent away already are waited for as well.
    const leaving = [...replicas.values()].filter((replica) => replica.model === model).map(({ id }) => id);
    this.#controller.post({ kind: 'model.unload', model, reason: 'unload' });
    return this.#until(model, options, (): CommandResult | null => {
      if (leaving.some((id) => replicas.has(id))) return null;
      return { ok: true, state: this.#controller.modelState(model) ?? 'cold' };
    });
  }

  async pin(model: string, options: CommandOptions): Promise<CommandResult> {
    const refusal = this.#unstartable(model);
    if (refusal) return { ok: false, error: refusal };
    this.#controller.post({ kind: 'model.pin', model, pinned: true });
    return options.wait ? this.load(model, options) : this.#now(model);
  }

  async unpin(model: string): Promise<CommandResult> {
    this.#controller.post({ kind: 'model.pin', model, pinned: false });
    return this.#now(model);
  }

  subscribe(listener: (entry: JournalEntry) => void): Disposable {
    return this.#controller.journal.subscribe(listener);
  }

  recent(): readonly JournalEntry[] {
    return this.#controller.journal.recent();
  }

  logs(replicaId: string, options: LogOptions): AsyncIterable<string> | undefined {
    const { replicas } = this.#controller.state;
    const replica = replicas.get(replicaId) ?? this.#started.get(replicaId) ?? this.#lastOf(replicaId);
    if (!replica) return undefined;
    return this.#runtimes.driverOf(replica.driver)?.logs({ id: replica.id, generation: replica.generation }, options);
  }

  #remember(id: string | null): void {
    const replica = id === null ? undefined : this.#controller.state.replicas.get(id);
    if (!replica || this.#started.has(replica.id)) return;
    const { generation, model, driver } = replica;
    this.#started.set(replica.id, { id: replica.id, generation, model, driver });
    const [oldest] = this.#started.keys();
    if (this.#started.size > GONE_KEPT && oldest !== undefined) this.#started.delete(oldest);
  }

  /** The newest replica of a model: why a start failed stands in the log of one that is gone. */
  #lastOf(model: string): LogSource | undefined {
    return [...this.#started.values()].findLast((started) => started.model === model);
  }

  health(): { readonly ready: boolean; readonly reasons: readonly string[] } {
    const { models, devices, shutdown } = this.#controller.state;
    const reasons = [...this.#reasons()];
    const sound = reasons.length === 0;
    if (shutdown) reasons.push('the gateway is shutting down');
    if (this.#controller.devices.trouble !== null) reasons.push(this.#controller.devices.trouble);
    for (const { id, quarantine, silent, unmeasured } of devices.values()) {
      const why = quarantine ?? (unmeasured ? null : silent);
      if (why !== null) reasons.push(`device ${id} takes no start: ${why}`);
    }
    const used = new Set([...models.values()].map(({ settings }) => settings.driver));
    for (const kind of used) {
      const trouble = this.#troubleOf(kind);
      if (trouble !== null) reasons.push(`driver ${kind}: ${trouble}`);
    }
    let startable = models.size === 0;
    for (const { name, settings } of models.values()) {
      if (settings.unstartable) reasons.push(`model '${name}' cannot be started: ${settings.unstartable.message}`);
      else if (this.#troubleOf(settings.driver) === null || this.#controller.modelState(name) === 'ready')
        startable = true;
    }
    return { ready: shutdown === null && startable && sound, reasons };
  }

  #troubleOf(kind: string): string | null {
    return this.#runtimes.driverOf(kind)?.trouble?.() ?? null;
  }

  #unstartable(model: string): GatewayError | null {
    const found = this.#controller.state.models.get(model);
    if (!found) return notFound(model);
    if (!found.settings.unstartable) return null;
    const { cause, message } = found.settings.unstartable;
    return gatewayError('model_start_failed', `Model '${model}' cannot be started: ${message}`, {
      cause,
      shouldRetry: false,
    });
  }

  #now(model: string): CommandResult {
    return { ok: true, state: this.#controller.modelState(model) ?? 'cold' };
  }

  /** Looks after every decision whether the command has come to its end. */
  #until(model: string, options: CommandOptions, look: () => CommandResult | null): Promise<CommandResult> {
    const first = look();
    if (first) return Promise.resolve(first);
    if (!options.wait || options.signal.aborted) return Promise.resolve(this.#now(model));
    return new Promise((resolve) => {
      const finish = (result: CommandResult): void => {
        subscription[Symbol.dispose]();
        options.signal.removeEventListener('abort', gone);
        resolve(result);
      };
      const gone = (): void => finish(this.#now(model));
      // A decision is told in the middle of a step's effects: look when they are all performed.
      const subscription = this.#controller.journal.subscribe(() =>
        queueMicrotask(() => {
          const result = look();
          if (result) finish(result);
        }),
      );
      options.signal.addEventListener('abort', gone, { once: true });
    });
  }
}

function notFound(model: string): GatewayError {
  return gatewayError('model_not_found', `Model '${model}' is not configured.`, { param: 'model' });
}
