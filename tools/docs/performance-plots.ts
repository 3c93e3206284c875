/** docs/images/performance-*.svg, drawn of what the last long run measured. */
import { plotOf, type Group } from '../bench/plots.ts';
import { rowsOf, type Row, type Run } from '../bench/record.ts';

const COST = ['W1', 'W1-1', 'W2', 'W3', 'W3-600', 'W4', 'W4-4M'];
const MEMORY = ['W5', 'W5-5000'];
const DELAY = ['W1-open', 'W3', 'W3-600'];

export function performancePlots(run: Run | undefined): Readonly<Record<string, () => string>> {
  if (run === undefined) return {};
  return {
    'docs/images/performance-cost.svg': () => {
      const groups = groupsOf(run, COST, ({ target, ratio }) =>
        ratio === null ? [] : [{ name: target, value: ratio[0], low: ratio[1], high: ratio[2] }],
      );
      return drawn(
        run,
        'CPU time per unit of work',
        '× nginx in the same round: median and range, less is better',
        groups,
      );
    },
    'docs/images/performance-delay.svg': () => {
      const groups = groupsOf(run, DELAY, ({ target, p50, p99 }) =>
        p50 === null || p99 === null ? [] : [{ name: target, value: p50, low: p50, high: p99 }],
      );
      return drawn(
        run,
        'Delay',
        'ms: the bar is the median of all requests or events, the line reaches to the 99th percentile',
        groups,
      );
    },
    'docs/images/performance-memory.svg': () => {
      const groups = groupsOf(run, MEMORY, ({ target, cost }) => (cost > 0 ? [{ name: target, value: cost }] : []));
      return drawn(run, 'Memory of a stream that waits', 'KiB of PSS, less is better', groups);
    },
  };
}

const drawn = (run: Run, title: string, unit: string, groups: readonly Group[]): string => {
  const told = new Set(groups.flatMap(({ bars }) => bars.map(({ name }) => name)));
  const names = run.targets.map(({ name }) => name).filter((name) => told.has(name));
  return plotOf({ title, unit, names, groups });
};

const groupsOf = (run: Run, ids: readonly string[], bars: (row: Row) => Group['bars']): readonly Group[] =>
  ids
    .map((label) => ({ label, bars: rowsOf(run.samples, label, 'nginx').flatMap(bars) }))
    .filter((group) => group.bars.length > 0);
