/**
 * Puts the built gateway under load and holds it to its promises: correct counts, nothing left behind, nobody mixed up.
 *
 *   npm run load -- soak|burst|overload|cancel|stampede|nonce|restart|turns|stalled|hang-ups|streams|mix [--long] [--json FILE]
 *   npm run load -- all
 *
 * Without `--long` each takes seconds. Ends with a table of gates and `N passed, N failed`; exit 1 when one failed.
 */
import { execFileSync, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FORMS } from './forms.ts';
import type { Form } from './forms/form.ts';
import { Gates, tableOf } from './gates.ts';
import type { Measured } from './record.ts';

const { values: options, positionals } = parseArgs({
  options: { long: { type: 'boolean', default: false }, json: { type: 'string' } },
  allowPositionals: true,
});

const chosen = positionals.includes('all') ? Object.keys(FORMS) : positionals;
const unknown = chosen.filter((name) => FORMS[name] === undefined);
if (chosen.length === 0 || unknown.length > 0 || (chosen.length > 1 && options.json !== undefined)) {
  console.error(
    `usage: npm run load -- ${Object.keys(FORMS).join('|')}|all [--long]; one of them also with [--json FILE]`,
  );
  process.exit(2);
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short=10', 'HEAD'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}

async function one(name: string, form: Form): Promise<{ passed: number; failed: number }> {
  const { long } = options;
  console.log(`\n${name}${long ? ', long' : ''}: ${form.title}`);
  const gates = new Gates();
  const beganAt = performance.now();
  const seconds = (): number => Math.round((performance.now() - beganAt) / 1_000);
  try {
    await form.run(gates, { long, say: (text) => console.error(`  ${name}, ${seconds()} s: ${text}`) });
  } catch (error) {
    console.error(error);
    gates.none('the run ends well', [error instanceof Error ? error.message : String(error)]);
  }
  console.log(tableOf(gates.all));
  for (const [figure, value] of Object.entries(gates.figures)) console.log(`  ${figure}: ${value}`);
  console.log(`  seconds: ${seconds()}`);
  if (options.json !== undefined) {
    const told: Measured = {
      ...{ form: name, long, title: form.title, date: new Date().toISOString().slice(0, 10), commit: commit() },
      ...{ node: process.version, cores: availableParallelism(), load_average: Number((loadavg()[2] ?? 0).toFixed(1)) },
      ...{ duration_s: seconds(), gates: gates.all, figures: gates.figures },
    };
    writeFileSync(options.json, `${JSON.stringify(told, null, 2)}\n`);
  }
  const passed = gates.all.filter(({ ok }) => ok).length;
  return { passed, failed: gates.all.length - passed };
}

/** A process each, two at a time: what one holds is not counted to another. */
async function several(names: readonly string[]): Promise<{ passed: number; failed: number }> {
  const left = [...names];
  const sum = { passed: 0, failed: 0 };
  const lane = async (): Promise<void> => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      const args = [...process.execArgv, fileURLToPath(import.meta.url), name, ...(options.long ? ['--long'] : [])];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      const text = (await child.stdout.setEncoding('utf8').toArray()).join('');
      const [, passed = '0', failed = '1'] = /^(\d+) passed, (\d+) failed$/m.exec(text) ?? [];
      console.log(text.replace(/^\d+ passed, \d+ failed\n/m, '').trimEnd());
      sum.passed += Number(passed);
      sum.failed += Number(failed);
    }
  };
  await Promise.all([lane(), lane()]);
  return sum;
}

const [first = ''] = chosen;
const form = FORMS[first];
const { passed, failed } = chosen.length > 1 || form === undefined ? await several(chosen) : await one(first, form);
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
