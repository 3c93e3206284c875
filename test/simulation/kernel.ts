/**
 * The loop of a simulated run: virtual time, the real core, cheap checks of what each event touched, full recounts now and
 * then, and a trace of it all.
 */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FleetEvent } from '../../src/core/events.ts';
import { emptyFleet } from '../../src/core/fleet.ts';
import { checkInvariants, type Violation } from '../../src/core/invariants.ts';
import type { FleetSettings } from '../../src/core/settings.ts';
import type { FleetState } from '../../src/core/state.ts';
import { step } from '../../src/core/step.ts';
import type { Milliseconds } from '../../src/units.ts';
import { Agenda } from './agenda.ts';
import { Random } from './random.ts';
import { Trace } from './trace.ts';

/** Ends a run at its first broken promise. */
export class SimulationFailure extends Error {
  readonly violation: Violation;
  readonly at: Milliseconds;
  constructor(violation: Violation, at: Milliseconds) {
    super(`${violation.id} at ${at} ms: ${violation.message}`);
    this.name = 'SimulationFailure';
    this.violation = violation;
    this.at = at;
  }
}

/** Sees every step: before it with the state as it was, after it with what it decided. */
export interface Observer {
  before?(event: FleetEvent): void;
  /**
   * Constant time, but for what the step itself has changed. `quiet`: a request came, went on or ended, and no replica, model
   * or device had a part in it.
   */
  after(event: FleetEvent, effects: readonly FleetEffect[], quiet: boolean): void;
  /** Looks at everything. */
  recount?(): void;
}

/** Full recounts come so many events apart where nothing else is said. */
export const RECOUNT_EVERY = 256;

const OF_REQUESTS: ReadonlySet<string> = new Set<FleetEffect['kind']>([
  'ticket.granted',
  'ticket.queued',
  'ticket.refused',
  'retry.answered',
]);

function isQuiet(event: FleetEvent, effects: readonly FleetEffect[]): boolean {
  switch (event.kind) {
    case 'ticket.arrived':
    case 'ticket.abandoned':
    case 'lease.released':
    case 'retry.asked':
      for (let index = 0; index < effects.length; index += 1) {
        if (!OF_REQUESTS.has(effects[index]?.kind ?? 'decision')) return false;
      }
      return true;
    default:
      return false;
  }
}

export interface KernelOptions {
  readonly seed: number;
  readonly settings: FleetSettings;
  readonly timerLagMs: number;
  /** Full recounts so many events apart; after every event when nothing is said. */
  readonly checkEvery?: number;
  readonly maxEvents?: number;
  readonly trace?: (line: string) => void;
}

export class Kernel {
  now: Milliseconds = 0;
  state: FleetState;
  /** Counts lives of the gateway: what was meant for an earlier one never arrives. */
  life = 0;
  events = 0;
  readonly trace: Trace;
  readonly observers: Observer[] = [];
  /** Performs effects; may post events, later. */
  perform: (effect: FleetEffect) => void = () => undefined;
  readonly #agenda = new Agenda();
  readonly #options: KernelOptions;
  readonly #checkEvery: number;
  readonly #maxEvents: number;
  #untilRecount: number;
  readonly #order: Random;
  readonly #core: Random;
  readonly #timers: Random;
  #before: readonly Observer[] = [];
  #observed = 0;
  /** While the gateway is stopped. */
  #backlog: FleetEvent[] | null = null;
  readonly #withdrawn = new WeakSet<FleetEvent>();
  readonly #draw = (): number => this.#core.next();
  #wakeAt: Milliseconds | null = null;

  constructor(options: KernelOptions) {
    this.#options = options;
    this.#checkEvery = options.checkEvery ?? 1;
    this.#untilRecount = this.#checkEvery;
    this.#maxEvents = options.maxEvents ?? 400_000;
    this.#order = new Random(options.seed, 'order');
    this.#core = new Random(options.seed, 'core');
    this.#timers = new Random(options.seed, 'timers');
    this.trace = new Trace(options.trace);
    this.state = emptyFleet(options.settings, 0);
  }

