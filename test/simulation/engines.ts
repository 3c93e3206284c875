/** The driver and its engines: processes with memory, starts that take time, and everything that goes wrong with them. */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FoundReplica, StartMilestone } from '../../src/core/events.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import type { StartFailureCause } from '../../src/errors.ts';
import { SECOND, type Bytes, type Milliseconds } from '../../src/units.ts';
import { DeviceMemory } from './device-memory.ts';
import { foreignBytes, newEngine, sawNothing, Truths, type Engine, type Launch } from './engine.ts';
import type { Kernel } from './kernel.ts';
import { Random } from './random.ts';
import type { Scenario, SimulatedModel, StartFault, StopFault } from './scenario.ts';

type Stop = Extract<FleetEffect, { kind: 'replica.stop' }>;

interface StartOrder {
  readonly fault: StartFault;
  readonly cause: StartFailureCause;
  readonly share: number;
}

const HEALTH_PERIOD = 5_000;
/** Of a load: when it looks at free memory, and when it has measured. */
const LOOKS = 0.2;
const HAS_MEASURED = 0.7;
/** Of what it takes in the end, as soon as its weights are loaded. */
const WEIGHTS = 0.6;
/** How long the driver waits for memory to be seen back. */
const MEMORY_WAIT = 60 * SECOND;

export class Engines {
  readonly all = new Map<string, Engine>();
  readonly memory: DeviceMemory;
  readonly truths: Truths;
  /** While faults are on; orders that come too late are void. */
  faults = true;
  /** Told when memory that nobody knew the owner of is free again. */
  swept: () => void = () => undefined;
  readonly #kernel: Kernel;
  readonly #latencyMs: number;
  readonly #random: Random;
  readonly #eyes: Random;
  readonly #models: ReadonlyMap<string, SimulatedModel>;
  readonly #startOrders = new Map<string, StartOrder[]>();
  readonly #stopOrders = new Map<string, { fault: StopFault; lastsMs: number }[]>();

  constructor(kernel: Kernel, scenario: Scenario) {
    this.#kernel = kernel;
    this.#latencyMs = scenario.latencyMs;
    this.#random = new Random(scenario.seed, 'engines');
    this.#eyes = new Random(scenario.seed, 'eyes');
    this.truths = new Truths(scenario);
    this.#models = new Map(scenario.models.map((model) => [model.settings.name, model]));
    this.memory = new DeviceMemory(kernel, scenario.devices);
  }

  orderStart(model: string, order: StartOrder): void {
    this.#startOrders.set(model, [...(this.#startOrders.get(model) ?? []), order]);
  }

  orderStop(model: string, fault: StopFault, lastsMs: number): void {
    this.#stopOrders.set(model, [...(this.#stopOrders.get(model) ?? []), { fault, lastsMs }]);
  }

  living(): Engine[] {
    return [...this.all.values()].filter((engine) => engine.phase !== 'exited' && engine.phase !== 'gone');
  }

  of(model: string): Engine[] {
    return this.living().filter((engine) => engine.model === model);
  }

