/** A thousand requests in ten seconds: as many are let in as there is room, exactly, and everybody is told at once. */
import { untilQuiet } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { Generator, type Planned, type Result, steady } from '../generator.ts';
import { quantile, tally } from '../statistics.ts';
import type { Form } from './form.ts';

const REQUESTS = 1_000;
const PER_SECOND = 100;
const SLOTS = 50;
const QUEUE = 200;
/** Long beside the time in which the first fifty come: answers end in waves, and between two waves the count is exact. */
const WORK = { tokens: 10, firstMs: 300, tokenMs: 300 };
/** No answer ended so shortly before or after the refusal at which the room is counted. */
const MARGIN_MS = 60;

async function burst(gates: Gates, gateway: GatewayUnderLoad, name: string): Promise<void> {
  const generator = new Generator(gateway.pool);
  const before = await gateway.metric('requests_total', { model: name, outcome: 'completed' });
  const planned: Planned[] = [...steady(PER_SECOND, REQUESTS)].map((at, index) => {
    return { model: name, at, stream: index % 2 === 0, leave: null, ...WORK };
  });
  const results: Result[] = [];
  await generator.run(planned, (result) => void results.push(result));
  const served = results.filter(({ end }) => end === '200');
  const refused = results.filter(({ end }) => end === '429 queue_full');
  const others = tally(results.filter(({ end }) => end !== '200' && end !== '429 queue_full').map(({ end }) => end));
  gates.none(`${name}: ends other than 200 and 429`, others);
  gates.exactly(`${name}: answered`, served.length + refused.length, REQUESTS);
  const full = fullMoment(refused, served);
  const inBefore = served.filter(({ sentAt }) => sentAt < (full?.sentAt ?? 0)).length;
  const outBefore = served.filter(({ endAt }) => endAt < (full?.endAt ?? 0)).length;
  gates.exactly(`${name}: let in = slots + queue + ended, when last full [S17]`, inBefore, SLOTS + QUEUE + outBefore);
  await untilQuiet(gateway);
  const status = (await gateway.status()).models[name];
  gates.exactly(`${name}: waiting and running after`, (status?.queued ?? -1) + (status?.in_flight ?? -1), 0);
  gates.exactly(
    `${name}: completed by the metrics`,
    (await gateway.metric('requests_total', { model: name, outcome: 'completed' })) - before,
    served.length,
  );
  gates.exactly(
    `${name}: refused by the metrics`,
    await gateway.metric('requests_total', { model: name, code: 'queue_full' }),
    refused.length,
  );
  gates.exactly(`${name}: starts`, await gateway.metric('starts_total', { model: name }), 1);
  const refusalMs = refused.map(({ sentAt, endAt }) => endAt - sentAt);
  gates.figure(`${name}: served`, served.length);
  gates.figure(`${name}: refused`, refused.length);
  gates.figure(`${name}: refusal p50, ms`, quantile(refusalMs, 0.5));
  gates.figure(`${name}: refusal p99, ms`, quantile(refusalMs, 0.99));
}

/** The refusal that no end of an answer is near: then slots and queue were full, and what was in them is known. */
function fullMoment(refused: readonly Result[], served: readonly Result[]): Result | undefined {
  return refused.findLast(({ sentAt, endAt }) =>
    served.every((one) => one.endAt < sentAt - MARGIN_MS || one.endAt > endAt + MARGIN_MS),
  );
}

export const burstForm: Form = {
  title: 'a thousand requests in ten seconds, fifty slots, two hundred places',
  async run(gates, { long, say }) {
    const limits = { max_concurrent: SLOTS, max_models_concurrent: 2, max_queue_size: QUEUE };
    const models = [
      { name: 'warm', keys: { always_on: true } },
      ...(long ? [{ name: 'cold', knobs: { START_MS: 1_000 } }] : []),
    ];
    await using gateway = await startUnderLoad({ models, limits, recount: true });
    using pool = gateway.pool;
    await new Generator(pool).one({ model: 'warm', stream: false, tokens: 1 });
    await burst(gates, gateway, 'warm');
    say('warm done');
    if (long) await burst(gates, gateway, 'cold');
    gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
  },
};
