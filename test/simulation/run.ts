/**
 * `npm run test:sim -- --seed N [--seeds K]`: replays seeds, and says how many events there were and how many in a second of
 * processor time.
 *
 *   --fresh            seeds nobody has run before: the first is taken from the clock, and printed
 *   --minutes M        goes on for so long, instead of K seeds
 *   --marks            what was met, and how often; with --minutes it fails when something never was
 *   --json FILE        writes down what was run and met; a long run is reported from docs/measurements/simulation.json
 *   --trace            tells the story of each world
 *   --shrink FOLDER    each failing seed becomes the smallest scenario that fails in the same way
 *   --guard            fails when the simulation is far slower than this machine should be able to run it
 *
 * A single seed is recounted after every event.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { MINUTE, SECOND } from '../../src/units.ts';
import { loopsPerSecond } from './calibrate.ts';
import { generate } from './generate.ts';
import { MARKS } from './marks.ts';
import { writeDown } from './record.ts';
import { runScenario } from './run-scenario.ts';
import { shrink } from './shrink.ts';

// Worlds are many and short: what is called is optimised from its first calls on.
setFlagsFromString('--no-lazy-feedback-allocation');

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    fresh: { type: 'boolean', default: false },
    minutes: { type: 'string' },
    trace: { type: 'boolean', default: false },
    marks: { type: 'boolean', default: false },
    json: { type: 'string' },
    shrink: { type: 'string' },
    guard: { type: 'boolean', default: false },
  },
});
const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** Events in a loop of the calibration: half of what is seen where nothing else runs, or less, means that something is wrong. */
const LEAST_EVENTS_PER_LOOP = 0.002;

function keep(seed: number, folder: string): void {
  const regression = shrink(generate(seed));
  if (!regression) return;
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${regression.violation}-${seed}.json`);
  writeFileSync(file, `${JSON.stringify(regression, null, 2)}\n`);
  print(`  ${regression.scenario.intents.length} intents are enough: ${file}`);
}

const first = values.fresh ? Math.floor(Date.now() / SECOND) : Number(values.seed);

function* seedsToRun(): Generator<number> {
  if (values.fresh) print(`seeds from ${first}`);
  const ends = performance.now() + Number(values.minutes ?? 0) * MINUTE;
  const last = values.minutes === undefined ? first + Number(values.seeds) - 1 : Infinity;
  for (let seed = first; seed <= last; seed += 1) {
    if (values.minutes !== undefined && performance.now() >= ends) return;
    yield seed;
  }
}

const marks = new Map<string, number>();
const isReplay = Number(values.seeds) === 1 && values.minutes === undefined;
const begun = performance.now();
const started = process.cpuUsage();
let seeds = 0;
let events = 0;
let failures = 0;
for (const seed of seedsToRun()) {
  const options = { ...(values.trace ? { trace: print } : {}), ...(isReplay ? { checkEvery: 1 } : {}) };
  const outcome = runScenario(generate(seed), options);
  seeds += 1;
  events += outcome.events;
  for (const [name, count] of outcome.marks) marks.set(name, (marks.get(name) ?? 0) + count);
  if (!outcome.failure) continue;
  failures += 1;
  print(`seed ${seed}: ${outcome.failure.message}`);
  if (!isReplay) print(`  again: npm run test:sim -- --seed ${seed} --trace`);
  if (values.shrink !== undefined) keep(seed, values.shrink);
}
const used = process.cpuUsage(started);
const seconds = (used.user + used.system) / 1e6;
const perSecond = events / seconds;

if (values.json !== undefined)
  writeDown(values.json, {
    minutes: Math.round((performance.now() - begun) / MINUTE),
    first_seed: first,
    seeds,
    events,
    failures,
    seeds_per_second: Math.round((seeds / seconds) * 10) / 10,
    events_per_second: Math.round(perSecond),
    marks: Object.entries(MARKS).map(([name, meaning]) => ({ name, meaning, count: marks.get(name) ?? 0 })),
  });

if (values.marks) {
  const named = [...marks].toSorted(([one], [other]) => (one < other ? -1 : 1));
  for (const [name, count] of named)
    print(`${String(count).padStart(8)} ${name}${name in MARKS ? `: ${MARKS[name]}` : ''}`);
  const missed = Object.keys(MARKS).filter((name) => !marks.has(name));
  for (const name of missed) print(`   never ${name}: ${MARKS[name]}`);
  print(`${Object.keys(MARKS).length - missed.length} of ${Object.keys(MARKS).length} marks`);
  if (values.minutes !== undefined && missed.length > 0) failures += 1;
}
if (values.guard) {
  const perLoop = perSecond / loopsPerSecond();
  print(`${perLoop.toFixed(4)} events per loop of the calibration, at least ${LEAST_EVENTS_PER_LOOP}`);
  if (perLoop < LEAST_EVENTS_PER_LOOP) failures += 1;
}
print(`${seeds} seeds, ${(seeds / seconds).toFixed(1)} seeds/s`);
print(`${events} events`);
print(`${Math.round(perSecond)} events/s`);
process.exitCode = failures > 0 ? 1 : 0;
