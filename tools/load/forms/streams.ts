/**
 * Many streams for long: some that speak twenty times a second, and many more that hardly say anything. All of them arrive
 * whole, and the loop that carries them is never late.
 */
import { fileURLToPath } from 'node:url';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '../../../test/support/eventually.ts';
import { streamAsk } from '../../bench/asks.ts';
import { LoadClient } from '../../bench/client.ts';
import { baselineOf, restAfter } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { cpuSeconds, type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { growthOfLastThird, quantile } from '../statistics.ts';
import type { Form } from './form.ts';

const ENGINE = fileURLToPath(new URL('../../bench/engine.mjs', import.meta.url));
const MODEL = 'bench';
const SPEAKING = { every: 50, short: 60, long: 1_000 };
/** Well below the time after which an engine that says nothing is given up. */
const QUIET = { every: 20_000, short: 200, long: 5_000 };
const SECONDS = { short: 4, long: 600 };
/** At once on their way to be accepted. */
const AT_ONCE = 100;
const BETWEEN_LOOKS_MS = 1_000;
/** Of so many delays one is kept. */
const KEPT = 50;
const MIB = 1_048_576;

interface Told {
  readonly faults: Record<string, number>;
  events: number;
  /** Milliseconds from the engine's write to the client's read, some of them. */
  readonly delays: number[];
  readonly rss: number[];
}

class Streams {
  readonly told: Told = { faults: {}, events: 0, delays: [], rss: [] };
  private readonly clients: LoadClient[] = [];
  private readonly gateway: GatewayUnderLoad;
  private reads = 0;
  private begun = 0;
  private ended = 0;
  watched = false;

  constructor(gateway: GatewayUnderLoad) {
    this.gateway = gateway;
  }

  /** Begins `count` streams; resolves when each has reached its engine. Their ends are `ended`. */
  async begin(count: number, events: number, every: number): Promise<{ readonly ended: Promise<void> }> {
    const ends: Promise<void>[] = [];
    while (ends.length < count) {
      const some = Array.from({ length: Math.min(AT_ONCE, count - ends.length) }, () => this.one(events, every));
      ends.push(...some);
      this.begun += some.length;
      await eventually('all that were begun are under way', async () => (await this.underWay()) >= this.begun, 60_000);
    }
    return { ended: Promise.all(ends).then(() => undefined) };
  }

  close(): void {
    for (const client of this.clients) client.close();
  }

  private async underWay(): Promise<number> {
    return (await this.gateway.metric('in_flight')) + this.ended;
  }

  private async one(events: number, every: number): Promise<void> {
    const client = new LoadClient(this.gateway.pool.port, {});
    this.clients.push(client);
    const event = (delay: number): void => {
      this.reads += 1;
      if (this.watched && this.reads % KEPT === 0) this.told.delays.push(delay);
    };
    const { events: came, fault } = await client.ask(streamAsk(events, every), { event });
    this.ended += 1;
    this.told.events += came;
    if (fault !== null) this.told.faults[fault] = (this.told.faults[fault] ?? 0) + 1;
  }
}

async function watch(gateway: GatewayUnderLoad, told: Told, state: { readonly over: boolean }): Promise<void> {
  while (!state.over) {
    await pause(BETWEEN_LOOKS_MS);
    told.rss.push(gateway.rss());
  }
}

async function run(gates: Gates, gateway: GatewayUnderLoad, long: boolean, say: (text: string) => void): Promise<void> {
  const seconds = long ? SECONDS.long : SECONDS.short;
  const speaking = long ? SPEAKING.long : SPEAKING.short;
  const quiet = long ? QUIET.long : QUIET.short;
  const streams = new Streams(gateway);
  const { told } = streams;
  await (
    await streams.begin(1, 200, 1)
  ).ended;
  const baseline = await baselineOf(gateway);
  const spoken = Math.round((seconds * 1_000) / SPEAKING.every);
  // What is quiet speaks once at the beginning, and is not over before the others are.
  const said = long ? 1 + Math.ceil((seconds * 1_000) / QUIET.every) : 2;
  const quietEvery = long ? QUIET.every : (seconds * 1_000) / 2;
  const hush = await streams.begin(quiet, said, quietEvery);
  say(`${quiet} quiet streams`);
  const talk = await streams.begin(speaking, spoken, SPEAKING.every);
  say(`${speaking} streams that speak`);
  await gateway.loop();
  streams.watched = true;
  const state = { over: false };
  const watching = watch(gateway, told, state);
  const began = performance.now();
  const cpu = cpuSeconds(gateway.pid);
  const own = process.cpuUsage();
  const eventsBefore = told.events;
  await talk.ended;
  const took = (performance.now() - began) / 1_000;
  const used = cpuSeconds(gateway.pid) - cpu;
  const { user, system } = process.cpuUsage(own);
  state.over = true;
  // Of the whole time; with the ten milliseconds that lie between two looks at the loop.
  const loop = await gateway.loop();
  await watching;
  await hush.ended;
  const events = told.events - eventsBefore;
  gates.none('streams that were not whole and in order', told.faults);
  gates.exactly('events', told.events - 200, speaking * spoken + quiet * said);
  // A timer of the engine is late by a part of a millisecond each time, and the next counts from there.
  gates.atMost('longer than the engine was told to take', (100 * (took - seconds)) / seconds, long ? 2 : 50, '%');
  if (long) {
    gates.atMost('event loop delay p99, 10 ms of it between two looks', loop.p99, 20, 'ms');
    gates.atMost('rss, last third against the one before', growthOfLastThird(told.rss) * 100, 5, '%');
  }
  streams.close();
  const { excess } = await restAfter(gateway, baseline.held);
  gates.none('left over at rest', excess);
  gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
  gates.figure('streams that speak, twenty times a second', speaking);
  gates.figure('streams that hardly say anything', quiet);
  gates.figure('event loop delay max, ms', loop.max);
  gates.figure('delay of an event p50, ms', quantile(told.delays, 0.5));
  gates.figure('delay of an event p99, ms', quantile(told.delays, 0.99));
  gates.figure('CPU time per event, µs', (used / events) * 1e6);
  gates.figure('processors used by the gateway', used / took);
  gates.figure('processors used by the load', (user + system) / 1e6 / took);
  gates.figure('rss with all of them, MiB', quantile(told.rss, 0.5) / MIB);
}

export const streamsForm: Form = {
  title: 'streams that speak twenty times a second beside many that hardly say anything',
  async run(gates, { long, say }) {
    const slots = SPEAKING.long + QUIET.long + AT_ONCE;
    const command = [process.execPath, ENGINE, '--port', '${port}'];
    const models = [{ name: MODEL, keys: { command, max_concurrent: slots, health_path: '/health' } }];
    const limits = { max_concurrent: slots, max_models_concurrent: 1, max_queue_size: slots };
    await using gateway = await startUnderLoad({ models, limits });
    using _pool = gateway.pool;
    await run(gates, gateway, long, say);
  },
};
