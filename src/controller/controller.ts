/**
 * One mailbox: event → step → perform. Events posted while effects are performed are appended; `step` never calls out.
 * It also keeps the one timer for everything that the core waits for.
 */
import type { FleetEffect } from '../core/effects.ts';
import type { FleetEvent } from '../core/events.ts';
import { emptyFleet } from '../core/fleet.ts';
import { checkInvariants } from '../core/invariants.ts';
import type { StartTimes } from '../core/lifecycle/start-times.ts';
import type { Footprint } from '../core/memory/footprint.ts';
import type { FleetSettings } from '../core/settings.ts';
import { snapshot, stateOfModel, type FleetSnapshot, type ModelState } from '../core/snapshot.ts';
import type { FleetState } from '../core/state.ts';
import { step } from '../core/step.ts';
import type { Platform } from '../platform/platform.ts';
import type { Probe } from '../probes/probe.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import { DeviceMonitor, type DeviceMonitorOptions } from './device-monitor.ts';
import { Fifo } from './fifo.ts';
import type { UpstreamPools } from './gate.ts';
import { HealthMonitor } from './health-monitor.ts';
import { Journal } from './journal.ts';
import { LeaseDesk } from './lease-desk.ts';
import type { ModelRuntimes } from './model-runtime.ts';
import { Performer } from './perform.ts';
import type { Unlisted } from './preparing.ts';
import { rehome } from './rehoming.ts';

/** A timer that fires so late: the process stood still, or the loop was blocked. */
const LATE: Milliseconds = SECOND;
const HEAR_FIRST: Milliseconds = SECOND / 4;

export interface ControllerOptions {
  readonly settings: FleetSettings;
  readonly runtimes: ModelRuntimes;
  readonly platform: Platform;
  readonly telemetry: Telemetry;
  readonly pools: UpstreamPools;
  /** Called when pins change; writes them down. */
  readonly savePins: (models: readonly string[]) => void;
  /** Called when something was learned of a model's memory; writes it down. */
  readonly saveFootprint: (footprint: Footprint) => void;
  /** Called when a start succeeded, with what starts of its kind take now; writes it down. */
  readonly saveStartTimes: (times: StartTimes) => void;
  readonly probe: Probe;
  /** How what the probe reads becomes settings. */
  readonly devices: Pick<DeviceMonitorOptions, 'settings' | 'checkNames' | 'known' | 'named'>;
  /** Told of a fault of the core: its state cannot be trusted any more, and the process has to end. */
  readonly bug?: (error: unknown) => void;
  /** Recounts the whole state after every step and throws on a difference: for tests. */
  readonly recount: boolean;
}

export class Controller {
  readonly state: FleetState;
  readonly journal: Journal;
  readonly desk: LeaseDesk;
  readonly monitor: HealthMonitor;
  readonly devices: DeviceMonitor;
  /** By driver that could not tell yet what an earlier run left: how it is asked again. Nothing is started before it has told. */
  readonly unlisted: Unlisted = new Map();
  readonly #options: ControllerOptions;
  readonly #performer: Performer;
  readonly #events = new Fifo<FleetEvent>();
  readonly #effects = new Fifo<FleetEffect>();
  #busy = false;
  #timer: { readonly at: Milliseconds; readonly handle: Disposable } | null = null;
  #closed = false;

