/** Two models that do not fit together, both wanted all the time: nobody fails, and memory is not swapped more often than agreed. */
import { untilQuiet } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { startUnderLoad } from '../gateway-under-load.ts';
import { Generator, type Planned, poisson, type Result } from '../generator.ts';
import { quantile, randomFrom, tally } from '../statistics.ts';
import type { Form } from './form.ts';

const MODELS = ['left', 'right'] as const;
const PER_SECOND = 15;
/** The longest lease, the stop and the start, on a machine with other things to do. */
const SWAP_S = 4;

export const turnsForm: Form = {
  title: 'two models that do not fit together, both wanted all the time',
  async run(gates, { long, say }) {
    const turn = long ? 8 : 3;
    const seconds = long ? 300 : 11;
    const models = MODELS.map((name) => ({
      name,
      knobs: { START_MS: 300, TOKENS: 10, TOKEN_MS: 20 },
      keys: { memory: '9GiB' },
    }));
    const limits = {
      max_turn: `${turn}s`,
      min_residency: `${turn}s`,
      max_concurrent: 50,
      max_models_concurrent: 2,
      max_queue_size: 400,
    };
    const devices = { probe: 'simulated', list: [{ id: 'gpu-0', memory: '12GiB' }] };
    await using gateway = await startUnderLoad({ models, limits, devices, recount: !long });
    using pool = gateway.pool;
    const generator = new Generator(pool);
    const random = randomFrom(5);
    const planned = MODELS.flatMap((model) =>
      [...poisson(PER_SECOND, seconds, random)].map((at): Planned => ({
        model,
        at,
        stream: random() < 0.5,
        tokens: 10,
        leave: null,
      })),
    ).toSorted((one, other) => one.at - other.at);
    const results: Result[] = [];
    const beganAt = performance.now();
    await generator.run(planned, (result) => {
      results.push(result);
      if (results.length % 1_000 === 0) say(`${results.length} served`);
    });
    const tookS = (performance.now() - beganAt) / 1_000;
    await untilQuiet(gateway);
    judge(gates, results, turn);
    const swaps = gateway.log.decisions.filter(
      ({ event }) => event === 'replica.evicted' || event === 'replica.fenced',
    ).length;
    gates.atLeast('swaps', swaps, 2);
    gates.atMost('swaps, one per turn [I-52]', swaps, Math.ceil(tookS / turn));
    gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
    gates.none('errors in the log', gateway.log.errors);
  },
};

function judge(gates: Gates, results: readonly Result[], turn: number): void {
  const { '200': served = 0, ...others } = tally(results.map(({ end }) => end));
  gates.none('ends other than 200', others);
  const waits = results.map(({ sentAt, endAt }) => (endAt - sentAt) / 1_000);
  // Whoever comes when its model has just been fenced waits for that swap, the turn of the other, and the swap back.
  gates.atMost('longest wait', Math.max(...waits), turn + 2 * SWAP_S, 's');
  gates.figure('served', served);
  gates.figure('wait p50, s', quantile(waits, 0.5));
  gates.figure('wait p99, s', quantile(waits, 0.99));
}
