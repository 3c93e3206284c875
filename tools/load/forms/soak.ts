/** Three models, fifty at once on each, for long: the counters stay right, and nothing is left behind. */
import { baselineOf, restAfter, type Rested } from '../at-rest.ts';
import type { Leave } from '../connection.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, type LoadModel, startUnderLoad } from '../gateway-under-load.ts';
import { Generator, type Planned } from '../generator.ts';
import { Recount } from '../recount.ts';
import { growthOfLastThird, quantile, randomFrom, slopeOf, theilSen } from '../statistics.ts';
import type { Form } from './form.ts';

const MODELS = ['one', 'two', 'three'] as const;
const SLOTS = 50;
const QUEUE = 200;
const BURST = 80;
const LEAVING_SHARE = 0.3;
const MIB = 2 ** 20;
const HOUR_MS = 3_600_000;
const LAST_MINUTES_MS = 40 * 60_000;

interface Size {
  readonly tokens: number;
  readonly tokenMs: number;
  readonly firstMs: number;
  /** Per second and model, bursts apart. */
  readonly rate: number;
  readonly burstEverySeconds: number;
  readonly warmUpSeconds: number;
  readonly windows: number;
  readonly windowSeconds: number;
  /** Of these windows clients leave early: every one, or every second. */
  readonly leavingEvery: number;
  /** Engines of which the gateway knows only the API: idle connections to them are closed in seconds, not in a minute. */
  readonly foreign: boolean;
}

const SHORT: Size = {
  ...{ tokens: 8, tokenMs: 55, firstMs: 60, rate: 25, burstEverySeconds: 1.5 },
  ...{ warmUpSeconds: 3, windows: 2, windowSeconds: 5, leavingEvery: 1, foreign: true },
};
/** An hour: a quarter to warm up, then ten windows. */
const LONG: Size = {
  ...{ tokens: 16, tokenMs: 100, firstMs: 100, rate: 25, burstEverySeconds: 10 },
  ...{ warmUpSeconds: 840, windows: 10, windowSeconds: 205, leavingEvery: 2, foreign: false },
};

interface Sample {
  readonly atMs: number;
  readonly requests: number;
  readonly rested: Rested;
}

interface Told {
  readonly ends: Record<string, number>;
  readonly unexplained: string[];
  readonly samples: Sample[];
  readonly leftOver: string[];
  /** Connections that were made anew, beyond one per slot and one per client that left. */
  readonly reuse: { reused: number; requests: number; excessive: number };
  readonly rss: number[];
  readonly loop: { p99: number[]; max: number[] };
}

function models({ tokens, tokenMs, firstMs, foreign }: Size): LoadModel[] {
  return MODELS.map((name) => ({
    name,
    knobs: { TOKENS: tokens, TOKEN_MS: tokenMs, TTFT_MS: firstMs },
    keys: foreign ? { command: ['simulated-vllm', 'serve', `org/${name}`, '--port', '${port}'] } : {},
  }));
}

/** Arrivals of a window: a Poisson stream for each model, and a burst to one of them now and then. */
function plan(size: Size, seconds: number, leaving: boolean, random: () => number): Planned[] {
  const wholeMs = size.firstMs + size.tokens * size.tokenMs;
  const one = (model: string, at: number): Planned => {
    const leave = leaving && random() < LEAVING_SHARE ? leaveOf(wholeMs, size.tokens, random) : null;
    return { model, at, stream: random() < 0.5, tokens: size.tokens, leave };
  };
  const planned = MODELS.flatMap((model) => {
    const count = Math.round(size.rate * seconds);
    return Array.from({ length: count }, () => one(model, random() * seconds * 1_000));
  });
  const bursts = Math.floor(seconds / size.burstEverySeconds);
  for (let burst = 0; burst < bursts; burst += 1) {
    const at = (burst + 0.5) * size.burstEverySeconds * 1_000;
    const model = MODELS[burst % MODELS.length] ?? 'one';
    for (let index = 0; index < BURST; index += 1) planned.push(one(model, at));
  }
  return planned.toSorted((left, right) => left.at - right.at);
}

/** Somewhere in the life of a request, each moment as likely: in the body, in the queue, before the first byte, in the stream. */
export function leaveOf(wholeMs: number, tokens: number, random: () => number): Leave {
  const kind = random();
  if (kind < 0.1) return { after: 'body', share: random() };
  if (kind < 0.3) return { after: 'events', events: 1 + Math.floor(random() * (tokens + 1)) };
  return { after: 'ms', ms: random() * wholeMs * 1.1 };
}

