/**
 * Puts the built gateway under load and holds it to its promises: correct counts, nothing left behind, nobody mixed up.
 *
 *   npm run load -- soak|burst|overload|cancel|stampede|nonce|restart|turns|all [--long] [--json FILE]
 *
 * Without `--long` each takes seconds. Ends with a table of gates and `N passed, N failed`; exit 1 when one failed.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { FORMS } from './forms.ts';
import { Gates, tableOf } from './gates.ts';

const { values: options, positionals } = parseArgs({
  options: { long: { type: 'boolean', default: false }, json: { type: 'string' } },
  allowPositionals: true,
});

const chosen = positionals.includes('all') ? Object.keys(FORMS) : positionals;
const unknown = chosen.filter((name) => FORMS[name] === undefined);
if (chosen.length === 0 || unknown.length > 0) {
  console.error(`usage: npm run load -- ${Object.keys(FORMS).join('|')}|all [--long] [--json FILE]`);
  process.exit(2);
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short=10', 'HEAD'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}

let passed = 0;
let failed = 0;

for (const name of chosen) {
  const form = FORMS[name];
  if (form === undefined) continue;
  const { long } = options;
  console.log(`\n${name}${long ? ', long' : ''}: ${form.title}`);
  const gates = new Gates();
  const beganAt = performance.now();
  const seconds = (): number => Math.round((performance.now() - beganAt) / 1_000);
  try {
    await form.run(gates, { long, say: (text) => console.error(`  ${seconds()} s: ${text}`) });
  } catch (error) {
    console.error(error);
    gates.none('the run ends well', [error instanceof Error ? error.message : String(error)]);
  }
  console.log(tableOf(gates.all));
  for (const [figure, value] of Object.entries(gates.figures)) console.log(`  ${figure}: ${value}`);
  const good = gates.all.filter(({ ok }) => ok).length;
  passed += good;
  failed += gates.all.length - good;
  if (options.json !== undefined) {
    const told = {
      ...{ form: name, long, title: form.title, date: new Date().toISOString().slice(0, 10), commit: commit() },
      ...{ node: process.version, cores: availableParallelism(), load_average: Number((loadavg()[2] ?? 0).toFixed(1)) },
      ...{ duration_s: seconds(), gates: gates.all, figures: gates.figures },
    };
    const earlier: unknown =
      existsSync(options.json) && chosen.length > 1 ? JSON.parse(readFileSync(options.json, 'utf8')) : [];
    const content = chosen.length > 1 ? [...(Array.isArray(earlier) ? earlier : []), told] : told;
    writeFileSync(options.json, `${JSON.stringify(content, null, 2)}\n`);
  }
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
