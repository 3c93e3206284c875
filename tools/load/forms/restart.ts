/** The gateway dies again and again under load: its engines are found again, none twice, none forgotten. */
import { type EngineProcess, enginesOf } from '../../../test/support/engine-processes.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { untilQuiet } from '../at-rest.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { Generator, pause, type Result } from '../generator.ts';
import { quantile, randomFrom, tally } from '../statistics.ts';
import type { Form } from './form.ts';

const MODELS = ['one', 'two'] as const;
const CLIENTS_EACH = 10;
const RETRY_MS = 20;
/** Every so often a model is stopped first, so that death meets a start or a stop. */
const UNLOAD_EVERY = 3;
const MOST_WAIT_MS = 1_500;
const ALIVE_WITHIN_MS = 60_000;

interface Death {
  readonly at: number;
  /** When it was back and ready to start models. */
  back: number;
}

interface Told {
  readonly results: Result[];
  readonly deaths: Death[];
  /** From the moment in which it listens, and from the one in which its process was spawned. */
  readonly adoptionMs: number[];
  readonly backMs: number[];
  readonly duplicates: string[];
  readonly notAdopted: string[];
  readonly strangers: string[];
}

async function client(
  generator: Generator,
  model: string,
  state: { readonly over: boolean },
  told: Told,
): Promise<void> {
  for (let index = 0; !state.over; index += 1) {
    const result = await generator.one({ model, stream: index % 2 === 0, tokens: 8 });
    told.results.push(result);
    if (result.end !== '200') await pause(RETRY_MS);
  }
}

const leaders = async (gateway: GatewayUnderLoad): Promise<EngineProcess[]> =>
  (await enginesOf(gateway.id)).filter(({ leads }) => leads);

/** Replicas by process id, of those that are ready. */
async function readyOnes(gateway: GatewayUnderLoad): Promise<Map<number, string>> {
  const { replicas } = await gateway.status();
  return new Map(
    Object.values(replicas).flatMap(({ state, pid, model }) =>
      state === 'ready' && pid !== null ? [[pid, model] as const] : [],
    ),
  );
}

async function die(gateway: GatewayUnderLoad, round: number, random: () => number, told: Told): Promise<void> {
  if (round % UNLOAD_EVERY === UNLOAD_EVERY - 1) {
    await gateway.pool.post(`/gateway/models/${MODELS[round % MODELS.length] ?? ''}/unload`, {});
    await pause(random() * 600);
  } else await pause(100 + random() * MOST_WAIT_MS);
  const ready = round % UNLOAD_EVERY === UNLOAD_EVERY - 1 ? new Map<number, string>() : await readyOnes(gateway);
  const death: Death = { at: performance.now(), back: Infinity };
  told.deaths.push(death);
  await gateway.kill();
  gateway.pool.closeIdle();
  const spawnedAt = performance.now();
  gateway.again();
  await gateway.ready();
  death.back = performance.now();
  await eventually(
    'every engine from before answers again',
    async () => {
      const { replicas } = await gateway.status();
      const adopted = Object.values(replicas)
        .filter(({ state }) => state === 'ready')
        .map(({ pid }) => pid);
      const alive = new Set((await leaders(gateway)).map(({ pid }) => pid));
      return [...ready.keys()].every((pid) => adopted.includes(pid) || !alive.has(pid));
    },
    ALIVE_WITHIN_MS,
  );
  told.adoptionMs.push(performance.now() - gateway.log.listeningAt);
  told.backMs.push(performance.now() - spawnedAt);
  await inspect(gateway, ready, told);
}

