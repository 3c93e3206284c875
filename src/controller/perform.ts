/** One small function per effect. What it starts it owns, and ends with the start, the stop or the controller. */
import type { Decision, FleetEffect } from '../core/effects.ts';
import type { FleetEvent } from '../core/events.ts';
import type { Endpoint, FleetState, ReplicaRef } from '../core/state.ts';
import type { ExitReport } from '../drivers/driver.ts';
import type { ControllerOptions } from './controller.ts';
import type { DeviceMonitor } from './device-monitor.ts';
import type { HealthMonitor } from './health-monitor.ts';
import type { Journal } from './journal.ts';
import type { LeaseDesk } from './lease-desk.ts';
import { Measuring } from './measuring.ts';
import type { ModelRuntime } from './model-runtime.ts';
import { Preparing, type Unlisted } from './preparing.ts';
import { prove, start } from './starting.ts';
import { stopReplica } from './stopping.ts';

/** Log lines that a failure is classified from. */
const FAILURE_LINES = 400;

type Launch = Extract<FleetEffect, { kind: 'replica.launch' }>;
type Stop = Extract<FleetEffect, { kind: 'replica.stop' }>;

export interface PerformerOptions extends Omit<ControllerOptions, 'devices'> {
  readonly state: FleetState;
  readonly journal: Journal;
  readonly monitor: HealthMonitor;
  readonly devices: () => DeviceMonitor;
  readonly desk: LeaseDesk;
  readonly unlisted: Unlisted;
  readonly post: (event: FleetEvent) => void;
}

export class Performer {
  readonly shutdownDone: Promise<void>;
  readonly measuring: Measuring;
  readonly #options: PerformerOptions;
  readonly #preparing: Preparing;
  /** One per replica that is starting: aborted when the start has ended. */
  readonly #starts = new Map<string, AbortController>();
  readonly #watches: readonly Disposable[];
  readonly #closing = new AbortController();
  #resolveShutdown: () => void = () => {};

  constructor(options: PerformerOptions) {
    this.#options = options;
    this.shutdownDone = new Promise((resolve) => {
      this.#resolveShutdown = resolve;
    });
    const { platform, telemetry, devices } = options;
    this.measuring = new Measuring({
      ...options,
      platform,
      log: telemetry.log,
      monitor: devices,
      signal: this.#closing.signal,
    });
    this.#preparing = new Preparing(options);
    this.#watches = options.runtimes.drivers.map((driver) => driver.watch((exit) => void this.#exited(exit)));
  }

