/** A world with one gateway after another in it: wiring, and what is known of every request. */
import { createHash } from 'node:crypto';
import type { Config } from '../../../src/config/config.ts';
import { resolveCommand } from '../../../src/drivers/process/command.ts';
import { createGateway, type Gateway } from '../../../src/gateway.ts';
import type { ReplicaSnapshot } from '../../../src/core/snapshot.ts';
import type { DataPlaneStats } from '../../../src/proxy/proxy.ts';
import { SECOND, type Milliseconds } from '../../../src/units.ts';
import { configOf } from '../../support/config-of.ts';
import { Random } from '../random.ts';
import { check, checkExchange, checkReception, codeOf, ShellFailure, type Story } from './checks.ts';
import { Client, type Exchange, type Order } from './client.ts';
import { Engines, type EngineProcess, type EngineRules } from './engine.ts';
import type { Reception } from './engine-line.ts';
import { Life, Machine } from './machine.ts';
import { Loopback } from './network.ts';
import { healed, type ShellPlan } from './plan.ts';
import { checkCount, checkReturned, RetryBudget } from './promises.ts';
import { ShellTelemetry } from './telemetry.ts';
import { Time } from './time.ts';

const SIMULATED = 'simulated-vllm';
/** Besides the time of requests and of engines. */
const END_SLACK: Milliseconds = 2 * SECOND;

/** One gateway process and what it holds. */
export interface Tenancy {
  readonly number: number;
  readonly life: Life;
  readonly loopback: Loopback;
  readonly telemetry: ShellTelemetry;
  readonly budget: RetryBudget;
  readonly begunAt: Milliseconds;
  gateway: Gateway | null;
  draining: boolean;
  /** How its drain ended. */
  drained: 'clean' | 'cut' | null;
}

export class ShellWorld {
  readonly plan: ShellPlan;
  readonly time: Time;
  readonly machine: Machine;
  readonly engines: Engines;
  readonly stories = new Map<string, Story>();
  readonly clients: Client[] = [];
  readonly marks = new Map<string, number>();
  readonly tenancies: Tenancy[] = [];
  rules: EngineRules;
  /** What went wrong where nobody could be told by throwing. */
  failure: ShellFailure | null = null;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #hash = createHash('sha256');
  #config: Config | null = null;

  constructor(plan: ShellPlan, trace?: (line: string) => void) {
    this.plan = plan;
    this.rules = plan.engines;
    this.#trace = trace;
    this.time = new Time(new Random(plan.seed, 'order'));
    this.machine = new Machine(this.time);
    this.engines = new Engines({
      seed: plan.seed,
      machine: this.machine,
      rules: () => this.rules,
      spawned: (engine) => this.#guarded(() => this.#spawned(engine)),
      received: (reception) => this.#guarded(() => this.#received(reception)),
      told: (line) => this.tell(line),
      mark: (name) => this.mark(name),
    });
  }

  async prepare(): Promise<void> {
    this.#config = await configOf(this.plan.yaml);
    const [, entry = ''] = resolveCommand([SIMULATED], '/usr/bin/node');
    await this.machine.files.writeAtomic(entry, 'the simulated engine');
    await this.machine.files.writeAtomic('/proc/sys/kernel/random/boot_id', 'this boot');
  }

  get hash(): string {
    return this.#hash.copy().digest('hex');
  }

  /** The gateway that runs now. */
  get tenancy(): Tenancy | undefined {
    return this.tenancies.at(-1);
  }

  mark(name: string): void {
    this.marks.set(name, (this.marks.get(name) ?? 0) + 1);
  }

  tell(line: string): void {
    this.#hash.update(`${this.time.now} ${line}\n`);
    this.#trace?.(`${this.time.now.toFixed(1).padStart(10)} ${line}`);
  }

  fail(id: string, message: string): void {
    this.failure ??= new ShellFailure(id, message);
  }

  heal(): void {
    this.rules = healed(this.rules);
    this.tell('healed');
  }

