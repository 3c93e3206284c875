/**
 * One process against several: the same build with `server.workers`, closely interleaved. The CPU time of all processes
 * together counts, so what is shown is the price of the borders between them; what they can do at once is another thing.
 */
import { writeFileSync } from 'node:fs';
import { check, closedLoop, plainAsk, streamAsk } from './asks.ts';
import { currentBuild } from './builds.ts';
import { ROOT } from './launch.ts';
import { compare, inFolder, type Compared, type Turns } from './pairs.ts';
import { placeOf, type Place } from './record.ts';

const ROUNDS = 6;
const WORKERS = 3;
/** Of a relayed event. A request also has to ask for its lease across a border, and is only shown. */
const MOST_PER_EVENT = 1.15;
const LIMIT_S = 300;

/** Long streams: what begins and ends one must not pass for the price of what is in it. */
const FAST_EVENTS = 2_000;
const PACED_EVENTS = 100;
const PACE = 20;

export const TURNS: readonly Turns[] = [
  {
    ...{ id: 'requests', unit: 'request', concurrency: 32 },
    turn: async (all) =>
      (
        await closedLoop(
          all,
          () => plainAsk(400),
          (asked) => asked >= 800,
        )
      ).done,
  },
  {
    ...{ id: 'streams as fast as they come', unit: 'event', concurrency: 16 },
    turn: async (all) =>
      (
        await closedLoop(
          all,
          () => streamAsk(FAST_EVENTS, 0),
          (asked) => asked >= 16,
        )
      ).done * FAST_EVENTS,
  },
  {
    ...{ id: 'streams at a pace', unit: 'event', concurrency: 200 },
    turn: async (all) => {
      for (const answer of await Promise.all(all.map((client) => client.ask(streamAsk(PACED_EVENTS, PACE)))))
        check(answer);
      return all.length * PACED_EVENTS;
    },
  },
];

interface Options {
  readonly rounds?: string | undefined;
  readonly json?: string | undefined;
}

/** `docs/measurements/performance-workers.json`. */
export interface WorkersShown extends Place {
  readonly workers: number;
  readonly limit: number;
  readonly compared: readonly Omit<Compared, 'ok'>[];
}

/** False when an event costs more than it may. */
export async function inWorkers(options: Options): Promise<boolean> {
  const rounds = Number(options.rounds ?? ROUNDS);
  const all = await inFolder((folder) => {
    const build = currentBuild('build', folder);
    const bounds = { rounds, limit: LIMIT_S, turns: TURNS, say: (line: string) => console.error(line) };
    return compare({ build }, { build, options: { workers: WORKERS } }, bounds);
  });
  const compared = all.map(({ ok: _, ...one }) => one);
  for (const { workload, unit, before, now, ratio } of compared)
    console.log(
      `${workload}: ${before} µs per ${unit} in one process, ${now} in ${WORKERS} workers, × ${ratio.toFixed(3)}`,
    );
  const told: WorkersShown = { ...placeOf(ROOT), workers: WORKERS, limit: MOST_PER_EVENT, compared };
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(told, null, 1)}\n`);
  return compared.every(({ unit, ratio }) => unit !== 'event' || ratio <= MOST_PER_EVENT);
}
