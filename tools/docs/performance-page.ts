/** docs/performance.md: what the gateway costs, beside what else could stand there, and where each microsecond goes. */
import { atLeast, GOALS, medianOf, meets, valuesOf, type Goal } from '../bench/goals.ts';
import { shown } from '../bench/plots.ts';
import { rowsOf, type Place, type Row, type Run } from '../bench/record.ts';
import type { Figures } from './performance-figures.ts';
import { performancePlots } from './performance-plots.ts';
import { METHOD, NOT_HELPED, restOf } from './performance-rest.ts';
import { code, page, table } from './markdown.ts';

const BASE = 'nginx';
const COMMAND = 'npm run bench';

export function performancePage({ run, pairs, profiled }: Figures): string {
  return page(
    'Performance',
    'What the gateway itself costs: CPU time, delay and memory, with everything on (keys, queue, ledger, metrics, access log). A gateway ' +
      'earns its place in front of GPUs when nobody can measure it; this page shows how far that is true, the worst figure as plainly as the best.',
    ...(run === undefined ? ['No long run was written down yet.'] : [...goalSections(run), ...besideSections(run)]),
    ...profileSections(profiled),
    ...guardSections(pairs),
    '## What did not help',
    NOT_HELPED,
  );
}

const placed = ({ date, commit, node, cores, load_average }: Place): string =>
  `${date}, commit ${commit}, Node ${node}, ${cores} cores, load average of the machine ${load_average}`;

function goalSections(run: Run): readonly string[] {
  const ours = run.targets.find((target) => target.ours)?.name ?? '';
  const rows = GOALS.map((goal) => ({ goal, values: valuesOf(goal, run.samples, ours) })).filter(
    ({ values }) => values.length > 0,
  );
  const told = rows.map(({ goal, values }) => {
    const value = medianOf(goal, run.samples, ours) ?? Number.NaN;
    const limits = [goal.gate, goal.good, goal.ahead, goal.stretch];
    return [
      `${goal.workload}, ${nameOf(goal)}`,
      `**${shown(value)}** (${shown(Math.min(...values))}–${shown(Math.max(...values))})`,
      ...limits.map((limit) => (limit === null ? '' : `${shown(limit)}${meets(goal, value, limit) ? ' ✓' : ''}`)),
    ];
  });
  const rest = rows.filter(({ goal }) => {
    const value = medianOf(goal, run.samples, ours) ?? Number.NaN;
    return restOf(goal) !== '' && !(goal.ahead !== null && meets(goal, value, goal.ahead));
  });
  const moved = rows.map(({ goal }) => goal).filter(({ note }) => note !== undefined);
  return [
    '## Where it stands',
    `${placed(run)}, ${run.rounds} rounds, ${code(run.command)}. The median over the rounds, least and most behind it; ✓ where a limit is kept. ` +
      '“Ahead” is the best figure that any gateway reached that reads the request, when the goals were set on a machine of the same kind.',
    table(['', 'Measured', 'Gate', 'Good', 'Ahead', 'Stretch'], told),
    ...(rest.length === 0
      ? []
      : [
          'Where the rest goes, of each figure that is not ahead of every gateway that reads the request:',
          rest.map(({ goal }) => `- **${goal.workload}, ${nameOf(goal)}:** ${restOf(goal)}.`).join('\n'),
        ]),
    ...(moved.length === 0
      ? []
      : [
          'Where a gate stands elsewhere than it was meant to, because that is not reached yet:',
          moved.map((goal) => `- **${goal.workload}, ${nameOf(goal)}:** ${goal.note ?? ''}.`).join('\n'),
        ]),
    '### The headline',
    headline(run, ours),
    '### How it is measured',
    ...METHOD,
  ];
}

/** The best of the Rust routers, in the same unit, as it was measured when the goals were set. */
const RUST_ROUTERS = 1.45;

function headline(run: Run, ours: string): string {
  const goal = GOALS.find(({ workload, of }) => workload === 'W3' && of === BASE);
  const value = goal === undefined ? null : medianOf(goal, run.samples, ours);
  if (goal === undefined || value === null) return 'W3 was not measured beside nginx in that run.';
  const distance = value / RUST_ROUTERS;
  return (
    `200 streams of an event each 20 ms: **× ${shown(value)}** of nginx. The goal was ${goal.stretch ?? goal.good}; the best routers written in Rust stand at ${RUST_ROUTERS}, ` +
    `so the gateway costs ${shown(distance)} of what they do${distance <= 1 ? '' : ', which is more'}.`
  );
}

