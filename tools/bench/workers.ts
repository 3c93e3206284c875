/**
 * One process against several: the same build with `server.workers`. The CPU time of all processes together counts. A process
 * that has less to do wakes up for less at a time and so pays more for each event, whoever else there is; the price of
 * the borders alone is seen where each process has as many streams as the one has. Both are told.
 */
import { writeFileSync } from 'node:fs';
import { check, clients, closedLoop, closing, plainAsk, streamAsk } from './asks.ts';
import { currentBuild } from './builds.ts';
import { startGateway, type Build } from './gateway-target.ts';
import { ROOT } from './launch.ts';
import { cpuSeconds } from './machine.ts';
import { median } from './measured.ts';
import { inFolder } from './pairs.ts';
import { placeOf, type Place } from './record.ts';
import type { Running } from './targets.ts';
import { warmUp } from './workloads.ts';

const WORKERS = 3;
const ROUNDS = 6;
/** Each process is compiled by what it does: what several have to learn takes as many times longer. */
const WARM_ROUNDS = 3;
/** Of a relayed event, with as many streams in each process. */
const MOST_PER_EVENT = 1.15;
const STREAMS = 200;
/** Long ones: what begins and ends a stream must not pass for the price of what is in it. */
const EVENTS = 100;
const PACE = 20;
const CONCURRENCY = 32;
const REQUESTS = 2_000;
const MICRO = 1e6;

interface Options {
  readonly rounds?: string | undefined;
  readonly json?: string | undefined;
}

/** Microseconds of CPU, medians over the rounds. */
export interface WorkersShown extends Place {
  readonly workers: number;
  readonly streams: number;
  readonly limit: number;
  readonly event: {
    readonly one: number;
    /** With as many streams in each worker as the one process has. */
    readonly several: number;
    /** With as many in all of them together. */
    readonly several_sharing: number;
    readonly ratio: number;
  };
  readonly request: { readonly one: number; readonly several: number };
}

const CASES = ['one', 'several', 'several_sharing'] as const;

/** False when an event costs more than it may. */
export async function inWorkers(options: Options): Promise<boolean> {
  const rounds = Number(options.rounds ?? ROUNDS);
  const told = await inFolder((folder) => shown(currentBuild('build', folder), rounds));
  const { event, request } = told;
  console.log(`an event: ${event.one} µs in one process with ${STREAMS} streams`);
  console.log(
    `  ${event.several} µs in ${WORKERS} workers with ${STREAMS} each, × ${event.ratio} (at most ${MOST_PER_EVENT})`,
  );
  console.log(`  ${event.several_sharing} µs in ${WORKERS} workers with ${STREAMS} in all`);
  console.log(`a request: ${request.one} µs in one process, ${request.several} µs in ${WORKERS} workers`);
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(told, null, 1)}\n`);
  return event.ratio <= MOST_PER_EVENT;
}

async function shown(build: Build, rounds: number): Promise<WorkersShown> {
  const sides = await Promise.all([startGateway(build), startGateway(build, { workers: WORKERS })]);
  const [one, several] = sides;
  const events: Record<(typeof CASES)[number], number[]> = { one: [], several: [], several_sharing: [] };
  const requests: [number[], number[]] = [[], []];
  try {
    await Promise.all(sides.map(warmUp));
    for (let round = 0; round < WARM_ROUNDS + rounds; round++) {
      const costs = {
        one: await eventCost(one, STREAMS),
        several: await eventCost(several, WORKERS * STREAMS),
        several_sharing: await eventCost(several, STREAMS),
      };
      const [first, second] = [await requestCost(one), await requestCost(several)];
      console.error(
        `round ${round + 1}: ${CASES.map((name) => costs[name].toFixed(1)).join(', ')}; ${first.toFixed(0)}, ${second.toFixed(0)}`,
      );
      if (round < WARM_ROUNDS) continue;
      for (const name of CASES) events[name].push(costs[name]);
      requests[0].push(first);
      requests[1].push(second);
    }
  } finally {
    await Promise.all(sides.map((side) => side.stop()));
  }
  const ratios = events.one.map((cost, at) => (events.several[at] ?? cost) / cost);
  const rounded = (values: readonly number[]): number => Number(median(values).toPrecision(3));
  return {
    ...placeOf(ROOT),
    ...{ workers: WORKERS, streams: STREAMS, limit: MOST_PER_EVENT },
    event: {
      one: rounded(events.one),
      several: rounded(events.several),
      several_sharing: rounded(events.several_sharing),
      ratio: rounded(ratios),
    },
    request: { one: rounded(requests[0]), several: rounded(requests[1]) },
  };
}

function eventCost(target: Running, streams: number): Promise<number> {
  const all = clients(target, streams);
  return closing(all, async () => {
    const pids = target.pids();
    const before = cpuSeconds(pids);
    for (const answer of await Promise.all(all.map((client) => client.ask(streamAsk(EVENTS, PACE))))) check(answer);
    return ((cpuSeconds(pids) - before) / (streams * EVENTS)) * MICRO;
  });
}

function requestCost(target: Running): Promise<number> {
  const all = clients(target, CONCURRENCY);
  return closing(all, async () => {
    const pids = target.pids();
    const before = cpuSeconds(pids);
    const { done } = await closedLoop(
      all,
      () => plainAsk(400),
      (asked) => asked >= REQUESTS,
    );
    return ((cpuSeconds(pids) - before) / done) * MICRO;
  });
}