/** One process per replica, one replica per model, and those from before are still the same. */
async function inspect(gateway: GatewayUnderLoad, before: ReadonlyMap<number, string>, told: Told): Promise<void> {
  const round = told.deaths.length;
  await eventually(
    'each model has one engine that answers',
    async () => (await readyOnes(gateway)).size === MODELS.length && (await leaders(gateway)).length === MODELS.length,
    ALIVE_WITHIN_MS,
  ).catch(async () => {
    const { replicas } = await gateway.status();
    const shown = Object.entries(replicas).map(([id, { state, pid }]) => `${id} ${state} ${pid}`);
    told.strangers.push(
      `round ${round}: ${(await leaders(gateway)).map(({ pid, replica }) => `${replica} ${pid}`).join(', ')} beside ${shown.join(', ')}`,
    );
  });
  const byModel = tally([...(await readyOnes(gateway)).values()]);
  for (const [model, count] of Object.entries(byModel))
    if (count > 1) told.duplicates.push(`round ${round}: ${count} of ${model}`);
  const alive = new Set((await leaders(gateway)).map(({ pid }) => pid));
  for (const [pid, model] of before)
    if (!alive.has(pid)) told.notAdopted.push(`round ${round}: ${model}, process ${pid}`);
}

export const restartForm: Form = {
  title: 'the gateway is killed under load, again and again',
  async run(gates, { long, say }) {
    const rounds = long ? 100 : 3;
    const models = MODELS.map((name) => ({ name, knobs: { START_MS: 300, TTFT_MS: 5, TOKEN_MS: 10 } }));
    const limits = { max_concurrent: 20, max_models_concurrent: MODELS.length };
    await using gateway = await startUnderLoad({ models, limits, recount: true });
    using pool = gateway.pool;
    const generator = new Generator(pool);
    const random = randomFrom(9);
    const told: Told = {
      ...{ results: [], deaths: [], adoptionMs: [], backMs: [] },
      ...{ duplicates: [], notAdopted: [], strangers: [] },
    };
    await Promise.all(MODELS.map((model) => generator.one({ model, stream: false, tokens: 1 })));
    const state = { over: false };
    const clients = MODELS.flatMap((model) =>
      Array.from({ length: CLIENTS_EACH }, () => client(generator, model, state, told)),
    );
    for (let round = 0; round < rounds; round += 1) {
      await die(gateway, round, random, told);
      if ((round + 1) % 10 === 0) say(`${round + 1} deaths`);
    }
    await pause(500);
    state.over = true;
    await Promise.all(clients);
    await untilQuiet(gateway);
    judge(gates, told, long);
    const { id } = gateway;
    gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
    gates.exactly('exit code of the orderly end', (await gateway.stop()) ?? -1, 0);
    gates.exactly('processes left after the orderly end [I-87]', (await enginesOf(id)).length, 0);
  },
};

function judge(gates: Gates, told: Told, long: boolean): void {
  const { results, deaths, adoptionMs, backMs, duplicates, notAdopted, strangers } = told;
  gates.atLeast('deaths [F99]', deaths.length, long ? 100 : 3);
  gates.none('two engines of one model [I-88]', duplicates);
  gates.none('engines that nobody knows, or that are missing [I-88]', strangers);
  gates.none('engines that were ready and were not found again', notAdopted);
  // Who was under way when it died has no answer, or half of one; who came while it was away has none.
  const during = ({ sentAt, endAt }: Result): boolean => deaths.some(({ at, back }) => sentAt <= back && endAt >= at);
  const unexplained = results.filter(
    (result) => result.end !== '200' && (result.end.startsWith('WRONG') || !during(result)),
  );
  gates.none('unexplained ends', tally(unexplained.map(({ end }) => end)));
  gates.atLeast('served', results.filter(({ end }) => end === '200').length, deaths.length);
  if (long) gates.atMost('engines found again, from listening on, p99', quantile(adoptionMs, 0.99), 3_000, 'ms');
  gates.figure('engines found again, from listening on, p50, ms', quantile(adoptionMs, 0.5));
  gates.figure('the same with the start of the process, p50, ms', quantile(backMs, 0.5));
  gates.figure('the same with the start of the process, p99, ms', quantile(backMs, 0.99));
  for (const [end, count] of Object.entries(tally(results.map(({ end }) => end))))
    gates.figure(`ended with ${end}`, count);
}
