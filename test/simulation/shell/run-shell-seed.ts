/**
 * One seed: a whole gateway (wiring, controller, driver of processes, data plane with Node's own HTTP server) over lines,
 * files and processes in memory, on a clock that jumps. Faults first, then none and everything must come right, then the end.
 */
import { KIB, MINUTE, SECOND, type Bytes, type Milliseconds } from '../../../src/units.ts';
import type { DataPlaneStats } from '../../../src/proxy/proxy.ts';
import { Random } from '../random.ts';
import { check, checkAccount, ShellFailure } from './checks.ts';
import type { Order } from './client.ts';
import { planOf, type ShellPlan } from './plan.ts';
import { settled } from './time.ts';
import { ShellWorld } from './world.ts';

export interface ShellOutcome {
  readonly failure: { readonly id: string; readonly message: string } | null;
  readonly events: number;
  /** Of everything that happened: the same seed gives the same. */
  readonly hash: string;
  readonly marks: ReadonlyMap<string, number>;
}

/** The clients' own plans take less. */
const FAULTS_FOR: Milliseconds = 3 * MINUTE;
/** After the faults: back-off, a slow start, turns. */
const RIGHT_WITHIN: Milliseconds = 30 * MINUTE;
/** What idle connections and silent clients may still hold, they hold no longer than this. */
const REST_WITHIN: Milliseconds = 2.5 * MINUTE;
/** How long a connection without a request may rest. */
const IDLE_WITHIN: Milliseconds = 65 * SECOND;
/** What a socket takes before it says enough, and what was read in one piece when it said so. */
const MOST_BUFFERED: Bytes = 48 * KIB;
const MAX_EVENTS = 400_000;

export async function runShellSeed(seed: number, trace?: (line: string) => void): Promise<ShellOutcome> {
  const plan = planOf(seed);
  const world = new ShellWorld(plan, trace);
  const fault = (error: unknown): void => {
    world.fail('uncaught', error instanceof Error ? (error.stack ?? error.message) : String(error));
  };
  process.on('uncaughtException', fault);
  process.on('unhandledRejection', fault);
  let failure: ShellOutcome['failure'] = null;
  try {
    await new Run(world, plan).all();
  } catch (error) {
    failure = asFailure(error, world);
  } finally {
    process.off('uncaughtException', fault);
    process.off('unhandledRejection', fault);
  }
  return { failure, events: world.time.events, hash: world.hash, marks: world.marks };
}

function asFailure(error: unknown, world: ShellWorld): NonNullable<ShellOutcome['failure']> {
  const message = `at ${Math.round(world.time.now)} ms: ${error instanceof Error ? error.message : String(error)}`;
  if (error instanceof ShellFailure) return { id: error.id, message };
  return { id: 'throw', message: error instanceof Error ? `${message}\n${error.stack ?? ''}` : message };
}

class Run {
  readonly #world: ShellWorld;
  readonly #plan: ShellPlan;

  constructor(world: ShellWorld, plan: ShellPlan) {
    this.#world = world;
    this.#plan = plan;
  }

