/**
 * Two builds against each other, so closely interleaved that whatever else the machine does happens to both. A round starts both
 * anew, because what a compiler made of one process stays with it, and measures each workload in short turns, A B B A B A A B. A round gives one
 * ratio of CPU time per unit; of all rounds' ratios the median's lower 95 % bound must not be above the limit.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check, clients, closedLoop, closing, plainAsk, streamAsk } from './asks.ts';
import { buildOf, currentBuild, hasCommit, namedBaseline } from './builds.ts';
import type { LoadClient } from './client.ts';
import { startGateway, type Build, type GatewayOptions } from './gateway-target.ts';
import { HERE, ROOT } from './launch.ts';
import { cpuSeconds } from './machine.ts';
import { median } from './measured.ts';
import { commitOf, placeOf, type Place } from './record.ts';
import { lowerBound } from './statistics.ts';
import type { Running } from './targets.ts';
import { warmUp } from './workloads.ts';

const ROUNDS = 18;
/** With fewer the bound is the least of them, or the one beside it: on a machine with other work that is anybody's. */
const LEAST_ROUNDS = 8;
const LIMIT = 1.03;
/** Seconds for all rounds: a change waits for this. */
const LIMIT_S = 130;
const MICRO = 1e6;
const PACE = 20;

export interface Compared {
  readonly workload: string;
  readonly unit: string;
  readonly rounds: number;
  /** Microseconds, medians over the rounds. */
  readonly before: number;
  readonly now: number;
  /** Medians over the rounds of what one round tells. */
  readonly ratio: number;
  /** Null: too few rounds. */
  readonly lower_bound: number | null;
  readonly ok: boolean;
}

interface Side {
  readonly build: Build;
  readonly options?: GatewayOptions;
}

interface Turns {
  readonly id: string;
  readonly unit: string;
  readonly concurrency: number;
  /** One turn; gives the units done. */
  turn(all: readonly LoadClient[]): Promise<number>;
}

/** Turns of a workload in one round, on either side; in the order that trends cancel out in best. */
const ORDER = [0, 1, 1, 0, 1, 0, 0, 1] as const;
const FAST_EVENTS = 100;
const PACED_EVENTS = 12;

const times = (count: number) => (asked: number) => asked >= count;

/** As much work for either side, however busy the machine is. */
const TURNS: readonly Turns[] = [
  {
    ...{ id: 'W1', unit: 'request', concurrency: 32 },
    turn: async (all) => (await closedLoop(all, () => plainAsk(400), times(1_200))).done,
  },
  {
    ...{ id: 'W2', unit: 'event', concurrency: 16 },
    turn: async (all) => (await closedLoop(all, () => streamAsk(FAST_EVENTS, 0), times(64))).done * FAST_EVENTS,
  },
  {
    ...{ id: 'W3', unit: 'event', concurrency: 200 },
    turn: async (all) => {
      for (const answer of await Promise.all(all.map((client) => client.ask(streamAsk(PACED_EVENTS, PACE)))))
        check(answer);
      return all.length * PACED_EVENTS;
    },
  },
];

interface Told {
  /** CPU microseconds per unit of each side, medians over its turns. */
  readonly costs: readonly [number, number];
  /** Median over the turns that followed each other: a turn that was disturbed is one of several. */
  readonly ratio: number;
}

async function inTurns(turns: Turns, sides: readonly Running[], swap: boolean): Promise<Told> {
  const both = sides.map((running) => ({ pids: running.pids(), load: clients(running, turns.concurrency) }));
  const costs: [number[], number[]] = [[], []];
  await closing(
    both.flatMap(({ load }) => load),
    async () => {
      for (const turn of ORDER) {
        const at = swap ? (turn === 0 ? 1 : 0) : turn;
        const { pids = [], load = [] } = both[at] ?? {};
        const before = cpuSeconds(pids);
        const units = await turns.turn(load);
        costs[at].push(((cpuSeconds(pids) - before) / units) * MICRO);
      }
    },
  );
  const [before, now] = costs;
  return { costs: [median(before), median(now)], ratio: median(now.map((cost, at) => cost / (before[at] ?? cost))) };
}

interface Bounds {
  readonly rounds: number;
  /** Seconds; no round starts after it. Fewer rounds say less, and what says less fails less. */
  readonly limit: number;
  readonly say?: (line: string) => void;
}

/** Ratios are `now` over `before`. */
export async function compare(before: Side, now: Side, { rounds, limit, say }: Bounds): Promise<readonly Compared[]> {
  const told = new Map<string, Told[]>(TURNS.map(({ id }) => [id, []]));
  const end = performance.now() + limit * 1_000;
  for (let round = 0; round < rounds && performance.now() < end; round++) {
    const start = (side: Side): Promise<Running> => startGateway(side.build, side.options);
    const sides = await Promise.all([start(before), start(now)]);
    try {
      await Promise.all(sides.map(warmUp));
      for (const turns of TURNS) {
        const one = await inTurns(turns, sides, round % 2 === 1);
        told.get(turns.id)?.push(one);
        const [first, second] = one.costs;
        say?.(
          `round ${round + 1} ${turns.id}: ${first.toFixed(2)}, ${second.toFixed(2)} µs, × ${one.ratio.toFixed(3)}`,
        );
      }
    } finally {
      await Promise.all(sides.map((side) => side.stop()));
    }
  }
  return TURNS.map(({ id, unit }) => judged(id, unit, told.get(id) ?? []));
}