  /** A new life with an empty fleet; nothing that was under way in the old one is heard of again. */
  rebirth(settings: FleetSettings): void {
    this.life += 1;
    this.#wakeAt = null;
    this.#backlog = null;
    this.state = emptyFleet(settings, this.now);
  }

  after(delay: Milliseconds, act: () => void): void {
    this.#agenda.add(this.now + Math.max(0, Math.round(delay)), this.#order.next(), act);
  }

  /** The machine sleeps: time goes on, and everything that was due meanwhile comes late, in order, when it wakes. */
  suspend(span: Milliseconds): void {
    this.now += Math.round(span);
  }

  /** The gateway alone is stopped, and goes on later: what it is told meanwhile reaches it then. */
  freeze(span: Milliseconds): void {
    const { life } = this;
    this.#backlog ??= [];
    this.after(span, () => {
      if (life === this.life) this.thaw();
    });
  }

  /** What is told now is heard later. */
  get frozen(): boolean {
    return this.#backlog !== null;
  }

  thaw(): void {
    const backlog = this.#backlog ?? [];
    this.#backlog = null;
    for (const event of backlog) if (!this.#withdrawn.delete(event)) this.step(event);
  }

  /** What was told of this while the gateway stood still is not heard any more: who would have told it has been called off. */
  withdraw(told: Iterable<FleetEvent>): void {
    for (const event of told) this.#withdrawn.add(event);
  }

  /** Posts an event for this life of the gateway. */
  post(event: FleetEvent, delay: Milliseconds = 0): void {
    const { life } = this;
    this.after(delay, () => {
      if (life === this.life) this.step(event);
    });
  }

  fail(id: string, message: string): never {
    throw new SimulationFailure({ id, message }, this.now);
  }

  check(id: string, holds: boolean, message: () => string): void {
    if (!holds) this.fail(id, message());
  }

  step(event: FleetEvent): void {
    if (this.#backlog) {
      this.#backlog.push(event);
      return;
    }
    this.events += 1;
    if (this.events > this.#maxEvents) this.fail('livelock', 'too many events');
    for (const observer of this.#lookBefore()) observer.before?.(event);
    const effects = this.#stepCore(event);
    this.trace.note(this.now, event, effects);
    const quiet = isQuiet(event, effects);
    for (const observer of this.observers) observer.after(event, effects, quiet);
    this.#untilRecount -= 1;
    if (this.#untilRecount === 0) this.recount();
    for (const effect of effects) this.perform(effect);
    this.#arm();
  }

  #lookBefore(): readonly Observer[] {
    if (this.#observed !== this.observers.length) {
      this.#observed = this.observers.length;
      this.#before = this.observers.filter((observer) => observer.before !== undefined);
    }
    return this.#before;
  }

  recount(): void {
    this.#untilRecount = this.#checkEvery;
    const [violation] = checkInvariants(this.state);
    if (violation) this.fail(violation.id, violation.message);
    for (const observer of this.observers) observer.recount?.();
  }

  /** Runs everything due up to this time; with `until`, stops early once it holds. */
  runTo(time: Milliseconds, until?: () => boolean): void {
    for (;;) {
      if (until?.()) return;
      const at = this.#agenda.nextAt();
      if (at === undefined || at > time) break;
      const act = this.#agenda.take();
      this.now = Math.max(this.now, at);
      act?.();
    }
    this.now = Math.max(this.now, time);
  }

  #stepCore(event: FleetEvent): readonly FleetEffect[] {
    try {
      return step(this.state, event, { now: this.now, random: this.#draw });
    } catch (error) {
      return this.fail('throw', error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
  }

  #arm(): void {
    const next = this.state.deadlines.next();
    if (next === null) return;
    const lag = this.#options.timerLagMs > 0 ? this.#timers.int(0, this.#options.timerLagMs) : 0;
    const at = Math.max(this.now, next) + lag;
    if (this.#wakeAt !== null && this.#wakeAt <= at) return;
    this.#wakeAt = at;
    const { life } = this;
    this.after(at - this.now, () => {
      if (life !== this.life || this.#wakeAt !== at) return;
      this.#wakeAt = null;
      this.step({ kind: 'time.passed' });
    });
  }
}
