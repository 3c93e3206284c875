/** Engines that fail in every way, models that come and go, clients that leave: nobody ever gets what belongs to another. */
import { untilQuiet } from '../at-rest.ts';
import type { Leave } from '../connection.ts';
import type { Gates } from '../gates.ts';
import { type GatewayUnderLoad, startUnderLoad } from '../gateway-under-load.ts';
import { Generator, pause } from '../generator.ts';
import { randomFrom } from '../statistics.ts';
import type { Form } from './form.ts';
import { leaveOf } from './soak.ts';

const MODELS = ['one', 'two', 'three', 'four'] as const;
const SLOTS = 16;
const CLIENTS = 64;
const TOKENS = 4;
const LIFE_MS = 15;
const FAULT_SHARE = 0.04;
const LEAVING_SHARE = 0.05;
/** Of one request; that these end the engine's process makes them rare. */
const FATAL_SHARE = 0.000_04;
/** A short run has one of each at these requests. */
const FATAL_AT = [500, 1_100, 1_700];
const FATAL = ['crash', 'exit0', 'engine_dead_500'];
const FAULTS = ['cut_after:1', 'cut_after:3', 'rst_after:2', 'error_frame_after:2', 'missing_done', 'abort_after:2'];
/** A client that hears that a model rests comes back later. */
const REST_MS = 200;
/** What may become of a request whose engine fails, stops or is restarted beside it. */
const EXPLAINED = new Set([
  ...[
    '200',
    'left',
    'stream: upstream_lost',
    'stream: drain_timeout',
    '502 upstream_lost',
    '503 upstream_unreachable',
    '503 drain_timeout',
  ],
  ...['503 model_start_failed', '503 model_backing_off', '500 500', 'stream: 500'],
]);

interface Told {
  readonly ends: Record<string, number>;
  readonly wrong: string[];
  readonly unexplained: Record<string, number>;
  faults: number;
}

async function churn(gateway: GatewayUnderLoad, everyMs: number, state: { readonly over: boolean }): Promise<number> {
  let unloads = 0;
  for (let index = 0; !state.over; index += 1) {
    await pause(everyMs);
    if (state.over) break;
    await gateway.pool.post(`/gateway/models/${MODELS[index % MODELS.length] ?? ''}/unload`, {});
    unloads += 1;
  }
  return unloads;
}

async function ask(generator: Generator, random: () => number, fatal: string | undefined, told: Told): Promise<void> {
  const model = MODELS[Math.floor(random() * MODELS.length)] ?? 'one';
  const stream = random() < 0.5;
  const drawn = random();
  let fault = fatal ?? (random() < FATAL_SHARE ? FATAL[Math.floor(random() * FATAL.length)] : undefined);
  if (drawn < FAULT_SHARE) fault ??= FAULTS[Math.floor(random() * FAULTS.length)];
  const leave: Leave | null = fatal === undefined && random() < LEAVING_SHARE ? leaveOf(LIFE_MS, TOKENS, random) : null;
  if (fault !== undefined) told.faults += 1;
  const { end } = await generator.one(
    { model, stream, tokens: TOKENS, ...(fault === undefined ? {} : { fault }) },
    leave,
  );
  told.ends[end] = (told.ends[end] ?? 0) + 1;
  if (end === '503 model_backing_off') await pause(REST_MS);
  const kind = stream ? 'stream' : 'plain';
  if (end.startsWith('WRONG')) told.wrong.push(`${end} (${kind}, ${fault ?? 'no fault'})`);
  else if (!explained(end, stream, fault)) {
    const name = `${end} (${kind}, ${fault ?? 'no fault'})`;
    told.unexplained[name] = (told.unexplained[name] ?? 0) + 1;
  }
}

/** A fault of its own may show as whatever the engine said; a plain answer that broke off is just cut. */
function explained(end: string, stream: boolean, fault: string | undefined): boolean {
  if (EXPLAINED.has(end)) return true;
  if (end === 'cut') return !stream;
  return fault !== undefined && end !== 'no answer';
}

export const nonceForm: Form = {
  title: 'engines that fail, models that come and go, clients that leave; each answer is checked word by word',
  async run(gates, { long, say }) {
    const count = long ? 1_000_000 : 2_500;
    const limits = { max_concurrent: SLOTS, max_models_concurrent: MODELS.length, max_queue_size: 200 };
    const models = MODELS.map((name) => ({ name, knobs: { START_MS: 300, TTFT_MS: 1, TOKEN_MS: 2, TOKENS } }));
    await using gateway = await startUnderLoad({ models, limits, recount: !long });
    using pool = gateway.pool;
    const generator = new Generator(pool);
    const random = randomFrom(31);
    const told: Told = { ends: {}, wrong: [], unexplained: {}, faults: 0 };
    const state = { over: false };
    const churning = churn(gateway, long ? 5_000 : 1_500, state);
    let asked = 0;
    const client = async (): Promise<void> => {
      while (asked < count) {
        asked += 1;
        if (asked % 50_000 === 0) say(`${asked} requests`);
        await ask(generator, random, FATAL[FATAL_AT.indexOf(asked)], told);
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    state.over = true;
    const unloads = await churning;
    await untilQuiet(gateway);
    judge(gates, told, count);
    gates.atLeast('unloads meanwhile', unloads, 1);
    gates.exactly('broken invariants', await gateway.metric('invariant_violations_total'), 0);
    gates.none('errors in the log', gateway.log.errors);
    gates.figure('starts', await gateway.metric('starts_total'));
  },
};

function judge(gates: Gates, { ends, wrong, unexplained, faults }: Told, count: number): void {
  gates.none('answers of another, and parts that look complete [I-59] [I-62]', wrong);
  gates.none('unexplained ends', unexplained);
  gates.exactly(
    'ends',
    Object.values(ends).reduce((sum, one) => sum + one, 0),
    count,
  );
  gates.atLeast('whole and right', ends['200'] ?? 0, count / 2);
  gates.figure('requests', count);
  gates.figure('faults asked for', faults);
  for (const [end, times] of Object.entries(ends)) gates.figure(`ended with ${end}`, times);
}
