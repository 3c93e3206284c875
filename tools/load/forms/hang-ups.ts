/** As many clients as there are slots hang up before the first byte, over and over: the next is served as ever. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { baselineOf, restAfter, untilQuiet } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { Generator, pause } from '../generator.ts';
import { quantile, randomFrom } from '../statistics.ts';
import type { Form } from './form.ts';

const CLIENTS = 64;
const ROUNDS = { short: 20, long: 1_000 };
/** The engine says nothing before this. */
const SILENT_MS = 60_000;
/** All have left by then. */
const LEAVE_WITHIN_MS = 20;
const MODEL = 'patient';
const MIB = 1_048_576;

const random = randomFrom(64);

async function hangUps(generator: Generator, ends: Record<string, number>): Promise<void> {
  const one = async (): Promise<void> => {
    const wish = { model: MODEL, stream: random() < 0.5, tokens: 4, firstMs: SILENT_MS };
    const { end, firstAt } = await generator.one(wish, { after: 'ms', ms: random() * LEAVE_WITHIN_MS });
    const told = firstAt === null ? end : `${end}, after a first byte`;
    ends[told] = (ends[told] ?? 0) + 1;
  };
  await Promise.all(Array.from({ length: CLIENTS }, one));
}

async function next(generator: Generator): Promise<{ end: string; ms: number }> {
  const { end, meantAt, endAt } = await generator.one({ model: MODEL, stream: random() < 0.5, tokens: 2, firstMs: 0 });
  return { end, ms: endAt - meantAt };
}

async function run(gates: Gates, gateway: GatewayUnderLoad, long: boolean, say: (text: string) => void): Promise<void> {
  const generator = new Generator(gateway.pool);
  const rounds = long ? ROUNDS.long : ROUNDS.short;
  const warm: number[] = [];
  for (let index = 0; index < CLIENTS; index += 1) warm.push((await next(generator)).ms);
  await hangUps(generator, {});
  await untilQuiet(gateway);
  const baseline = await baselineOf(gateway);
  const rss = gateway.rss();
  const ends: Record<string, number> = {};
  const served: Record<string, number> = {};
  const times: number[] = [];
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  for (let round = 1; round <= rounds; round += 1) {
    await hangUps(generator, ends);
    // A slot that was not given back would be missed by the next 64: there are no more of them, and no queue.
    const { end, ms } = await next(generator);
    served[end] = (served[end] ?? 0) + 1;
    times.push(ms);
    if (round % 100 === 0) say(`${round} rounds`);
    await pause(0);
  }
  delay.disable();
  const lateMs = delay.percentile(99) / 1e6;
  const { left = 0, ...others } = ends;
  const { '200': whole = 0, ...refused } = served;
  gates.exactly(`clients that hung up before the first byte, ${CLIENTS} at a time`, left, CLIENTS * rounds);
  gates.none('other ends of theirs', others);
  gates.exactly('the next request is served, each time', whole, rounds);
  gates.none('other ends of the next request', refused);
  // A slot is to be free 100 ms after its client left. A timer of the load that is late tells how busy this machine is.
  gates.atMost(
    'the next request, p50: as before, 100 ms for a slot, and what a timer of the load is late',
    quantile(times, 0.5),
    quantile(warm, 0.5) + 100 + lateMs,
    'ms',
  );
  const { excess } = await restAfter(gateway, baseline.held);
  gates.none('left over at rest', excess);
  gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
  gates.figure('hung up', left);
  gates.figure('the next request before, p50, ms', quantile(warm, 0.5));
  gates.figure('the next request after 64 hung up, p50, ms', quantile(times, 0.5));
  gates.figure('the next request after 64 hung up, p99, ms', quantile(times, 0.99));
  gates.figure('a timer of the load is late, p99, ms', lateMs);
  gates.figure('RSS more than before, MiB', (gateway.rss() - rss) / MIB);
}

export const hangUpsForm: Form = {
  title: '64 clients hang up before the first byte, over and over, and the next is served as ever',
  async run(gates, { long, say }) {
    const command = ['simulated-vllm', 'serve', `org/${MODEL}`, '--port', '${port}'];
    const models = [{ name: MODEL, keys: { command, max_concurrent: CLIENTS } }];
    // Whoever asks in the moment in which the last 64 are still leaving waits that moment.
    const limits = { max_models_concurrent: 1, max_queue_size: CLIENTS };
    await using gateway = await startUnderLoad({ models, limits, recount: !long });
    using _pool = gateway.pool;
    await run(gates, gateway, long, say);
  },
};
