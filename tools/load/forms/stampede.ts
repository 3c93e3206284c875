/** Everybody wants a model that is cold: it starts once, and everybody is served. */
import { untilQuiet } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { Generator, type Result } from '../generator.ts';
import { quantile, tally } from '../statistics.ts';
import type { Form } from './form.ts';

const CROWD = 1_000;
const FLEET = Array.from({ length: 10 }, (_, index) => `model-${index}`);
const EACH = 200;

async function stampede(
  gates: Gates,
  gateway: GatewayUnderLoad,
  models: readonly string[],
  each: number,
): Promise<void> {
  const generator = new Generator(gateway.pool);
  const name = `${models.length} × ${each}`;
  const asked: Promise<Result>[] = [];
  for (let index = 0; index < each; index += 1)
    for (const model of models) asked.push(generator.one({ model, stream: index % 2 === 0, tokens: 4 }));
  const results = await Promise.all(asked);
  const { '200': served = 0, ...others } = tally(results.map(({ end }) => end));
  gates.none(`${name}: ends other than 200`, others);
  gates.exactly(`${name}: served, each with its own answer`, served, models.length * each);
  await untilQuiet(gateway);
  const starts = await Promise.all(models.map((model) => gateway.metric('starts_total', { model })));
  gates.exactly(`${name}: starts of the most started model [I-26]`, Math.max(...starts), 1);
  gates.exactly(
    `${name}: starts`,
    starts.reduce((sum, count) => sum + count, 0),
    models.length,
  );
  gates.figure(
    `${name}: wait p50, ms`,
    quantile(
      results.map(({ sentAt, endAt }) => endAt - sentAt),
      0.5,
    ),
  );
  gates.figure(`${name}: wait max, ms`, Math.max(...results.map(({ sentAt, endAt }) => endAt - sentAt)));
}

export const stampedeForm: Form = {
  title: 'a thousand at once to one cold model',
  async run(gates, { long }) {
    const models = ['cold', ...(long ? FLEET : [])].map((name) => ({ name, knobs: { START_MS: 1_000 } }));
    const limits = { max_concurrent: 50, max_models_concurrent: 10, max_queue_size: CROWD };
    await using gateway = await startUnderLoad({ models, limits, recount: true });
    using _pool = gateway.pool;
    await stampede(gates, gateway, ['cold'], CROWD);
    if (long) await stampede(gates, gateway, FLEET, EACH);
    gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
  },
};