  start(): void {
    const number = this.tenancies.length;
    const { plan, machine, time, engines } = this;
    const random = new Random(plan.seed, `life ${number}`);
    const life = new Life({
      machine,
      random,
      latencyMs: plan.machineLatencyMs,
      env: { VLLM_GATEWAY_RECOUNT: '1', PATH: '/usr/bin' },
      get: (url, options) => engines.get(url, options),
    });
    const loopback = new Loopback({
      time,
      life,
      engines,
      random: new Random(plan.seed, `net ${number}`),
      rules: () => plan.wire,
    });
    const budget = new RetryBudget(this.#config?.retry.attempts ?? 1);
    const telemetry = new ShellTelemetry(
      () => life.alive,
      (record) => {
        this.tell(`line ${record.id} ${record.status} ${record.outcome} ${record.code}`);
        this.mark(`outcome.${record.outcome}`);
        const story = this.stories.get(record.id);
        if (story === undefined) return;
        story.records.push(record);
        this.#guarded(() => checkCount(story, record));
      },
      (model, reason) => {
        this.mark(`retry.${reason}`);
        this.#guarded(() => budget.retried(time.now, model, reason));
      },
    );
    const tenancy: Tenancy = {
      number,
      life,
      loopback,
      telemetry,
      budget,
      begunAt: this.time.now,
      gateway: null,
      draining: false,
      drained: null,
    };
    this.tenancies.push(tenancy);
    this.tell(`gateway ${number} begins`);
    this.#boot(tenancy).catch((error: unknown) => {
      if (life.alive && !tenancy.draining)
        this.fail('start', error instanceof Error ? (error.stack ?? '') : String(error));
    });
  }

  async #boot(tenancy: Tenancy): Promise<void> {
    const { life, loopback, telemetry, number } = tenancy;
    if (this.#config === null) throw new Error('the world is not prepared');
    // A process of its own, so that the lock of the one before can be told from a living one's.
    const { pid } = this.machine.subprocess.add({ argv: ['vllm-gateway'] });
    this.#pids.set(number, pid);
    tenancy.gateway = await createGateway({
      config: this.#config,
      platform: life.platform,
      telemetry,
      version: '0.0.0-test',
      pid,
      network: loopback,
    });
    await tenancy.gateway.start();
    for (const { adopted, state } of replicasOf(tenancy)) if (adopted) this.mark(`adopted.${state}`);
  }

  readonly #pids = new Map<number, number>();

  kill(): void {
    const { tenancy } = this;
    if (tenancy === undefined || !tenancy.life.alive) return;
    this.mark('killed');
    this.tell(`gateway ${tenancy.number} is killed`);
    this.#disturb(tenancy.number);
    this.#gone(tenancy);
  }

  drain(): void {
    const { tenancy } = this;
    if (tenancy === undefined || tenancy.draining || tenancy.gateway === null || !tenancy.life.alive) return;
    tenancy.draining = true;
    this.mark('drained');
    this.tell(`gateway ${tenancy.number} is told to end`);
    this.#disturb(tenancy.number);
    const told = this.time.now;
    this.time.after((this.#config?.server.shutdownTimeout ?? 0) + SECOND, () => {
      const leases = replicasOf(tenancy).reduce((sum, replica) => sum + replica.leases, 0);
      if (tenancy.life.alive && leases > 0) this.fail('late_leases', `${leases} requests run on after their time`);
    });
    tenancy.gateway.drain().then(
      (how) => {
        this.#guarded(() => this.#checkInTime(this.time.now - told));
        tenancy.drained = how;
        this.mark(`drained.${how}`);
        this.tell(`gateway ${tenancy.number} has ended: ${how}`);
        this.#guarded(() => this.#checkEnded(tenancy));
        this.#gone(tenancy);
      },
      (error: unknown) => this.fail('drain', String(error)),
    );
  }

  /** What runs is given its time, then the engines theirs. */
  #checkInTime(took: Milliseconds): void {
    const limits = this.#config;
    const stops = [...(limits?.models.values() ?? [])].map(({ stopTimeout }) => stopTimeout);
    const most = (limits?.server.shutdownTimeout ?? 0) + Math.max(0, ...stops) + END_SLACK;
    check('late_end', took <= most, () => `the end took ${took} ms, ${most} are allowed`);
  }

  /** Its own word that nothing is left, before its process ends. */
  #checkEnded({ life, loopback, telemetry }: Tenancy): void {
    const stats = telemetry.sources?.proxyStats() as DataPlaneStats | undefined;
    check('ended_bytes', stats?.bufferedBytes === 0, () => `${stats?.bufferedBytes} bytes of bodies after the end`);
    check('ended_ticking', stats?.ticking === 0, () => `${stats?.ticking} exchanges after the end`);
    check('ended_timers', life.clock.armed === 0, () => `${life.clock.armed} timers after the end`);
    check('ended_sockets', loopback.open === 0, () => `${loopback.open} sockets after the end`);
    const { living } = this.engines;
    check('ended_engines', living.length === 0, () => `${living.length} engines after the end`);
  }

  #gone({ life, loopback, number }: Tenancy): void {
    life.die();
    loopback.orphan();
    const pid = this.#pids.get(number);
    if (pid !== undefined) this.machine.subprocess.processes.get(pid)?.exit(null, 'SIGKILL');
  }

  #disturb(number: number): void {
    for (const story of this.stories.values()) {
      if (story.exchange.life === number && !story.exchange.over) story.disturbed = true;
    }
  }

  add(random: Random, orders: readonly Order[]): Client {
    const world = {
      time: this.time,
      connect: () => {
        const { tenancy } = this;
        const far = tenancy?.loopback.accept();
        return far === undefined || tenancy === undefined ? undefined : { far, life: tenancy.number };
      },
      begun: (exchange: Exchange) => this.#begun(exchange),
      ended: (exchange: Exchange) => this.#guarded(() => this.#ended(exchange)),
    };
    const client = new Client(world, random, orders);
    this.clients.push(client);
    return client;
  }

  #begun(exchange: Exchange): void {
    const { nonce } = exchange.order;
    this.tell(`ask ${nonce} ${exchange.order.model}`);
    const tenancy = this.tenancies[exchange.life];
    const disturbed = tenancy === undefined || tenancy.draining || !tenancy.life.alive;
    this.stories.set(nonce, { exchange, receptions: [], records: [], leftAt: null, disturbed });
    this.#guarded(() => this.#nobodyWaitsForTheGone(exchange.life));
    tenancy?.budget.asked(this.time.now);
  }

  /** Whoever waits is there, or has left a moment ago. */
  #nobodyWaitsForTheGone(life: number): void {
    const waiting = [...(this.tenancies[life]?.telemetry.sources?.snapshot().models.values() ?? [])];
    const queued = waiting.reduce((sum, model) => sum + model.queued, 0);
    let there = 0;
    for (const { exchange, leftAt } of this.stories.values()) {
      const isHere = !exchange.over || (leftAt !== null && this.time.now - leftAt < SECOND);
      if (exchange.life === life && isHere) there += 1;
    }
    check('waits_for_nobody', queued <= there, () => `${queued} requests wait and ${there} clients are there`);
  }

  #ended(exchange: Exchange): void {
    const { answer, left, order } = exchange;
    const code = answer === null || answer.status < 400 ? null : codeOf(answer.body);
    const state = left ? 'left' : answer === null ? 'silent' : answer.complete ? 'whole' : 'broken';
    this.tell(`end ${order.nonce} ${answer?.status ?? 0} ${state} ${code ?? ''} ${exchange.bytes.length}`);
    this.mark(`client.${state}`);
    if (left) this.mark(`left.${order.leaving.when}.${answer === null ? 'before_head' : 'after_head'}`);
    if (typeof code === 'string') this.mark(`code.${code}`);
    const story = this.stories.get(order.nonce);
    if (story === undefined) return;
    if (left) story.leftAt = this.time.now;
    checkExchange(story);
    if (this.#config?.retry.engineDown === true && !story.disturbed)
      checkReturned(story, code, this.tenancy?.begunAt ?? 0);
  }

  /** Whatever else runs of its model is known to the gateway that starts another. */
  #spawned({ served, port }: EngineProcess): void {
    const known = new Set(replicasOf(this.tenancy).map((replica) => replica.port));
    const stray = this.engines.living.find((other) => other.served === served && !known.has(other.port));
    check('second_engine', stray === undefined, () => `${served} on ${port} is begun beside the one on ${stray?.port}`);
  }

  #received(reception: Reception): void {
    const { nonce, engine, reused, manner } = reception;
    this.tell(`engine ${engine.port} has ${nonce}${reused ? ' again' : ''} ${manner.fault}`);
    const story = this.stories.get(nonce);
    check('unknown_request', story !== undefined, () => `an engine got ${nonce}, which nobody asked`);
    if (story === undefined) return;
    if (story.receptions.length > 0) this.mark('asked_again');
    checkReception(story, reception, this.plan.maxConcurrent, (before) => this.#isLeaving(before));
    story.receptions.push(reception);
  }

  /** The gateway has taken the engine of this one out of service. */
  #isLeaving({ engine }: Reception): boolean {
    return !replicasOf(this.tenancy).some(({ port, state }) => port === engine.port && state === 'ready');
  }

  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (error instanceof ShellFailure) this.failure ??= error;
      else this.fail('throw', error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
  }
}

export function replicasOf(tenancy: Tenancy | undefined): readonly ReplicaSnapshot[] {
  return [...(tenancy?.telemetry.sources?.snapshot().replicas.values() ?? [])];
}