async function windowOf(
  gateway: GatewayUnderLoad,
  generator: Generator,
  planned: readonly Planned[],
  told: Told,
  recount: Recount,
): Promise<void> {
  const run = generator.run(planned, ({ end, model }, { leave }) => {
    told.ends[end] = (told.ends[end] ?? 0) + 1;
    if (end === 'left' && leave?.after === 'body') told.ends['left in body'] = (told.ends['left in body'] ?? 0) + 1;
    if (end !== '200' && end !== 'left') told.unexplained.push(`${model}: ${end}`);
  });
  await Promise.all([run, recount.during(run)]);
  const { p99, max } = await gateway.loop();
  told.loop.p99.push(p99);
  told.loop.max.push(max);
}

async function rest(gateway: GatewayUnderLoad, baseline: Rested, told: Told, requests: number): Promise<void> {
  const { rested, excess } = await restAfter(gateway, baseline.held);
  const at = `after window ${told.samples.length}`;
  for (const [name, count] of Object.entries(excess)) told.leftOver.push(`${count} ${name} ${at}`);
  told.samples.push({ atMs: performance.now(), requests, rested });
}

/** Of windows in which nobody leaves, sockets are made once per slot; a client that leaves costs one. */
async function reuseOf(gateway: GatewayUnderLoad): Promise<{ reused: number; fresh: number }> {
  const reused = await gateway.metric('upstream_requests_total', { reused: 'true' });
  return { reused, fresh: await gateway.metric('upstream_requests_total', { reused: 'false' }) };
}

async function soak(gates: Gates, long: boolean, say: (text: string) => void): Promise<void> {
  const size = long ? LONG : SHORT;
  const random = randomFrom(2_025);
  const limits = { max_concurrent: SLOTS, max_models_concurrent: MODELS.length, max_queue_size: QUEUE };
  await using gateway = await startUnderLoad({ models: models(size), limits, recount: !long });
  using pool = gateway.pool;
  const generator = new Generator(pool);
  // The load never fills a queue: what is refused would be an error.
  generator.cap = SLOTS + QUEUE - 10;
  const told: Told = {
    ...{ ends: {}, unexplained: [], samples: [], leftOver: [], rss: [], loop: { p99: [], max: [] } },
    reuse: { reused: 0, requests: 0, excessive: 0 },
  };
  const recount = new Recount(gateway, generator, SLOTS);
  await Promise.all(MODELS.map((model) => generator.one({ model, stream: false, tokens: size.tokens })));
  await windowOf(gateway, generator, plan(size, size.warmUpSeconds, true, random), told, recount);
  const baseline = await baselineOf(gateway);
  say(`warm after ${generator.sent} requests`);
  const warm = generator.sent;
  const rssFrom = recount.found.rss.length;
  for (let index = 0; index < size.windows; index += 1) {
    await gateway.loop();
    const before = await reuseOf(gateway);
    const leaving = (index + 1) % size.leavingEvery === 0;
    const leftBefore = told.ends['left'] ?? 0;
    await windowOf(gateway, generator, plan(size, size.windowSeconds, leaving, random), told, recount);
    const after = await reuseOf(gateway);
    const fresh = after.fresh - before.fresh;
    told.reuse.excessive += Math.max(0, fresh - MODELS.length * SLOTS - ((told.ends['left'] ?? 0) - leftBefore));
    if (!leaving) {
      told.reuse.reused += after.reused - before.reused;
      told.reuse.requests += after.reused - before.reused + fresh;
    }
    await rest(gateway, baseline, told, generator.sent - warm);
    const heap = told.samples.at(-1)?.rested.inside.memory.heapUsed ?? 0;
    say(
      `window ${index + 1}: ${generator.sent} requests, heap ${(heap / MIB).toFixed(2)} MiB, rss ${(gateway.rss() / MIB).toFixed(0)} MiB`,
    );
  }
  told.rss.push(...recount.found.rss.slice(rssFrom));
  await judge(gates, gateway, generator, told, recount, long);
}