export function judged(workload: string, unit: string, told: readonly Told[]): Compared {
  const ratios = told.map(({ ratio }) => ratio);
  const bound = ratios.length < LEAST_ROUNDS ? null : lowerBound(ratios);
  return {
    ...{ workload, unit, rounds: told.length },
    before: Number(median(told.map(({ costs }) => costs[0])).toPrecision(4)),
    now: Number(median(told.map(({ costs }) => costs[1])).toPrecision(4)),
    ratio: Number(median(ratios).toFixed(4)),
    lower_bound: bound === null ? null : Number(bound.toFixed(4)),
    ok: bound === null || bound <= LIMIT,
  };
}

export function lineOf({ workload, unit, rounds, before, now, ratio, lower_bound, ok }: Compared): string {
  const bound = lower_bound === null ? 'too few rounds to say more' : `at least × ${lower_bound.toFixed(3)} (95 %)`;
  const verdict = ok ? 'ok' : `FAILED, the limit is × ${LIMIT}`;
  return `${workload}: ${before} → ${now} µs per ${unit}, × ${ratio.toFixed(3)}, ${bound}, ${rounds} rounds: ${verdict}`;
}

interface Options {
  readonly rounds?: string | undefined;
  readonly baseline?: string | undefined;
  /** How often a build is compared with itself. */
  readonly same?: string | undefined;
  readonly json?: string | undefined;
}

export async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'vgw-pairs-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** False when this build costs more than the baseline. */
export async function pairs(options: Options): Promise<boolean> {
  const baseline = options.baseline ?? namedBaseline();
  if (!hasCommit(baseline)) {
    console.log(`skipped: this clone does not hold the baseline ${baseline}, and it cannot be fetched`);
    return true;
  }
  return inFolder(async (folder) => {
    const before = { build: buildOf(baseline, 'before', folder) };
    const now = { build: currentBuild('now', folder) };
    const rounds = Number(options.rounds ?? ROUNDS);
    console.log(`${baseline.slice(0, 10)} → ${commitOf(ROOT)}`);
    const all = await compare(before, now, { rounds, limit: LIMIT_S, say: (line) => console.error(line) });
    for (const one of all) console.log(lineOf(one));
    return all.every(({ ok }) => ok);
  });
}

export interface Shown {
  /** What was planted into the second side. */
  readonly planted: string;
  /** Whether the comparison has to fail. */
  readonly expected: 'fails' | 'passes';
  readonly compared: readonly Compared[];
}

/** `docs/measurements/performance-pairs.json`. */
export interface PairsShown extends Place {
  readonly rounds: number;
  readonly limit: number;
  readonly shown: readonly Shown[];
}

const SAME = 10;
const PLANTS: readonly { readonly planted: string; readonly env: Readonly<Record<string, string>> }[] = [
  { planted: '20 µs per request', env: { BENCH_PLANT_REQUEST_US: '20' } },
  { planted: '5 µs per event', env: { BENCH_PLANT_CHUNK_US: '5' } },
];

/** This build against itself, ten times as it is, then with a planted cost on the second side. */
export async function pairsShown(options: Options): Promise<boolean> {
  const rounds = Number(options.rounds ?? ROUNDS);
  const same = Number(options.same ?? SAME);
  const shown = await inFolder(async (folder) => {
    const [one, other] = [currentBuild('one', folder), currentBuild('other', folder)];
    const all: Shown[] = [];
    const run = async (planted: string, expected: Shown['expected'], second: Side): Promise<void> => {
      const compared = await compare({ build: one }, second, { rounds, limit: Infinity });
      console.log(`${planted}\n  ${compared.map(lineOf).join('\n  ')}`);
      all.push({ planted, expected, compared });
    };
    for (const { planted, env } of PLANTS) {
      const node = ['--import', join(HERE, 'planted-cost.mjs')];
      await run(planted, 'fails', { build: other, options: { node, env } });
    }
    for (let count = 0; count < same; count++) await run('nothing', 'passes', { build: other });
    return all;
  });
  const told: PairsShown = { ...placeOf(ROOT), rounds, limit: LIMIT, shown };
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(told, null, 1)}\n`);
  const passes = ({ compared }: Shown): boolean => compared.every(({ ok }) => ok);
  const unseen = shown.filter((one) => one.expected === 'fails' && passes(one));
  const imagined = shown.filter((one) => one.expected === 'passes' && !passes(one));
  console.log(
    `planted costs not seen: ${unseen.length}; of ${same} runs of a build against itself ${imagined.length} failed`,
  );
  return unseen.length === 0 && imagined.length <= same / SAME;
}
