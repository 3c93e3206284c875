/** `tsx test/simulation/shell/run.ts --seed N [--seeds K] [--trace] [--marks]`: replays worlds with a whole gateway in them. */
import { parseArgs } from 'node:util';
import { runShellSeed } from './run-shell-seed.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
    marks: { type: 'boolean', default: false },
  },
});
const print = (line: string): void => void process.stdout.write(`${line}\n`);

const first = Number(values.seed);
const marks = new Map<string, number>();
const started = performance.now();
let events = 0;
let failures = 0;
for (let seed = first; seed < first + Number(values.seeds); seed += 1) {
  const outcome = await runShellSeed(seed, values.trace ? print : undefined);
  events += outcome.events;
  for (const [name, count] of outcome.marks) marks.set(name, (marks.get(name) ?? 0) + count);
  if (outcome.failure === null) continue;
  failures += 1;
  print(`seed ${seed}: ${outcome.failure.id} ${outcome.failure.message}`);
}
const seconds = (performance.now() - started) / 1000;
if (values.marks) {
  const named = [...marks].toSorted(([one], [other]) => (one < other ? -1 : 1));
  for (const [name, count] of named) print(`${String(count).padStart(8)} ${name}`);
}
print(`${events} events`);
print(`${Math.round(events / seconds)} events/s`);
process.exitCode = failures > 0 ? 1 : 0;
