/** What a run leaves behind: `docs/measurements/performance.json`, and the rows that are made of it. */
import { execFileSync } from 'node:child_process';
import { cpus, loadavg } from 'node:os';
import { median, type Told } from './measured.ts';
import type { Sample } from './rounds.ts';

export interface Place {
  /** UTC day. */
  readonly date: string;
  readonly commit: string;
  readonly node: string;
  readonly cores: number;
  /** Of the last quarter of an hour: what else the machine did. */
  readonly load_average: number;
}

export interface Run extends Place {
  readonly command: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly targets: readonly { readonly name: string; readonly readsBody: boolean; readonly ours: boolean }[];
  readonly workloads: readonly Told[];
  readonly samples: readonly Sample[];
}

export function commitOf(root: string): string {
  const git = (...args: readonly string[]): string => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no', 'src') !== '';
    return `${git('rev-parse', '--short=10', 'HEAD')}${changed ? ' with changes' : ''}`;
  } catch {
    return 'unknown';
  }
}

export function placeOf(root: string): Place {
  return {
    ...{ date: new Date().toISOString().slice(0, 10), commit: commitOf(root), node: process.version },
    ...{ cores: cpus().length, load_average: Number((loadavg()[2] ?? 0).toFixed(1)) },
  };
}

/** One sample a line, four digits: to be read, compared and kept under version control. */
export function render(run: Run): string {
  const { samples, ...rest } = run;
  const short = (_key: string, value: unknown): unknown =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value;
  const head = JSON.stringify(rest, short, 2).replace(/\n\}$/, '');
  const lines = samples.map((sample) => `    ${JSON.stringify(sample, short)}`);
  return `${head},\n  "samples": [\n${lines.join(',\n')}\n  ]\n}\n`;
}

export interface Row {
  readonly target: string;
  readonly cost: number;
  /** Cost as a multiple of the base's in the same round: median, least, most; null without a base. */
  readonly ratio: readonly [number, number, number] | null;
  readonly p50: number | null;
  readonly p99: number | null;
  readonly loop: number | null;
  readonly carried: number;
  readonly rounds: number;
  readonly disturbed: number;
}

const some = (values: readonly (number | null)[]): number | null => {
  const told = values.filter((value) => value !== null);
  return told.length === 0 ? null : median(told);
};

export function rowsOf(samples: readonly Sample[], workload: string, base: string): readonly Row[] {
  const all = samples.filter((one) => one.workload === workload);
  const names = [...new Set(all.map(({ target }) => target))];
  return names.map((target) => {
    const own = all.filter((one) => one.target === target);
    const ratios = ratiosOf(all, target, base);
    return {
      ...{ target, cost: median(own.map(({ cost }) => cost)), rounds: own.length },
      ratio: ratios.length === 0 ? null : [median(ratios), Math.min(...ratios), Math.max(...ratios)],
      ...{ p50: some(own.map(({ p50 }) => p50)), p99: some(own.map(({ p99 }) => p99)) },
      ...{ loop: some(own.map(({ loop }) => loop)), carried: Math.min(...own.map(({ carried }) => carried)) },
      disturbed: own.filter(({ disturbed }) => disturbed).length,
    };
  });
}

/** Round by round. */
export function ratiosOf(samples: readonly Sample[], target: string, base: string): readonly number[] {
  return samples
    .filter((one) => one.target === target)
    .flatMap((one) => {
      const other = samples.find(
        (it) => it.target === base && it.round === one.round && it.workload === one.workload && it.cost > 0,
      );
      return other === undefined ? [] : one.cost / other.cost;
    });
}
