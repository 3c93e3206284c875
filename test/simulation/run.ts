/** `npm run test:sim -- --seed N [--seeds K] [--trace]`: replays seeds and says how fast. */
import { parseArgs } from 'node:util';
import { generate } from './generate.ts';
import { runScenario } from './run-scenario.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
    marks: { type: 'boolean', default: false },
  },
});
const first = Number(values.seed);
const marks = new Map<string, number>();
const started = performance.now();
let events = 0;
let failures = 0;
const print = (line: string): void => void process.stdout.write(`${line}\n`);
for (let seed = first; seed < first + Number(values.seeds); seed += 1) {
  const outcome = runScenario(generate(seed), values.trace ? print : undefined);
  events += outcome.events;
  for (const [name, count] of outcome.marks) marks.set(name, (marks.get(name) ?? 0) + count);
  if (!outcome.failure) continue;
  failures += 1;
  print(`seed ${seed}: ${outcome.failure.message}`);
}
const seconds = (performance.now() - started) / 1000;
if (values.marks) for (const [name, count] of [...marks].toSorted()) print(`${String(count).padStart(8)} ${name}`);
print(`${events} events`);
print(`${Math.round(events / seconds)} events/s`);
process.exitCode = failures > 0 ? 1 : 0;