  close(): void {
    this.#closing.abort();
    this.#preparing.close();
    for (const controller of this.#starts.values()) controller.abort();
    for (const watch of this.#watches) watch[Symbol.dispose]();
  }

  perform(effect: FleetEffect): void {
    const { desk, journal, monitor, pools, savePins } = this.#options;
    switch (effect.kind) {
      case 'ticket.granted':
        return desk.granted(effect);
      case 'ticket.refused':
        return desk.refused(effect.id, effect.error);
      case 'lease.cut':
        return desk.cut(effect.id, effect.error);
      case 'ticket.queued':
      case 'retry.answered':
        // Taken by the gate in the same call.
        return;
      case 'replica.launch':
        return this.#launch(effect);
      case 'replica.adopt':
        return this.#adopt(effect.replica, effect.model, effect.endpoint);
      case 'replica.stop':
        return void this.#stop(effect);
      case 'model.prepare':
        return this.#preparing.prepare(effect.model);
      case 'model.prepare_cancelled':
        return this.#preparing.cancel(effect.model);
      case 'footprint.learned':
        return this.#options.saveFootprint(effect.footprint);
      case 'start.learned':
        return this.#options.saveStartTimes(effect.times);
      case 'replica.watch':
        return this.#watch(effect.replica, effect.model);
      case 'replica.unwatch':
        pools.left?.(effect.replica.id, effect.replica.generation);
        return monitor.unwatch(effect.replica.id);
      case 'pins.changed':
        return savePins(effect.pinned);
      case 'decision':
        journal.add(effect.decision);
        return this.#count(effect.decision);
      case 'shutdown.done':
        return this.#resolveShutdown();
    }
  }

  #launch(effect: Launch): void {
    const runtime = this.#options.runtimes.of(effect.model);
    if (!runtime) {
      this.#options.post({
        kind: 'replica.start_failed',
        replica: effect.replica,
        cause: 'bad_arguments',
        message: 'its model is not configured any more.',
      });
      return;
    }
    this.#begin(effect.replica, runtime, async (context) => {
      await this.measuring.begin(effect.replica, [...effect.reservations.keys()], effect.share);
      // It may have been given up meanwhile; from here on the driver knows of it.
      if (!context.signal.aborted) await start(context, effect);
    });
    this.#options.devices().hurry();
  }

  #adopt(replica: ReplicaRef, model: string, endpoint: Endpoint): void {
    const runtime = this.#options.runtimes.of(model);
    if (!runtime) return;
    runtime.driver.adopt(replica);
    this.#begin(replica, runtime, (context) => prove(context, replica, endpoint));
  }

  #begin(
    replica: ReplicaRef,
    runtime: ModelRuntime,
    run: (context: Parameters<typeof start>[0]) => Promise<void>,
  ): void {
    const { platform, telemetry, post } = this.#options;
    const controller = new AbortController();
    this.#starts.set(replica.id, controller);
    const context = {
      platform,
      telemetry,
      runtime,
      post: (event: FleetEvent): void => {
        post(event);
        // Between two milestones lies the peak.
        if (event.kind === 'replica.progressed' && event.milestone !== null) this.#sample();
      },
      signal: controller.signal,
    };
    run(context).catch((error: unknown) => {
      telemetry.log.error({ err: error, replica: replica.id }, 'a start ended unexpectedly');
      post({
        kind: 'replica.start_failed',
        replica,
        cause: 'crashed',
        message: 'the gateway could not follow its start.',
      });
    });
  }

  #sample(): void {
    const devices = this.#options.devices();
    // What goes wrong is told by the monitor.
    if (devices.observes) devices.look().catch(() => undefined);
  }

  #endStart(replicaId: string): void {
    this.#starts.get(replicaId)?.abort();
    this.#starts.delete(replicaId);
  }

  #watch(replica: ReplicaRef, model: string): void {
    const { state, runtimes, desk, monitor } = this.#options;
    this.#endStart(replica.id);
    const endpoint = state.replicas.get(replica.id)?.endpoint;
    const runtime = runtimes.of(model);
    if (!endpoint || !runtime) return;
    monitor.watch(replica, endpoint, runtime, desk.open(replica.id, runtime.upstream(replica, endpoint)));
    void this.measuring.ready(replica);
  }

  async #stop(effect: Stop): Promise<void> {
    const { telemetry, post, pools, desk, runtimes, state, devices } = this.#options;
    const { replica } = effect;
    this.#endStart(replica.id);
    this.measuring.forget(replica.id);
    const seen = state.replicas.get(replica.id);
    const places = [...(seen?.reservations.keys() ?? [])];
    this.measuring.moved(places);
    if (effect.exited) pools.destroy(replica.id);
    // Not its model's, which may have another one by now.
    const driver = seen ? runtimes.driverOf(seen.driver) : runtimes.of(effect.model)?.driver;
    const context = { ...this.#options, log: telemetry.log, monitor: devices(), driver, signal: this.#closing.signal };
    if (!(await stopReplica(context, effect))) return;
    this.measuring.moved(places);
    desk.forget(replica.id);
    post({ kind: 'replica.stopped', replica });
  }

  async #exited(exit: ExitReport): Promise<void> {
    const { state, runtimes, post, telemetry } = this.#options;
    const { replica } = exit;
    const seen = state.replicas.get(replica.id);
    if (!seen || seen.generation !== replica.generation) return;
    const runtime = runtimes.of(seen.model);
    if (seen.phase !== 'starting' || !runtime) {
      post({
        kind: 'replica.exited',
        replica,
        detail: `its engine ended without being asked (${exit.detail}).`,
        cause: 'crashed',
      });
      return;
    }
    try {
      const verdict = runtime.classifyFailure(await runtime.driver.tail(replica, FAILURE_LINES), exit);
      const { message: detail, cause, shortage } = verdict;
      post({ kind: 'replica.exited', replica, detail, cause, shortage });
    } catch (error) {
      telemetry.log.warn({ err: error, replica: replica.id }, 'its log cannot be read');
      post({
        kind: 'replica.exited',
        replica,
        detail: `its engine ended during the start (${exit.detail}).`,
        cause: 'crashed',
      });
    }
  }

  #count(decision: Decision): void {
    const { telemetry, state } = this.#options;
    const model = decision.model ?? 'unknown';
    const replica = decision.replica === null ? undefined : state.replicas.get(decision.replica);
    const lasted = replica?.launchedAt == null ? 0 : this.#options.platform.clock.monotonic() - replica.launchedAt;
    switch (decision.kind) {
      case 'replica.ready':
        telemetry.tracing?.starts.ended(decision.replica ?? '', 'ready', '');
        return telemetry.startEnded(model, 'ready', '', lasted);
      case 'replica.start_failed': {
        const cause = String(decision.detail?.['cause'] ?? 'crashed');
        telemetry.tracing?.starts.ended(decision.replica ?? '', 'failed', cause);
        return telemetry.startEnded(model, 'failed', cause, lasted);
      }
      case 'replica.evicted':
        return telemetry.evicted(model, 'evicted');
      case 'replica.fenced':
        return telemetry.evicted(model, 'turn');
      case 'replica.idle':
        return telemetry.evicted(model, 'idle');
    }
  }
}
