/** The driver and its engines: processes with memory, starts that take time, and everything that goes wrong with them. */
import type { FleetEffect } from '../../src/core/effects.ts';
import type { FoundReplica } from '../../src/core/events.ts';
import type { Endpoint, ReplicaRef } from '../../src/core/state.ts';
import type { StartFailureCause } from '../../src/errors.ts';
import type { Bytes, Milliseconds } from '../../src/units.ts';
import { DeviceMemory } from './device-memory.ts';
import type { Kernel } from './kernel.ts';
import { Random } from './random.ts';
import type { Scenario, SimulatedModel, StartFault, StopFault } from './scenario.ts';

type Launch = Extract<FleetEffect, { kind: 'replica.launch' }>;
type Stop = Extract<FleetEffect, { kind: 'replica.stop' }>;

export interface Engine {
  readonly ref: ReplicaRef;
  readonly model: string;
  readonly specHash: string;
  readonly reservations: ReadonlyMap<string, Bytes>;
  readonly port: number | null;
  readonly endpoint: Endpoint;
  readonly hasCounters: boolean;
  phase: 'spawning' | 'loading' | 'ready' | 'exited' | 'gone';
  /** Answers health and nothing else. */
  hung: boolean;
  /** Health is refused. */
  sick: boolean;
  slowHealth: boolean;
  /** The life of the gateway that listens to it. */
  life: number;
  stopAsked: boolean;
  watched: boolean;
  /** Requests in hand, told when it dies. */
  readonly work: Map<string, () => void>;
}

interface StartOrder {
  readonly fault: StartFault;
  readonly cause: StartFailureCause;
  readonly share: number;
}

const HEALTH_PERIOD = 5_000;

export class Engines {
  readonly all = new Map<string, Engine>();
  readonly memory: DeviceMemory;
  /** While faults are on; orders that come too late are void. */
  faults = true;
  readonly #kernel: Kernel;
  readonly #latencyMs: number;
  readonly #random: Random;
  readonly #models: ReadonlyMap<string, SimulatedModel>;
  readonly #startOrders = new Map<string, StartOrder[]>();
  readonly #stopOrders = new Map<string, { fault: StopFault; lastsMs: number }[]>();

  constructor(kernel: Kernel, scenario: Scenario) {
    this.#kernel = kernel;
    this.#latencyMs = scenario.latencyMs;
    this.#random = new Random(scenario.seed, 'engines');
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
    const engine: Engine = {
      ref: effect.replica,
      model: effect.model,
      specHash: effect.specHash,
      reservations: effect.reservations,
      port: effect.port,
      endpoint: { origin: `sim://${id}`, pathPrefix: '', pid: this.all.size + 1, container: null },
      hasCounters: model?.hasCounters ?? true,
      phase: 'spawning',
      hung: false,
      sick: false,
      slowHealth: false,
      life: this.#kernel.life,
      stopAsked: false,
      watched: false,
      work: new Map(),
    };
    this.#kernel.check('I-88', !this.all.has(id), () => `${id} is launched twice`);
    this.memory.launchBegins(engine);
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
    this.memory.take(engine);
    this.#tell(engine, { kind: 'replica.launched', replica: engine.ref, endpoint: engine.endpoint });
    const jitter = 0.8 + this.#random.next() * 0.4;
    const until = order ? loadMs * order.share : loadMs * jitter;
    for (let share = 0.25; share < 1; share += 0.25) {
      this.#kernel.after(until * share, () => this.#progress(engine, share));
    }
    this.#kernel.after(until, () => (order ? this.#failStart(engine, order) : this.#becomeReady(engine)));
  }

  #progress(engine: Engine, fraction: number): void {
    if (engine.phase !== 'loading') return;
    this.#tell(engine, { kind: 'replica.progressed', replica: engine.ref, phase: 'load', fraction });
  }

  #becomeReady(engine: Engine): void {
    if (engine.phase !== 'loading') return;
    engine.phase = 'ready';
    this.#tell(engine, { kind: 'replica.ready', replica: engine.ref }, this.#latency());
  }

  #failStart(engine: Engine, { fault, cause, share }: StartOrder): void {
    if (engine.phase !== 'loading') return;
    switch (fault) {
      case 'hangs':
      case 'never_spawns':
        return;
      case 'crawls':
        if (engine.stopAsked) return;
        this.#progress(engine, 0.5);
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
  crash(engine: Engine, cause: StartFailureCause = 'crashed'): void {
    if (engine.phase !== 'loading' && engine.phase !== 'ready') return;
    this.#exit(engine);
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
    this.memory.stopBegins(engine, effect);
    const order = this.faults ? this.#stopOrders.get(engine.model)?.shift() : undefined;
    const gone = engine.phase === 'exited' || engine.phase === 'spawning';
    const quick = gone ? this.#latency() : this.#random.int(5, Math.min(3_000, effect.timeout));
    if (order?.fault === 'stuck') {
      this.#kernel.after(effect.timeout, () => this.#stuck(engine, order.lastsMs));
      return;
    }
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
    if (engine.phase === 'ready') this.#tell(engine, { kind: 'replica.ready', replica: ref }, this.#latency());
  }

  /** What a new life of the gateway finds. */
  found(adoptable: boolean): FoundReplica[] {
    const seen: FoundReplica[] = [];
    for (const engine of this.all.values()) {
      if (engine.phase === 'gone') continue;
      engine.stopAsked = false;
      engine.watched = false;
      const alive = engine.phase !== 'exited' && engine.phase !== 'spawning';
      if (engine.phase === 'spawning') engine.phase = 'exited';
      seen.push({
        ...engine.ref,
        model: engine.model,
        specHash: engine.specHash,
        reservations: engine.reservations,
        port: engine.port,
        endpoint: engine.endpoint,
        usable: alive && adoptable ? true : 'it does not hold our key',
        ageMs: null,
      });
    }
    return seen;
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
    const moving = engine.work.size > 0 && !engine.hung;
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
