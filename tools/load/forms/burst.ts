/** A thousand requests in ten seconds: as many are let in as there is room, exactly, and everybody is told at once. */
import { eventually } from '../../../test/support/eventually.ts';
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
const WORK = { tokens: 10, firstMs: 160, tokenMs: 160 };

async function burst(gates: Gates, gateway: GatewayUnderLoad, name: string): Promise<void> {
  const generator = new Generator(gateway.pool);
  const before = await gateway.metric('requests_total', { model: name, outcome: 'completed' });
  const planned: Planned[] = [...steady(PER_SECOND, REQUESTS)].map((at, index) => {
    return { model: name, at, stream: index % 2 === 0, leave: null, ...WORK };
  });
  const results: Result[] = [];
  const lines: string[] = [];
  gateway.log.kept = lines;
  await generator.run(planned, (result) => void results.push(result));
  const served = results.filter(({ end }) => end === '200');
  const refused = results.filter(({ end }) => end === '429 queue_full');
  const others = tally(results.filter(({ end }) => end !== '200' && end !== '429 queue_full').map(({ end }) => end));
  gates.none(`${name}: ends other than 200 and 429`, others);
  gates.exactly(`${name}: answered`, served.length + refused.length, REQUESTS);
  await untilQuiet(gateway);
  await eventually('every access line is here', () => lines.length === REQUESTS);
  const { inside, room } = whenLastFull(lines);
  gates.exactly(`${name}: let in = slots + queue + ended, when last full [S17]`, inside, room);
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

interface Line {
  readonly outcome: string;
  readonly started_at: string;
}

/**
 * A request is logged in the very step in which it is refused or gives its slot back: before the last refusal so many had
 * ended, and so many had come in before it that were served then or later. Refusals beside which somebody was let in within
 * the same millisecond are passed over: nobody can tell who was first.
 */
function whenLastFull(lines: readonly string[]): { inside: number; room: number } {
  const all = lines.map((line) => JSON.parse(line) as Line);
  const served = all.filter(({ outcome }) => outcome === 'completed');
  const letIn = new Set(served.map(({ started_at: at }) => at));
  const last = all.findLastIndex(({ outcome, started_at: at }) => outcome === 'rejected' && !letIn.has(at));
  const refusedAt = all[last]?.started_at ?? '';
  const ended = all.slice(0, last).filter(({ outcome }) => outcome === 'completed').length;
  return { inside: served.filter(({ started_at: at }) => at < refusedAt).length, room: SLOTS + QUEUE + ended };
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
    await eventually('its access line is here', () => gateway.log.outcomes['completed'] === 1);
    await burst(gates, gateway, 'warm');
    say('warm done');
    if (long) await burst(gates, gateway, 'cold');
    gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
  },
};