  launch(effect: Launch): void {
    const { id } = effect.replica;
    const model = this.#models.get(effect.model);
    const engine = newEngine(effect, model, {
      truth: this.truths.of(effect, model),
      foreseen: foreignBytes(this.#kernel.state),
      now: this.#kernel.now,
      life: this.#kernel.life,
      pid: this.all.size + 1,
    });
    this.#kernel.check('I-88', !this.all.has(id), () => `${id} is launched twice`);
    this.all.set(id, engine);
    const order = this.faults ? this.#startOrders.get(effect.model)?.shift() : undefined;
    this.#kernel.after(this.#latency(), () => this.#spawned(engine, model?.loadMs ?? 10_000, order));
  }

  #spawned(engine: Engine, loadMs: Milliseconds, order: StartOrder | undefined): void {
    if (engine.phase !== 'spawning') return;
    if (order?.fault === 'never_spawns') {
      engine.phase = 'exited';
      this.#tell(engine, {
        kind: 'replica.start_failed',
        replica: engine.ref,
        cause: order.cause,
        message: 'no launch',
      });
      return;
    }
    engine.phase = 'loading';
    this.#tell(engine, { kind: 'replica.launched', replica: engine.ref, endpoint: engine.endpoint });
    const jitter = 0.8 + this.#random.next() * 0.4;
    const whole = order ? loadMs : loadMs * jitter;
    const until = order ? loadMs * order.share : whole;
    for (let share = 0.25; share < 1; share += 0.25) {
      this.#kernel.after(until * share, () => this.#progress(engine, share, null));
    }
    const looks = whole * LOOKS;
    const measured = whole * HAS_MEASURED;
    if (looks < until) this.#kernel.after(looks, () => this.#looks(engine));
    if (measured < until) this.#kernel.after(measured, () => this.#hasMeasured(engine));
    this.#kernel.after(until, () => (order ? this.#failStart(engine, order) : this.#becomeReady(engine)));
  }

  /** It sees what is free, and begins to fill it. */
  #looks(engine: Engine): void {
    if (engine.phase !== 'loading' || this.memory.holds(engine).size > 0) return;
    if (engine.milestones) engine.window = 'measuring';
    const weights = [...engine.steady].map(([id, bytes]) => [id, Math.ceil(bytes * WEIGHTS)] as const);
    if (!this.memory.set(engine, new Map(weights))) return this.#outOfMemory(engine, 0);
    this.#progress(engine, LOOKS, engine.milestones ? 'loading' : null, this.#latency());
  }

  #hasMeasured(engine: Engine): void {
    if (engine.phase !== 'loading' || engine.window === 'after') return;
    if (!this.memory.set(engine, engine.peak)) return this.#outOfMemory(engine, Math.ceil(this.#most(engine) / 10));
    this.memory.set(engine, engine.steady);
    engine.window = 'after';
    this.#progress(engine, HAS_MEASURED, engine.milestones ? 'profiled' : null, this.#latency());
  }

  #most(engine: Engine): Bytes {
    return Math.max(0, ...engine.peak.values());
  }

  #outOfMemory(engine: Engine, shortage: Bytes): void {
    this.#exit(engine);
    const message = 'it ran out of memory.';
    const { ref: replica } = engine;
    this.#tell(engine, { kind: 'replica.start_failed', replica, cause: 'out_of_memory', message, shortage });
  }

  #progress(engine: Engine, fraction: number, milestone: StartMilestone | null, delay: Milliseconds = 0): void {
    if (engine.phase !== 'loading') return;
    this.#tell(engine, { kind: 'replica.progressed', replica: engine.ref, phase: 'load', fraction, milestone }, delay);
  }

  #becomeReady(engine: Engine): void {
    if (engine.phase !== 'loading') return;
    engine.phase = 'ready';
    const { life } = this.#kernel;
    // After what it has said of its start: its log is read in order.
    this.#kernel.after(this.#latencyMs + this.#latency(), () => {
      if (engine.life !== life || life !== this.#kernel.life) return;
      this.#kernel.step({ kind: 'replica.ready', replica: engine.ref });
      this.#measureLater(engine);
    });
  }

  #measureLater(engine: Engine): void {
    const { life } = this.#kernel;
    this.#kernel.after(this.#eyes.int(200, 20_000), () => {
      if (engine.life === life && life === this.#kernel.life) this.measure(engine);
    });
  }

  /** Somebody looks at what it takes, where that can be seen. */
  measure(engine: Engine): void {
    const model = this.#models.get(engine.model);
    const { state } = this.#kernel;
    const steady = this.memory.holds(engine);
    if (engine.phase !== 'ready' || !model || model.measured === 'never' || steady.size === 0) return;
    if ([...steady.keys()].some((id) => !state.devices.has(id))) return;
    if (this.faults && this.#eyes.chance(0.1)) this.#kernel.step(sawNothing(engine));
    const learnable = engine.bornIn === this.#kernel.life && engine.reservations.has([...steady.keys()][0] ?? '');
    const footprint = learnable ? this.truths.footprint(engine, model, this.#kernel.now) : null;
    this.#kernel.step({ kind: 'replica.measured', replica: engine.ref, steady, footprint });
  }

  #failStart(engine: Engine, { fault, cause, share }: StartOrder): void {
    if (engine.phase !== 'loading') return;
    switch (fault) {
      case 'hangs':
      case 'never_spawns':
        return;
      case 'crawls':
        if (engine.stopAsked) return;
        this.#progress(engine, 0.5, null);
        this.#kernel.after(5_000, () => this.#failStart(engine, { fault, cause, share: 1 }));
        return;
      case 'port_taken':
        this.#exit(engine);
        this.#tell(engine, {
          kind: 'replica.start_failed',
          replica: engine.ref,
          cause: 'port_in_use',
          message: 'its port is taken',
        });
        return;
      case 'dies':
        this.#looks(engine);
        this.#hasMeasured(engine);
        this.#becomeReady(engine);
        this.#kernel.after(500 + 10_000 * share, () => this.crash(engine));
        return;
      case 'fails':
        this.#tell(engine, { kind: 'replica.start_failed', replica: engine.ref, cause, message: 'said no' });
        return;
      case 'exits':
        this.crash(engine, cause);
    }
  }

  /** The process dies by itself. */
  crash(engine: Engine, cause: StartFailureCause = 'crashed', unsaid = false): void {
    if (engine.phase !== 'loading' && engine.phase !== 'ready') return;
    this.#exit(engine);
    if (unsaid && engine.watched) return;
    const delay = this.#random.chance(0.5) ? 0 : this.#random.int(0, 500);
    this.#tell(engine, { kind: 'replica.exited', replica: engine.ref, detail: 'it ended by itself', cause }, delay);
  }

  #exit(engine: Engine): void {
    engine.phase = 'exited';
    const cut = [...engine.work.values()];
    engine.work.clear();
    for (const lost of cut) lost();
  }

  stop(effect: Stop): void {
    const engine = this.all.get(effect.replica.id);
    if (!engine) {
      // It never was launched: there was no port for it.
      this.#kernel.post({ kind: 'replica.stopped', replica: effect.replica }, this.#latency());
      return;
    }
    this.#kernel.check(
      'I-33',
      !engine.stopAsked || engine.life !== this.#kernel.life,
      () => `${effect.replica.id} is stopped twice`,
    );
    engine.stopAsked = true;
    engine.life = this.#kernel.life;
    const order = this.faults ? this.#stopOrders.get(engine.model)?.shift() : undefined;
    const gone = engine.phase === 'exited' || engine.phase === 'spawning';
    const quick = gone ? this.#latency() : this.#random.int(5, Math.min(3_000, effect.timeout));
    if (order?.fault === 'stuck') return this.#kernel.after(effect.timeout, () => this.#stuck(engine, order.lastsMs));
    if (order?.fault === 'late') return this.#kernel.after(quick, () => this.#endsLate(engine, order.lastsMs));
    const slow = order?.fault === 'slow' ? Math.min(order.lastsMs, effect.timeout) : quick;
    this.#kernel.after(slow, () => this.#ended(engine));
  }

  #ended(engine: Engine): void {
    if (engine.phase === 'gone') return;
    const wasAlive = engine.phase === 'loading' || engine.phase === 'ready';
    if (!engine.stopAsked) {
      // An earlier life of the gateway asked for it; this one sees an engine that dies.
      this.crash(engine);
      return;
    }
    this.#exit(engine);
    // Drivers tell of every end, asked or not.
    if (wasAlive && this.#random.chance(0.5)) {
      this.#tell(engine, { kind: 'replica.exited', replica: engine.ref, detail: 'asked to', cause: 'crashed' });
    }
    this.#kernel.after(this.#random.int(0, 2_000), () => this.#gone(engine));
  }

  /** Nothing of it is left but its memory. */
  #endsLate(engine: Engine, lastsMs: Milliseconds): void {
    if (engine.phase === 'gone') return;
    this.#exit(engine);
    this.#kernel.after(lastsMs, () => this.#gone(engine));
    if (lastsMs <= MEMORY_WAIT) return;
    const detail = '12GiB are still seen.';
    this.#kernel.after(MEMORY_WAIT, () =>
      this.#tell(engine, { kind: 'replica.stop_failed', replica: engine.ref, detail }),
    );
  }

  #gone(engine: Engine): void {
    if (engine.phase === 'gone') return;
    engine.phase = 'gone';
    this.memory.give(engine);
    this.all.delete(engine.ref.id);
    this.#tell(engine, { kind: 'replica.stopped', replica: engine.ref });
  }

  #stuck(engine: Engine, lastsMs: Milliseconds): void {
    this.#tell(engine, { kind: 'replica.stop_failed', replica: engine.ref, detail: 'it does not go away' });
    this.#kernel.after(lastsMs, () => this.#ended(engine));
  }

  /** The gateway of this life asks whether what it found is ready. */
  adopt(ref: ReplicaRef): void {
    const engine = this.all.get(ref.id);
    if (!engine || engine.phase === 'exited') {
      const detail = 'it was gone before it could be adopted';
      this.#kernel.post({ kind: 'replica.exited', replica: ref, detail, cause: 'crashed' }, this.#latency());
      return;
    }
    engine.life = this.#kernel.life;
    if (engine.phase !== 'ready') return;
    this.#tell(engine, { kind: 'replica.ready', replica: ref }, this.#latency());
    this.#measureLater(engine);
  }

  /** What a new life of the gateway finds. */
  found(adoptable: boolean, lost = 0): FoundReplica[] {
    const seen: FoundReplica[] = [];
    for (const engine of this.all.values()) {
      if (engine.phase === 'gone') continue;
      // Nobody knows of it any more: it holds what it holds, until somebody ends it by hand.
      if (engine.forgotten || this.#eyes.next() * 100 < lost) {
        this.#forget(engine);
        continue;
      }
      engine.stopAsked = false;
      engine.watched = false;
      const alive = engine.phase !== 'exited' && engine.phase !== 'spawning';
      if (engine.phase === 'spawning') engine.phase = 'exited';
      seen.push({
        ...engine.ref,
        model: engine.model,
        specHash: engine.specHash,
        reservations: engine.reservations,
        share: engine.share,
        port: engine.port,
        endpoint: engine.endpoint,
        usable: alive && adoptable ? true : 'it does not hold our key',
        ageMs: null,
      });
    }
    return seen;
  }

  #forget(engine: Engine): void {
    if (engine.forgotten) return;
    engine.forgotten = true;
    engine.watched = false;
    this.#kernel.after(this.#eyes.int(10, 300) * SECOND, () => this.sweep(engine));
  }

  /** By hand, without the gateway. */
  sweep(engine: Engine): void {
    if (engine.phase === 'gone') return;
    engine.phase = 'gone';
    this.memory.give(engine);
    this.all.delete(engine.ref.id);
    this.swept();
  }

  watch(ref: ReplicaRef): void {
    const engine = this.all.get(ref.id);
    if (!engine) return;
    engine.watched = true;
    const { life } = engine;
    const look = (): void => {
      if (!engine.watched || engine.life !== life || engine.phase === 'gone') return;
      this.#look(engine);
      this.#kernel.after(HEALTH_PERIOD, look);
    };
    this.#kernel.after(this.#random.int(1, HEALTH_PERIOD), look);
  }

  unwatch(ref: ReplicaRef): void {
    const engine = this.all.get(ref.id);
    if (engine) engine.watched = false;
  }

  #look(engine: Engine): void {
    const refused = engine.sick || engine.phase !== 'ready';
    const moving = engine.work.size > 0 && engine.hungSince === Infinity;
    const report = {
      health: refused ? 'refused' : engine.slowHealth ? 'slow' : 'ok',
      countersMoved: engine.hasCounters ? moving : null,
      // A long prefill moves counters and no byte.
      bytesMoved: moving && (!engine.hasCounters || this.#random.chance(0.5)),
    } as const;
    this.#tell(engine, { kind: 'replica.checked', replica: engine.ref, report }, this.#latency());
  }

  #tell(engine: Engine, event: Parameters<Kernel['post']>[0], delay: Milliseconds = 0): void {
    if (engine.life === this.#kernel.life) this.#kernel.post(event, delay);
  }

  #latency(): Milliseconds {
    return this.#random.int(0, this.#latencyMs);
  }
}
