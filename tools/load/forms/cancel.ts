/** Clients leave at any moment of a request: nothing stays behind, and the slot is free for the next at once. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { baselineOf, restAfter, untilQuiet } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { Generator, pause } from '../generator.ts';
import { quantile, randomFrom } from '../statistics.ts';
import type { Form } from './form.ts';
import { leaveOf } from './soak.ts';

const CROWDS = ['crowd-a', 'crowd-b'] as const;
const LANES = ['lane-a', 'lane-b', 'lane-c', 'lane-d'] as const;
const CROWD_SLOTS = 10;
const CLIENTS_EACH = 20;
const LEAVING_SHARE = 0.7;
const TOKENS = 8;
const FIRST_MS = 20;
const TOKEN_MS = 10;
/** Waiting for a slot included. */
const LIFE_MS = 2 * (FIRST_MS + TOKENS * TOKEN_MS);

const random = randomFrom(4_096);

/** Twice as many clients as slots: half of all wait, and leave there as well. */
async function crowd(generator: Generator, count: number): Promise<Record<string, number>> {
  const ends: Record<string, number> = {};
  let asked = 0;
  const client = async (model: string): Promise<void> => {
    while (asked < count) {
      asked += 1;
      const leave = random() < LEAVING_SHARE ? leaveOf(LIFE_MS, TOKENS, random) : null;
      const { end } = await generator.one({ model, stream: random() < 0.5, tokens: TOKENS }, leave);
      ends[end] = (ends[end] ?? 0) + 1;
    }
  };
  await Promise.all(CROWDS.flatMap((model) => Array.from({ length: CLIENTS_EACH }, () => client(model))));
  return ends;
}

/** One slot: the first holds it, the second waits. From the moment in which the first leaves to the first byte of the second. */
async function relay(generator: Generator, model: string, rounds: number): Promise<number[]> {
  const delays: number[] = [];
  while (delays.length < rounds) {
    const leavesAfter = 60 + random() * 120;
    // Half of them leave before the engine has said anything.
    const firstMs = random() < 0.5 ? 10_000 : 1;
    const first = generator.one(
      { model, stream: random() < 0.5, tokens: 5_000, tokenMs: 5, firstMs },
      { after: 'ms', ms: leavesAfter },
    );
    await pause(30);
    const second = await generator.one({ model, stream: true, tokens: 1, firstMs: 0 });
    const { endAt, end } = await first;
    if (end !== 'left' || second.end !== '200' || second.firstAt === null) throw new Error(`${end}, ${second.end}`);
    // On a starved machine the second may have come too late to wait at all.
    if (second.sentAt < endAt) delays.push(second.firstAt - endAt);
  }
  return delays;
}

async function cancel(
  gates: Gates,
  gateway: GatewayUnderLoad,
  long: boolean,
  say: (text: string) => void,
): Promise<void> {
  const generator = new Generator(gateway.pool);
  const [warmCrowd] = await Promise.all([crowd(generator, 400), ...LANES.map((lane) => relay(generator, lane, 3))]);
  const baseline = await baselineOf(gateway);
  say('warm');
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const lanes = await Promise.all(LANES.map((lane) => relay(generator, lane, long ? 500 : 15)));
  delay.disable();
  const lateMs = delay.percentile(99) / 1e6;
  say('slots measured');
  const ends = await crowd(generator, long ? 100_000 : 1_000);
  await untilQuiet(gateway);
  const { left = 0, '200': whole = 0, ...others } = ends;
  gates.none('unexplained ends', others);
  gates.atLeast('clients that left', left, 1);
  const { excess } = await restAfter(gateway, baseline.held);
  gates.none('left over at rest [I-24] [I-79]', excess);
  const { models, replicas } = await gateway.status();
  const busy = Object.values(models).reduce((sum, { queued, in_flight: running }) => sum + queued + running, 0);
  const leases = Object.values(replicas).reduce((sum, one) => sum + one.leases, 0);
  gates.exactly('waiting, running and leased after', busy + leases, 0);
  const delays = lanes.flat();
  // A timer of the load that is late tells how long this machine has other things to do. Of few samples the p99 is one hiccup.
  const share = long ? 0.99 : 0.5;
  gates.atMost(
    `a slot is free after its client left, p${share * 100}: 100 ms, and what a timer of the load is late [I-68]`,
    quantile(delays, share),
    100 + lateMs,
    'ms',
  );
  gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
  gates.figure('requests of the crowd', left + whole + Object.values(warmCrowd).reduce((sum, count) => sum + count, 0));
  gates.figure('left', left);
  gates.figure('slot free, p50, ms', quantile(delays, 0.5));
  gates.figure('slot free, p99, ms', quantile(delays, 0.99));
  gates.figure('a timer of the load is late, p99, ms', lateMs);
  gates.figure('slots measured', delays.length);
}

export const cancelForm: Form = {
  title: 'clients that leave at any moment',
  async run(gates, { long, say }) {
    // Of these engines the gateway knows only the API, so idle connections to them are closed in seconds.
    const own = (name: string): Record<string, unknown> => ({
      command: ['simulated-vllm', 'serve', `org/${name}`, '--port', '${port}'],
    });
    const knobs = { TTFT_MS: FIRST_MS, TOKEN_MS };
    const models = [
      ...CROWDS.map((name) => ({ name, knobs, keys: { max_concurrent: CROWD_SLOTS, ...own(name) } })),
      ...LANES.map((name) => ({ name, knobs, keys: { max_concurrent: 1, ...own(name) } })),
    ];
    const limits = { max_models_concurrent: models.length, max_queue_size: 200 };
    await using gateway = await startUnderLoad({ models, limits, recount: !long });
    using _pool = gateway.pool;
    await cancel(gates, gateway, long, say);
  },
};
