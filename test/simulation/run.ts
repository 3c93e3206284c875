/**
 * `npm run test:sim -- --seed N [--seeds K] [--trace] [--marks] [--shrink FOLDER]`: replays seeds and says how fast. With
 * `--shrink` each failing seed becomes the smallest scenario that fails in the same way, written into that folder.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { generate } from './generate.ts';
import { runScenario } from './run-scenario.ts';
import { shrink } from './shrink.ts';

// Worlds are many and short: what is called is optimised from its first calls on.
setFlagsFromString('--no-lazy-feedback-allocation');

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
    marks: { type: 'boolean', default: false },
    shrink: { type: 'string' },
  },
});
const print = (line: string): void => void process.stdout.write(`${line}\n`);

function keep(seed: number, folder: string): void {
  const regression = shrink(generate(seed));
  if (!regression) return;
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${regression.violation}-${seed}.json`);
  writeFileSync(file, `${JSON.stringify(regression, null, 2)}\n`);
  print(`  ${regression.scenario.intents.length} intents are enough: ${file}`);
}

const first = Number(values.seed);
const marks = new Map<string, number>();
const started = process.cpuUsage();
let events = 0;
let failures = 0;
for (let seed = first; seed < first + Number(values.seeds); seed += 1) {
  const outcome = runScenario(generate(seed), values.trace ? { trace: print } : {});
  events += outcome.events;
  for (const [name, count] of outcome.marks) marks.set(name, (marks.get(name) ?? 0) + count);
  if (!outcome.failure) continue;
  failures += 1;
  print(`seed ${seed}: ${outcome.failure.message}`);
  if (values.shrink !== undefined) keep(seed, values.shrink);
}
const used = process.cpuUsage(started);
const seconds = (used.user + used.system) / 1e6;
if (values.marks) {
  const named = [...marks].toSorted(([one], [other]) => (one < other ? -1 : 1));
  for (const [name, count] of named) print(`${String(count).padStart(8)} ${name}`);
}
print(`${events} events`);
print(`${Math.round(events / seconds)} events/s`);
process.exitCode = failures > 0 ? 1 : 0;