async function judge(
  gates: Gates,
  gateway: GatewayUnderLoad,
  generator: Generator,
  told: Told,
  recount: Recount,
  long: boolean,
): Promise<void> {
  const { found } = recount;
  gates.none('unexplained ends', told.unexplained);
  gates.atLeast('clients that left', told.ends['left'] ?? 0, 1);
  gates.none('seconds in which a gauge is not the recount [I-3]', found.differences);
  gates.none('snapshots that contradict themselves [I-16]', found.broken);
  gates.atLeast('of the seconds and models, compared', (100 * found.compared) / found.due, long ? 90 : 20, '%');
  gates.none('left over at rest, of sockets, descriptors, timers, listeners and objects [I-24] [I-82]', told.leftOver);
  const { completed = 0, client_closed: closed = 0, rejected = 0, ...others } = await outcomesOf(gateway);
  gates.none('outcomes other than completed, client_closed and rejected', others);
  const left = told.ends['left'] ?? 0;
  const whole = (told.ends['200'] ?? 0) + MODELS.length;
  // Who left with the last byte on its way was served; who left before its head was whole was never a request; half a body is
  // refused as such.
  gates.atLeast('completed by the metrics', completed, whole);
  gates.atMost('completed and left by the metrics', completed + closed + rejected, whole + left);
  gates.atMost(
    'rejected by the metrics: clients that left within their body',
    rejected,
    told.ends['left in body'] ?? 0,
  );
  const lines = Object.values(gateway.log.outcomes).reduce((sum, count) => sum + count, 0);
  gates.exactly('access lines without a request of their own [I-96]', lines - completed - closed - rejected, 0);
  gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
  gates.exactly('connections made beyond one per slot and one per client that left', told.reuse.excessive, 0);
  if (told.reuse.requests > 0)
    gates.atLeast(
      'requests on a connection used before, nobody leaving [I-23]',
      (100 * told.reuse.reused) / told.reuse.requests,
      99,
      '%',
    );
  memory(gates, told, long);
  gates.figure('requests', generator.sent);
  gates.figure('clients that left', left);
  gates.figure('held back by the load itself', generator.heldBack);
  gates.figure('most waiting', found.mostQueued);
  gates.figure('seconds', found.seconds);
  gates.figure('recounts', found.compared);
  gates.figure('rss, MiB', quantile(told.rss, 0.5) / MIB);
  gates.figure('event loop delay p99, worst window, ms', Math.max(...told.loop.p99));
  gates.figure('event loop delay max, ms', Math.max(...told.loop.max));
  gates.figure('load sent late by p99, ms', quantile(generator.lateness, 0.99));
}

async function outcomesOf(gateway: GatewayUnderLoad): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { name, labels, value } of await gateway.metrics()) {
    const { outcome } = labels;
    if (name === 'vllm_gateway_requests_total' && outcome !== undefined)
      counts[outcome] = (counts[outcome] ?? 0) + value;
  }
  return counts;
}

/** Slopes need many requests: of a short run they are told, not judged. */
function memory(gates: Gates, { samples, rss }: Told, long: boolean): void {
  const points = (of: (rested: Rested) => number): { x: number; y: number }[] =>
    samples.map(({ requests, rested }) => ({ x: requests, y: of(rested) }));
  const heap = slopeOf(points(({ inside }) => inside.memory.heapUsed));
  const outside = slopeOf(points(({ inside }) => inside.memory.external + inside.memory.arrayBuffers));
  const growth = growthOfLastThird(rss) * 100;
  gates.figure(
    'heap slope, bytes per request',
    `${heap.slope.toFixed(1)} (${heap.low.toFixed(1)} to ${heap.high.toFixed(1)})`,
  );
  if (!long) return;
  gates.atMost('heap slope, upper bound', heap.high, 64, 'B per request');
  gates.atMost('external memory slope, upper bound', outside.high, 16, 'B per request');
  const late = samples.filter(({ atMs }) => atMs > (samples.at(-1)?.atMs ?? 0) - LAST_MINUTES_MS);
  const perHour = theilSen(
    late.map(({ atMs, rested }) => ({ x: atMs / HOUR_MS, y: rested.inside.memory.heapUsed / MIB })),
  );
  gates.atMost('heap growth in the last 40 minutes', perHour, 1, 'MiB per hour');
  gates.atMost('rss, last third against the one before', growth, 5, '%');
}

export const soakForm: Form = {
  title: 'three models, fifty at once on each, some clients leaving',
  run: (gates, { long, say }) => soak(gates, long, say),
};
