/** Ten times as much as can be done: what can be done still is, nobody waits longer than agreed, and memory stays. */
import { untilQuiet } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { Generator, pause, type Planned, type Result, steady } from '../generator.ts';
import { growthOfLastThird, quantile, randomFrom, tally } from '../statistics.ts';
import type { Form } from './form.ts';

const MODEL = 'busy';
const SLOTS = 20;
/** Longer than can be worked off in time, so that waiting ends by either bound. */
const QUEUE = 225;
const QUEUE_TIMEOUT_S = 3;
const TIMES = 10;
const TOKEN_MS = 20;
const MIB = 2 ** 20;
const ALLOWED = new Set(['200', '429 queue_full', '503 queue_timeout']);
const RETRIES = 2;

const random = randomFrom(77);

/** 200 to 600 ms of work each. */
function work(index: number): { stream: boolean; tokens: number; tokenMs: number; firstMs: number } {
  return { stream: index % 2 === 0, tokens: 9 + Math.floor(random() * 20), tokenMs: TOKEN_MS, firstMs: 20 };
}

/** Answers per second while there is always somebody waiting, and never too many. */
async function capacityOf(generator: Generator, seconds: number): Promise<number> {
  const beganAt = performance.now();
  const endsAt = beganAt + seconds * 1_000;
  let done = 0;
  let index = 0;
  const ask = async (): Promise<void> => {
    while (performance.now() < endsAt) {
      const { end, endAt } = await generator.one({ model: MODEL, ...work((index += 1)) });
      if (end === '200' && endAt < endsAt) done += 1;
    }
  };
  await Promise.all(Array.from({ length: 2 * SLOTS }, ask));
  return done / seconds;
}

interface Overload {
  readonly results: Result[];
  readonly sent: number;
  readonly seconds: number;
  readonly goodput: number;
}

/** `retries`: so often a refused client comes back at once. */
async function overload(generator: Generator, rate: number, seconds: number, retries: number): Promise<Overload> {
  const results: Result[] = [];
  const again: Promise<void>[] = [];
  const before = generator.sent;
  const beganAt = performance.now();
  const planned: Iterable<Planned> = [...steady(rate, Math.round(rate * seconds))].map((at, index) => {
    return { model: MODEL, at, leave: null, ...work(index) };
  });
  const comeBack = async (): Promise<void> => {
    for (let times = 0; times < retries; times += 1) {
      const result = await generator.one({ model: MODEL, ...work(times) });
      results.push(result);
      if (!result.end.startsWith('429')) return;
    }
  };
  await generator.run(planned, (result) => {
    results.push(result);
    if (result.end.startsWith('429')) again.push(comeBack());
  });
  await Promise.all(again);
  // The last ones came when the load had ended already; the first found an idle engine.
  const from = beganAt + 1_000;
  const to = beganAt + seconds * 1_000;
  const good = results.filter(({ end, endAt }) => end === '200' && endAt >= from && endAt < to).length;
  return { results, sent: generator.sent - before, seconds, goodput: good / (seconds - 1) };
}

async function rssDuring(gateway: GatewayUnderLoad, over: Promise<unknown>): Promise<number[]> {
  const values: number[] = [];
  const state = { over: false };
  const end = (): void => void (state.over = true);
  over.then(end, end);
  while (!state.over) {
    values.push(gateway.rss());
    await pause(500);
  }
  return values;
}

export const overloadForm: Form = {
  title: 'ten times as many requests as can be served, then clients that come back at once',
  async run(gates, { long, say }) {
    const limits = {
      max_concurrent: SLOTS,
      max_models_concurrent: 1,
      max_queue_size: QUEUE,
      queue_timeout: `${QUEUE_TIMEOUT_S}s`,
    };
    await using gateway = await startUnderLoad({
      models: [{ name: MODEL, keys: { always_on: true } }],
      limits,
      recount: !long,
    });
    using pool = gateway.pool;
    const generator = new Generator(pool);
    await capacityOf(generator, 2);
    const before = await capacityOf(generator, long ? 30 : 3);
    say(`${before.toFixed(1)} answers per second`);
    const run = overload(generator, TIMES * before, long ? 300 : 7, 0);
    await gateway.loop();
    const [over, rss] = await Promise.all([run, rssDuring(gateway, run)]);
    await untilQuiet(gateway);
    const between = await capacityOf(generator, long ? 30 : 3);
    const storm = await overload(generator, (TIMES / 2) * between, long ? 60 : 5, RETRIES);
    await untilQuiet(gateway);
    const after = await capacityOf(generator, long ? 30 : 3);
    judge(gates, { over, rss, storm, long, tickMs: (await gateway.loop()).max, capacities: [before, between, after] });
    gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
  },
};

interface Measured {
  readonly over: Overload;
  readonly storm: Overload;
  readonly rss: readonly number[];
  readonly capacities: readonly [number, number, number];
  readonly long: boolean;
  /** The longest turn of the gateway's event loop meanwhile. */
  readonly tickMs: number;
}

function judge(gates: Gates, { over, storm, rss, long, tickMs, capacities: [before, between, after] }: Measured): void {
  const share = (goodput: number, one: number, other: number): number => (100 * goodput) / ((one + other) / 2);
  const both = [...over.results, ...storm.results];
  gates.none(
    'ends other than 200, 429 and 503 queue_timeout',
    tally(both.map(({ end }) => end).filter((end) => !ALLOWED.has(end))),
  );
  gates.atLeast('offered, times the capacity', over.sent / over.seconds / before, TIMES * 0.9);
  // Of seconds only, whole waves of answers fall to one side or the other.
  const least = long ? 90 : 50;
  gates.atLeast('answers per second against the capacity', share(over.goodput, before, between), least, '%');
  gates.atLeast('the same while clients come back at once [F34]', share(storm.goodput, between, after), least, '%');
  const waits = both.flatMap(({ end, queueMs }) => (end === '200' && queueMs !== null ? [queueMs] : []));
  gates.atLeast('answers whose wait is known', waits.length, 1);
  gates.atMost(
    'wait of the served, p99: as agreed, and a turn of the event loop [I-11]',
    quantile(waits, 0.99),
    QUEUE_TIMEOUT_S * 1_000 + tickMs,
    'ms',
  );
  if (long)
    gates.atMost('rss where it is low, last third against the one before', growthOfLastThird(rss, 0.1) * 100, 5, '%');
  const refusals = over.results
    .filter(({ end }) => end === '429 queue_full')
    .map(({ sentAt, endAt }) => endAt - sentAt);
  for (const [end, count] of Object.entries(tally(over.results.map((result) => result.end))))
    gates.figure(`ended with ${end}`, count);
  gates.figure(
    'capacity before, between and after, per second',
    [before, between, after].map((one) => one.toFixed(1)).join(', '),
  );
  gates.figure('answers per second under load', over.goodput);
  gates.figure('wait of the served p99, ms', quantile(waits, 0.99));
  gates.figure('refusal p50, ms', quantile(refusals, 0.5));
  gates.figure('refusal p99, ms', quantile(refusals, 0.99));
  gates.figure('rss p10, MiB', quantile(rss, 0.1) / MIB);
  gates.figure('rss max, MiB', Math.max(...rss) / MIB);
  gates.figure('sent during the storm, times the capacity', storm.sent / storm.seconds / between);
}
