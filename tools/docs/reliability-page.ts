/** docs/reliability.md: what is promised, which tests show it, and what was measured last. */
import { canarySection, loadSections, simulationSection } from './measurements.ts';
import { FAULTS } from './fault-rows.ts';
import { code, page, table } from './markdown.ts';
import { FAMILIES } from './reliability-rows.ts';
import { checkedRows, taggedRows, type ShownBy } from './tagged-rows.ts';

type Tests = ReadonlyMap<string, readonly ShownBy[]>;

interface Row {
  readonly id: string;
  readonly notBuilt?: string;
  readonly note?: string;
}

/** So many are named; of the rest the number is told. */
const NAMED = 6;
const BAD_INPUT_ROWS = 205;

export function reliabilityPage(): string {
  const tests = taggedRows();
  const checks = checkedRows();
  const badInput = [...tests.keys()].filter((id) => id.startsWith('B')).length;
  const load = loadSections();
  return page(
    'Reliability',
    'What the gateway promises to keep true, what it does when something fails, which test shows it, and what was measured last. ' +
      '“Looked after at every step” names the rules that the core itself and the simulation check after each event, in every ' +
      'simulated world. How a seed is run again stands in [CONTRIBUTING.md](../CONTRIBUTING.md).',
    '## What is kept true',
    ...Object.entries(FAMILIES).flatMap(([family, kept]) => [
      `### ${family}`,
      table(
        ['', 'Promise', 'Shown by', 'Looked after at every step'],
        kept.map((row) => [row.id, row.promise, shownBy(row, tests), (checks.get(row.id) ?? []).map(code).join('\n')]),
      ),
    ]),
    '## When something fails',
    'Faults made on purpose, on real processes, real sockets and a private Docker daemon.',
    ...Object.entries(FAULTS).flatMap(([place, faults]) => [
      `### ${place}`,
      table(
        ['', 'Fault', 'Shown by'],
        faults.map((row) => [row.id, row.fault, shownBy(row, tests)]),
      ),
    ]),
    '## Bad input',
    `${badInput} of ${BAD_INPUT_ROWS} kinds of bad input are sent on every run; [the corpus](../test/bad-input/README.md).`,
    ...canarySection(),
    ...simulationSection(),
    ...(load.length === 0
      ? []
      : [
          '## Under load',
          `${code('npm run load -- FORM')}; short forms run before every change is accepted.`,
          ...load,
        ]),
  );
}

/** Rows that nothing shows and that say no reason. */
export function unshownRows(): readonly string[] {
  const tests = taggedRows();
  const checks = checkedRows();
  const rows: readonly Row[] = [...Object.values(FAMILIES).flat(), ...Object.values(FAULTS).flat()];
  return rows
    .filter(({ id, notBuilt, note }) => (notBuilt ?? note) === undefined && !tests.has(id) && !checks.has(id))
    .map(({ id }) => id);
}

function shownBy({ id, notBuilt, note }: Row, tests: Tests): string {
  const all = tests.get(id) ?? [];
  const lines = all.slice(0, NAMED).map(({ path, title }) => `${code(path)}: ${title.replaceAll('<', '&lt;')}`);
  if (all.length > NAMED) lines.push(`and ${all.length - NAMED} more`);
  if (note !== undefined) lines.push(note);
  if (notBuilt !== undefined) lines.push(`not built: ${notBuilt}`);
  return lines.join('\n');
}