const WHAT: Readonly<Record<Goal['of'], string>> = {
  ...{ nginx: '× nginx', 'blind net.pipe': '× a blind relay in Node', W1: '× a W1 request', cost: '' },
  ...{
    carried: 'share carried',
    p50: 'median delay, ms',
    p99: '99th percentile, ms',
    loop: 'event loop late, p99, ms',
  },
};
const COST_UNIT: Readonly<Record<string, string>> = { W5: 'KiB per stream', idle: 'MiB' };

const nameOf = (goal: Goal): string =>
  `${goal.of === 'cost' ? (COST_UNIT[goal.workload] ?? '') : WHAT[goal.of]}${atLeast(goal) ? ', at least' : ''}`;

function besideSections(run: Run): readonly string[] {
  const plots = Object.keys(performancePlots(run)).map(
    (path) => `![${path.replace(/^.*performance-|\.svg$/g, '')}](${path.replace(/^docs\//, '')})`,
  );
  return [
    '## Beside what else could stand there',
    ...plots,
    ...run.workloads.flatMap(({ id, title, unit }) => {
      const rows = rowsOf(run.samples, id, BASE);
      return rows.length === 0 ? [] : [`### ${id}: ${title}`, besideTable(run, rows, unit)];
    }),
  ];
}

function besideTable(run: Run, rows: readonly Row[], unit: string): string {
  const number = (value: number | null): string => (value === null ? '' : shown(value));
  const reads = new Set(run.targets.filter(({ readsBody }) => readsBody).map(({ name }) => name));
  const sorted = rows.toSorted((one, other) => one.cost - other.cost);
  return table(
    ['', unit, '× nginx', 'Range', 'p50, ms', 'p99, ms', 'Loop late, p99, ms', 'Carried', 'Disturbed'],
    sorted.map(({ target, cost, ratio, p50, p99, loop, carried, rounds, disturbed }) => [
      `${target}${reads.has(target) ? '' : ' (does not read the request)'}`,
      number(cost),
      number(ratio?.[0] ?? null),
      ratio === null ? '' : `${shown(ratio[1])}–${shown(ratio[2])}`,
      ...[number(p50), number(p99), number(loop)],
      `${(carried * 100).toFixed(0)} %`,
      disturbed === 0 ? '' : `${disturbed} of ${rounds}`,
    ]),
  );
}

function profileSections(profiled: Figures['profiled']): readonly string[] {
  if (profiled === undefined) return [];
  return [
    '## Where each microsecond goes',
    `${placed(profiled)}, ${code(`${COMMAND} -- profile`)}: V8's sampling profiler over the measured seconds, scaled to the CPU time of a unit. The ` +
      "profiler's own cost is in it, so the sums are above those of the tables.",
    ...profiled.workloads.flatMap(({ id, title, unit, cost, parts }) => [
      `### ${id}: ${title}`,
      `${cost} ${unit}.`,
      table(
        [unit, 'Part', 'Of it'],
        parts.map(({ part, cost: of, places }) => [
          of.toFixed(2),
          part,
          places.map((inside) => `${inside.cost.toFixed(2)} ${code(inside.place)}`).join('\n'),
        ]),
      ),
    ]),
  ];
}

function guardSections(pairs: Figures['pairs']): readonly string[] {
  const parts = [
    '## How it stays so',
    `Two checks run before a change is accepted. ${code(`${COMMAND} -- ratios`)} holds the best of its rounds to the column “gate”, of the multiples and of memory (delays are told, ` +
      `not held: they say too much about who else is on the machine). ${code(`${COMMAND} -- pairs`)} compares the change with the commit that ` +
      '`tools/bench/baseline` names, in pairs of turns that follow each other, and fails when W1, W2 or W3 surely costs more than 3 % more: when the lower ' +
      'one-sided 95 % bound of the median ratio is above 1.03.',
  ];
  if (pairs === undefined) return parts;
  return [
    ...parts,
    `That it sees what it has to see, and nothing else: a build against itself, with a cost planted into the second side or not. ${placed(pairs)}, ` +
      `${pairs.rounds} rounds each, ${code(`${COMMAND} -- pairs-shown`)}. A cell holds the median ratio, and what it is at least.`,
    table(
      ['Planted', ...(pairs.shown[0]?.compared ?? []).map(({ workload }) => workload), 'Verdict', 'As it has to be'],
      pairs.shown.map(({ planted, expected, compared }) => {
        const verdict = compared.every(({ ok }) => ok) ? 'passes' : 'fails';
        return [
          planted,
          ...compared.map(({ ratio, lower_bound }) => `${ratio.toFixed(3)} (${lower_bound?.toFixed(3) ?? ''})`),
          verdict,
          verdict === expected ? 'yes' : '**no**',
        ];
      }),
    ),
  ];
}
