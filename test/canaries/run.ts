/**
 * `npm run test:canaries [-- --long] [--only NAME] [--world core|shell] [--seeds N] [--workers N]`: is every planted bug found?
 *
 * Without `--long` each search begins at the seed that found the bug last, and ends at the first find. With it, each begins at
 * seed 1, and what was found where is written down: the seeds to begin at next time, and the figures of the reliability report.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { CANARIES } from './canaries.ts';
import type { Canary, Find, World } from './canary.ts';
import { hunt, type Quarry } from './hunt.ts';
import { keptSeeds, median, writeDown } from './records.ts';

/** Of a long search: one that needs more is a bug that the simulation does not find. */
const MOST_SEEDS = 2_000;
const MOST_IN_THE_MIDDLE = 200;
/** Of a short one, beyond the seed it begins at, which may lead elsewhere since worlds or product have changed. */
const SEEDS_BEYOND = 400;
const MINUTE = 60_000;
/** Of a short run in all, and of one search in it: one that is not found must not keep the others from being looked for. */
const SHORT_MS = 3.5 * MINUTE;
const SHORT_SEARCH_MS = MINUTE;
/** Of one long search. */
const LONG_SEARCH_MS = 40 * MINUTE;

const { values } = parseArgs({
  options: {
    long: { type: 'boolean', default: false },
    only: { type: 'string' },
    world: { type: 'string' },
    seeds: { type: 'string' },
    workers: { type: 'string', default: String(availableParallelism()) },
  },
});
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const isLong = values.long;
const started = performance.now();
const left = (): number => SHORT_MS - (performance.now() - started);
const searchTime = (): number => (isLong ? LONG_SEARCH_MS : Math.max(1, Math.min(SHORT_SEARCH_MS, left())));
const kept = keptSeeds();
const chosen = CANARIES.filter(
  ({ name, world }) => name.includes(values.only ?? '') && world.includes(values.world ?? ''),
);

function seedsFor({ name }: Canary): string {
  const first = isLong ? 1 : (kept[name] ?? 1);
  return `${first}-${first - 1 + Number(values.seeds ?? (isLong ? MOST_SEEDS : SEEDS_BEYOND))}`;
}

/** Work that is taken one by one, by as many as there are processors. */
async function inParallel<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const todo = items.values();
  const worker = async (): Promise<void> => {
    for (const item of todo) await act(item);
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, worker));
}

const finds = new Map<Canary, Find>();
let failed = 0;

function say(canary: Canary, quarry: Quarry, tookMs: number): void {
  const took = `${(tookMs / 1_000).toFixed(1)} s`;
  if (quarry.kind === 'found') {
    const { seed, violated, message } = quarry.find;
    finds.set(canary, quarry.find);
    print(
      `found  ${canary.name}: seed ${seed}, ${quarry.seeds} searched, ${took}, ${violated}: ${message.slice(0, 120)}`,
    );
    return;
  }
  failed += 1;
  const why =
    quarry.kind === 'failed' ? quarry.why : `${quarry.seeds} seeds${quarry.timeIsOver ? ', time is over' : ''}`;
  print(`MISSED ${canary.name}: ${why} (${took})`);
}

await inParallel(chosen, async (canary) => {
  const begun = performance.now();
  const quarry = await hunt({ world: canary.world, seeds: [seedsFor(canary)], canary, withinMs: searchTime() });
  say(canary, quarry, performance.now() - begun);
});

/** The same seeds must hold without the bugs, or they were not what was found. */
await inParallel<World>(['core', 'shell'], async (world) => {
  const seeds = [...finds].filter(([canary]) => canary.world === world).map(([, find]) => String(find.seed));
  if (seeds.length === 0) return;
  const quarry = await hunt({ world, seeds: [...new Set(seeds)], canary: null, withinMs: searchTime() });
  if (quarry.kind === 'missed' && !quarry.timeIsOver) return;
  failed += 1;
  print(`MISSED without any bug, seeds of ${world} worlds do not hold: ${JSON.stringify(quarry)}`);
});

if (isLong) writeDown(finds, CANARIES, MOST_SEEDS);
if (isLong && finds.size > 0) {
  const middle = median([...finds.values()].map(({ seed }) => seed));
  print(`median ${middle} seeds`);
  if (middle > MOST_IN_THE_MIDDLE) {
    failed += 1;
    print(`MISSED the median is above ${MOST_IN_THE_MIDDLE}`);
  }
} else if (failed > 0) print('Worlds change: `npm run test:canaries -- --long` searches anew and writes down where.');
print(`${finds.size} passed, ${failed} failed`);
process.exitCode = failed > 0 || finds.size === 0 ? 1 : 0;
