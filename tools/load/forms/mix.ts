/** What comes in a day: small and long prompts, streams, names that nobody knows, engines that fail, clients that leave. Memory stays. */
import { baselineOf, restAfter, type Rested } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { Generator } from '../generator.ts';
import type { Wish } from '../question.ts';
import { growthOfLastThird, median, randomFrom, slopeOf } from '../statistics.ts';
import type { Form } from './form.ts';
import { leaveOf } from './soak.ts';

const MODELS = ['often', 'rare'] as const;
const SLOTS = 12;
/** More than slots: some wait at any time. */
const CLIENTS = 32;
const TOKENS = 4;
const LIFE_MS = 12;
const KIB = 1_024;
const MIB = KIB * KIB;
/** A quarter to warm up, then windows of equal work. */
const SIZES = { short: { requests: 2_400, windows: 2 }, long: { requests: 1_000_000, windows: 12 } };
const FAULTS = ['cut_after:2', 'error_frame_after:1', 'abort_after:2'];
const EXPLAINED = new Set(['200', 'left', '404 model_not_found', '502 upstream_lost', 'cut']);

interface Asked {
  readonly wish: Wish;
  readonly leaves: boolean;
}

/** Shares of a day of many users, as far as anybody knows them. */
function draw(random: () => number): Asked {
  const model = random() < 0.8 ? MODELS[0] : MODELS[1];
  const kind = random();
  const wish = { model, stream: false, tokens: TOKENS };
  if (kind < 0.45) return { wish, leaves: false };
  if (kind < 0.8) return { wish: { ...wish, stream: true }, leaves: false };
  if (kind < 0.9) return { wish: { ...wish, promptBytes: Math.round(KIB * 2 ** (random() * 6)) }, leaves: false };
  if (kind < 0.94) return { wish: { ...wish, model: 'nobody-knows-me' }, leaves: false };
  if (kind < 0.97) return { wish: { ...wish, stream: random() < 0.5 }, leaves: true };
  return { wish: { ...wish, stream: true, fault: FAULTS[Math.floor(random() * FAULTS.length)] ?? '' }, leaves: false };
}

interface Told {
  readonly ends: Record<string, number>;
  readonly unexplained: Record<string, number>;
  readonly leftOver: string[];
  readonly samples: { readonly requests: number; readonly rested: Rested; readonly rss: number }[];
}

async function windowOf(generator: Generator, count: number, random: () => number, told: Told): Promise<void> {
  let asked = 0;
  const client = async (): Promise<void> => {
    while (asked < count) {
      asked += 1;
      const { wish, leaves } = draw(random);
      const { end } = await generator.one(wish, leaves ? leaveOf(LIFE_MS, TOKENS, random) : null);
      told.ends[end] = (told.ends[end] ?? 0) + 1;
      const explained = EXPLAINED.has(end) || (wish.fault !== undefined && end.startsWith('stream: '));
      if (!explained) told.unexplained[end] = (told.unexplained[end] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
}

async function mix(gates: Gates, gateway: GatewayUnderLoad, long: boolean, say: (text: string) => void): Promise<void> {
  const { requests, windows } = long ? SIZES.long : SIZES.short;
  const generator = new Generator(gateway.pool);
  const random = randomFrom(77);
  const told: Told = { ends: {}, unexplained: {}, leftOver: [], samples: [] };
  await Promise.all(MODELS.map((model) => generator.one({ model, stream: false, tokens: TOKENS })));
  const warm = Math.round(requests / 4);
  await windowOf(generator, warm, random, told);
  const baseline = await baselineOf(gateway);
  const each = Math.round((requests - warm) / windows);
  for (let index = 1; index <= windows; index += 1) {
    await windowOf(generator, each, random, told);
    const rss = gateway.rss();
    const { rested, excess } = await restAfter(gateway, baseline.held);
    for (const [name, count] of Object.entries(excess)) told.leftOver.push(`${count} ${name} after window ${index}`);
    told.samples.push({ requests: index * each, rested, rss });
    const heap = rested.inside.memory.heapUsed / MIB;
    say(`window ${index}: ${generator.sent} requests, heap ${heap.toFixed(2)} MiB, rss ${(rss / MIB).toFixed(0)} MiB`);
  }
  await judge(gates, gateway, generator, told, long);
}

async function judge(
  gates: Gates,
  gateway: GatewayUnderLoad,
  generator: Generator,
  { ends, unexplained, leftOver, samples }: Told,
  long: boolean,
): Promise<void> {
  gates.none('ends that nothing explains', unexplained);
  gates.atLeast('whole and right', ends['200'] ?? 0, generator.sent * 0.85);
  gates.none('left over at rest', leftOver);
  gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
  const slope = (of: (rested: Rested) => number) =>
    slopeOf(samples.map(({ requests, rested }) => ({ x: requests, y: of(rested) })));
  const heap = slope(({ inside }) => inside.memory.heapUsed);
  const outside = slope(({ inside }) => inside.memory.external + inside.memory.arrayBuffers);
  const rss = samples.map((sample) => sample.rss);
  if (long) {
    gates.atMost('heap slope, upper bound', heap.high, 64, 'B per request');
    gates.atMost('external memory slope, upper bound', outside.high, 16, 'B per request');
    gates.atMost('rss under load, last third against the one before', growthOfLastThird(rss) * 100, 5, '%');
  }
  const range = ({ slope: middle, low, high }: { slope: number; low: number; high: number }): string =>
    `${middle.toFixed(1)} (${low.toFixed(1)} to ${high.toFixed(1)})`;
  gates.figure('requests', generator.sent);
  gates.figure('heap slope, bytes per request', range(heap));
  gates.figure('external memory slope, bytes per request', range(outside));
  gates.figure('rss under load, MiB', median(rss) / MIB);
  for (const [end, times] of Object.entries(ends)) gates.figure(`ended with ${end}`, times);
}

export const mixForm: Form = {
  title: 'small and long prompts, streams, unknown names, engines that fail, clients that leave: memory stays as it is',
  async run(gates, { long, say }) {
    const models = MODELS.map((name) => ({
      name,
      knobs: { TTFT_MS: 1, TOKEN_MS: 1, TOKENS },
      // An engine of which only the API is known: idle connections to it are closed in seconds.
      keys: { command: ['simulated-vllm', 'serve', `org/${name}`, '--max-model-len', '65536', '--port', '${port}'] },
    }));
    const limits = { max_concurrent: SLOTS, max_models_concurrent: MODELS.length, max_queue_size: 200 };
    await using gateway = await startUnderLoad({ models, limits, recount: !long });
    using _pool = gateway.pool;
    await mix(gates, gateway, long, say);
  },
};
