/** Figures that were written down by the long runs: `docs/measurements/*.json`. A file that is not there has no section. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CanaryFigures } from '../../test/canaries/records.ts';
import type { SimulationFigures } from '../../test/simulation/record.ts';
import { readSource, ROOT } from '../../test/support/source-tree.ts';
import type { Measured } from '../load/record.ts';
import { code, table } from './markdown.ts';

const FOLDER = 'docs/measurements';

function read(name: string): unknown {
  return existsSync(join(ROOT, FOLDER, name)) ? JSON.parse(readSource(`${FOLDER}/${name}`)) : undefined;
}

export function loadSections(): readonly string[] {
  const folder = join(ROOT, FOLDER);
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => /^load-.*\.json$/.test(name)) : [];
  return names.toSorted().flatMap((name) => {
    const run = read(name) as Measured;
    return [
      `### ${run.form}: ${run.title}`,
      `${run.date}, commit ${run.commit}, Node ${run.node}, ${run.cores} cores, load average of the machine ${run.load_average}, ` +
        `${run.duration_s} s, ${code(`npm run load -- ${run.form}${run.long ? ' --long' : ''}`)}`,
      table(
        ['Gate', 'Measured', 'Limit', ''],
        run.gates.map(({ name: gate, measured, limit, ok }) => [
          plain(gate),
          String(measured),
          limit,
          ok ? 'ok' : '**failed**',
        ]),
      ),
      table(
        ['Told without a limit', ''],
        Object.entries(run.figures).map(([figure, value]) => [figure, String(value)]),
      ),
    ];
  });
}

/** Tags are for machines. */
const plain = (gate: string): string => gate.replaceAll(/\s*\[[^\]]+\]/g, '');

export function canarySection(): readonly string[] {
  const figures = read('canaries.json') as CanaryFigures | undefined;
  if (figures === undefined) return [];
  const { date, node, seeds, median, canaries } = figures;
  return [
    '## Planted bugs that the simulation finds',
    `Each is one slip of one line, planted into the real source; [how it is done](../test/canaries/README.md). All ${canaries.length} were ` +
      `found within ${seeds} seeds, half of them within ${median} (${date}, Node ${node}).`,
    table(
      ['Bug', 'What it breaks', 'Where', 'First seed', 'Seen by'],
      canaries.map(({ name, breaks, file, firstSeed, violated }) => [
        name,
        breaks,
        code(file),
        String(firstSeed),
        violated,
      ]),
    ),
  ];
}

export function simulationSection(): readonly string[] {
  const figures = read('simulation.json') as SimulationFigures | undefined;
  if (figures === undefined) return [];
  const { date, commit, node, cores, minutes, first_seed: first, seeds, events, failures, marks } = figures;
  const never = marks.filter(({ count }) => count === 0);
  const met = never.length === 0 ? 'all of them' : `all but ${never.map(({ name }) => code(name)).join(', ')}`;
  return [
    '## The simulation',
    `${date}, commit ${commit}, Node ${node}, ${cores} cores, load average of the machine ${figures.load_average}, ${minutes} min, ` +
      `${code('npm run test:sim -- --marks --minutes 20')}`,
    `${seeds} worlds, from seed ${first} on, with ${events} events; promises seen broken: ${failures}. In a second of processor ` +
      `time ${figures.seeds_per_second} worlds and ${figures.events_per_second} events. A long run must have met each of ` +
      `${marks.length} situations, or it proves little; it met ${met}.`,
    table(
      ['Situation', 'What it is', 'Met'],
      // Not as code: some look like keys of the configuration.
      marks.map(({ name, meaning, count }) => [name, meaning, String(count)]),
    ),
  ];
}