  async all(): Promise<void> {
    const world = this.#world;
    await world.prepare();
    world.start();
    for (const [index, orders] of this.#plan.clients.entries()) {
      world.add(new Random(this.#plan.seed, `client ${index}`), orders);
    }
    await this.#misfortunes();
    await this.#until(FAULTS_FOR, () => world.clients.every((client) => client.done));
    world.heal();
    await this.#comesRight();
    await this.#comesToRest();
    await this.#ends();
    for (const story of world.stories.values()) checkAccount(story);
  }

  async #misfortunes(): Promise<void> {
    const world = this.#world;
    for (const { how, afterMs, gapMs } of this.#plan.ends) {
      await this.#until(afterMs, () => false);
      if (how === 'kill') world.kill();
      else world.drain();
      await this.#until(3 * MINUTE, () => world.tenancy?.life.alive === false);
      // Told before it had begun: it goes on.
      if (world.tenancy?.life.alive === true) {
        check('never_ends', !world.tenancy.draining, () => 'a gateway that was told to end goes on');
        continue;
      }
      await this.#until(gapMs, () => false);
      world.start();
    }
  }

  /** Liveness: without faults everybody is answered, and every model serves. */
  async #comesRight(): Promise<void> {
    const world = this.#world;
    await this.#until(RIGHT_WITHIN, () => world.clients.every((client) => client.done));
    const stuck = [...world.stories.values()].filter(({ exchange }) => !exchange.over);
    check('stuck', stuck.length === 0, () => `${stuck[0]?.exchange.order.nonce} has no end`);
    check(
      'stuck',
      world.clients.every((client) => client.done),
      () => 'a client could not ask',
    );
    for (const model of this.#plan.models) {
      const end = world.time.now + RIGHT_WITHIN;
      for (let attempt = 0; ; attempt += 1) {
        const nonce = `s${this.#plan.seed}c${99 + attempt}r${this.#plan.models.indexOf(model)}.`;
        const client = world.add(new Random(this.#plan.seed, nonce), [plainOrder(nonce, model)]);
        await this.#until(RIGHT_WITHIN, () => client.done);
        const answer = world.stories.get(nonce)?.exchange.answer;
        if (answer?.status === 200 && answer.complete) break;
        // It may be told to come again, not for ever.
        const later = answer?.status === 503 || answer?.status === 504;
        const again = later && world.time.now < end;
        check('not_right', again, () => `${model} does not serve after the faults: ${answer?.status} ${answer?.body}`);
      }
    }
  }

  async #comesToRest(): Promise<void> {
    const world = this.#world;
    await this.#until(IDLE_WITHIN, () => false);
    const idle = (world.tenancy?.telemetry.sources?.proxyStats() as DataPlaneStats | undefined)?.connections ?? [];
    check('rest_idle', idle.length === 0, () => `connections rest for ever: ${JSON.stringify(idle)}`);
    await this.#until(REST_WITHIN - IDLE_WITHIN, () => false);
    const { telemetry, loopback } = world.tenancy ?? {};
    const stats = telemetry?.sources?.proxyStats() as DataPlaneStats | undefined;
    const fleet = telemetry?.sources?.snapshot();
    check('rest_bytes', stats?.bufferedBytes === 0, () => `${stats?.bufferedBytes} bytes of bodies are held`);
    check('rest_ticking', stats?.ticking === 0, () => `${stats?.ticking} exchanges tick`);
    check('rest_connections', stats?.connections.length === 0, () => JSON.stringify(stats?.connections));
    check('rest_sockets', loopback?.open === 0, () => `${loopback?.open} sockets are open`);
    const replicas = [...(fleet?.replicas.values() ?? [])];
    const busy = [...(fleet?.models.values() ?? [])].find(({ queued, inFlight }) => queued + inFlight > 0);
    check('rest_models', fleet !== undefined && busy === undefined, () => `${busy?.name} is busy`);
    const leases = replicas.reduce((sum, { leases: count }) => sum + count, 0);
    check('rest_leases', leases === 0, () => `${leases} leases are held`);
    const living = world.engines.living.length;
    const known = replicas.filter(({ pid }) => pid !== null).length;
    check('rest_engines', living === known, () => `${living} engines run, ${known} are known`);
  }

  async #ends(): Promise<void> {
    const world = this.#world;
    world.drain();
    await this.#until(3 * MINUTE, () => world.tenancy?.drained != null);
    check('not_clean', world.tenancy?.drained === 'clean', () => `the end at rest is ${world.tenancy?.drained}`);
  }

  /** Lets so much time pass, unless the condition holds before. */
  async #until(span: Milliseconds, done: () => boolean): Promise<void> {
    const world = this.#world;
    const { time } = world;
    const end = time.now + span;
    // What was just begun may go on without any time.
    await settled();
    while (!done()) {
      const at = time.nextAt();
      if (at === undefined || at > end) break;
      await time.next();
      this.#look();
    }
    if (!done()) time.now = Math.max(time.now, end);
  }

  #look(): void {
    const world = this.#world;
    if (world.failure !== null) throw world.failure;
    const [fault] = world.tenancy?.telemetry.faults ?? [];
    check('fault', fault === undefined, () => fault ?? '');
    const buffered = world.tenancy?.loopback.mostBuffered ?? 0;
    check('buffered', buffered <= MOST_BUFFERED, () => `${buffered} bytes wait for one client`);
    check('livelock', world.time.events < MAX_EVENTS, () => 'too many events');
  }
}

function plainOrder(nonce: string, model: string): Order {
  return {
    nonce,
    model,
    stream: false,
    pad: 0,
    pauseMs: SECOND,
    leaving: { when: 'never' },
    how: 'close',
    readEveryMs: 0,
    bodyPauseMs: 0,
  };
}