  constructor(options: ControllerOptions) {
    this.#options = options;
    const { platform, telemetry } = options;
    this.state = emptyFleet(options.settings, platform.clock.monotonic());
    this.journal = new Journal(platform.clock, telemetry.log);
    const post = (event: FleetEvent): void => this.post(event);
    this.monitor = new HealthMonitor({
      platform,
      post,
      leasesOf: (id) => this.state.replicas.get(id)?.leases.size ?? 0,
    });
    this.desk = new LeaseDesk({
      state: this.state,
      clock: platform.clock,
      runtimes: options.runtimes,
      decide: (event) => this.#decide(event),
      post,
    });
    this.devices = new DeviceMonitor({
      ...options.devices,
      probe: options.probe,
      platform,
      log: telemetry.log,
      state: this.state,
      post,
      pidsOf: async ({ id, generation, driver }) =>
        (await options.runtimes.driverOf(driver)?.pids({ id, generation })) ?? [],
      looked: (look) => this.#performer.measuring.looked(look),
      recovered: (look) => rehome(this.state, post, look),
    });
    this.#performer = new Performer({
      ...options,
      devices: () => this.devices,
      unlisted: this.unlisted,
      state: this.state,
      journal: this.journal,
      monitor: this.monitor,
      desk: this.desk,
      post,
    });
  }

  get now(): Milliseconds {
    return this.#options.platform.clock.monotonic();
  }

  snapshot(): FleetSnapshot {
    return snapshot(this.state, this.now);
  }

  modelState(model: string): ModelState | undefined {
    return stateOfModel(this.state, model, this.now);
  }

  /** Tells the core; its effects are performed before this returns, unless it was called by one of them. */
  post(event: FleetEvent): void {
    if (this.#closed) return;
    this.#events.push([event]);
    if (!this.#busy) this.#drain();
  }

  /**
   * A new configuration, all of it in one step: what was decided before is done first, on what it was decided on; then
   * `swap` exchanges what belongs to the configuration and returns what the core is to decide on.
   */
  reconfigure(swap: () => FleetSettings): void {
    if (this.#closed) return;
    if (this.#busy) throw new Error('a configuration cannot be replaced in the middle of a step');
    this.#drain();
    this.post({ kind: 'settings.replaced', settings: swap() });
  }

  /** Resolves when the core says that the shutdown is complete. */
  get shutdownDone(): Promise<void> {
    return this.#performer.shutdownDone;
  }

  /** Ends every start, watch and retry of its own; posts nothing more. */
  close(): void {
    this.#closed = true;
    this.#timer?.handle[Symbol.dispose]();
    this.#timer = null;
    this.monitor.close();
    this.devices.close();
    this.#performer.close();
  }

  /**
   * Steps now and hands the effects to the caller, who takes what is its own; the rest is performed after it returned.
   * Null while effects are being performed: the caller posts instead and hears later.
   */
  #decide(event: FleetEvent): readonly FleetEffect[] | null {
    if (this.#busy || this.#closed) return null;
    const effects = this.#step(event);
    const rest = effects.filter((effect) => !this.desk.isOwn(event, effect));
    if (rest.length > 0) {
      this.#effects.push(rest);
      queueMicrotask(() => {
        if (!this.#busy) this.#drain();
      });
    } else {
      this.#rearm();
    }
    return effects;
  }

  #drain(): void {
    this.#busy = true;
    try {
      for (;;) {
        const effect = this.#effects.shift();
        if (effect) {
          this.#performer.perform(effect);
          continue;
        }
        const event = this.#events.shift();
        if (!event) break;
        this.#effects.push(this.#step(event));
      }
    } finally {
      this.#busy = false;
    }
    this.#rearm();
  }

  #step(event: FleetEvent): readonly FleetEffect[] {
    try {
      return this.#decided(event);
    } catch (error) {
      const { bug } = this.#options;
      if (bug) {
        // Whoever posted must not go on as if only it had failed; and nothing more is decided on what is left.
        this.#closed = true;
        bug(error);
      }
      throw error;
    }
  }

  #decided(event: FleetEvent): readonly FleetEffect[] {
    const { platform, telemetry, recount } = this.#options;
    const effects = step(this.state, event, { now: platform.clock.monotonic(), random: () => platform.random.next() });
    if (recount) {
      const [violation] = checkInvariants(this.state);
      if (violation) {
        telemetry.invariantViolated(violation.id, violation.message);
        throw new Error(`invariant ${violation.id} is broken after ${event.kind}: ${violation.message}`);
      }
    }
    return effects;
  }

  #rearm(): void {
    const at = this.state.deadlines.next();
    if (at === (this.#timer?.at ?? null) || this.#closed) return;
    this.#timer?.handle[Symbol.dispose]();
    this.#timer = null;
    if (at === null) return;
    // Timers may fire a fraction early; one millisecond more saves a second round.
    const { clock } = this.#options.platform;
    const passed = (): void => {
      this.#timer = null;
      this.post({ kind: 'time.passed' });
    };
    const due = (): void => {
      // The process stood still. Whoever asked meanwhile is heard first: nobody is idle whose request was not read yet.
      if (this.now - at > LATE) this.#timer = { at, handle: clock.after(HEAR_FIRST, passed) };
      else passed();
    };
    this.#timer = { at, handle: clock.after(Math.max(0, Math.ceil(at - this.now)), due) };
  }
}
