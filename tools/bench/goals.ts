/** What each workload may cost. `gate` fails a change; `good` is where it has to be; `ahead` is better than every gateway that reads the body. */
import { median, quantile } from './measured.ts';
import { ratiosOf } from './record.ts';
import type { Sample } from './rounds.ts';

export interface Goal {
  readonly workload: string;
  /** What is held to it. */
  readonly of: 'nginx' | 'blind net.pipe' | 'W1' | 'cost' | 'carried' | 'p50' | 'p99' | 'loop';
  readonly gate: number;
  readonly good: number;
  /** What the best gateway that reads the body reaches, measured on the same machine as these goals; null: nobody tells. */
  readonly ahead: number | null;
  readonly stretch: number | null;
  /** Why the gate stands elsewhere than it was meant to. */
  readonly note?: string;
}

const goal = (
  workload: string,
  of: Goal['of'],
  [gate, good, ahead, stretch]: readonly [number, number, number | null, number | null],
  note?: string,
): Goal => ({ workload, of, gate, good, ahead, stretch, ...(note === undefined ? {} : { note }) });

export const GOALS: readonly Goal[] = [
  goal('W1', 'nginx', [7, 4.5, 6, 2.5], 'the gate was meant to stand at 6.00'),
  goal('W1-1', 'nginx', [5, 3, 2.7, 1.8], 'the gate was meant to stand at 4.00'),
  goal('W2', 'nginx', [2, 1.5, 1.1, 1.15]),
  goal('W3', 'nginx', [2.6, 2.4, 1.44, 1.6]),
  goal('W3', 'blind net.pipe', [2, 1.25, null, null], 'the gate was meant to stand at 1.25'),
  goal('W3-600', 'nginx', [2.6, 2.2, 1.7, 1.5]),
  goal('W3-600', 'carried', [0.8, 0.93, null, 1]),
  goal('W4', 'nginx', [10, 6, 5.4, 3.5]),
  goal('W5', 'cost', [45, 30, 38, 15]),
  goal('W3', 'p50', [0.8, 0.5, 0.2, 0.3]),
  goal('W3', 'p99', [10, 6, 1.9, 3]),
  goal('W6-429', 'W1', [1, 0.5, null, null]),
  goal('W7-start', 'p99', [20, 5, null, null]),
  goal('W7-answer', 'p99', [300, 100, null, null]),
  goal('W5-5000', 'loop', [20, 20, null, null]),
  goal('idle', 'cost', [90, 65, null, null]),
];

export const atLeast = ({ of }: Goal): boolean => of === 'carried';

export const meets = (goal: Goal, value: number, limit: number): boolean =>
  atLeast(goal) ? value >= limit : value <= limit;

/** One value a round. */
export function valuesOf({ workload, of }: Goal, samples: readonly Sample[], target: string): readonly number[] {
  const own = samples.filter((one) => one.target === target && one.workload === workload);
  switch (of) {
    case 'nginx':
    case 'blind net.pipe':
      return ratiosOf(
        samples.filter((one) => one.workload === workload),
        target,
        of,
      );
    case 'W1':
      return own.flatMap((one) => {
        const other = samples.find((it) => it.target === target && it.workload === of && it.round === one.round);
        return other === undefined ? [] : one.cost / other.cost;
      });
    case 'cost':
    case 'carried':
    case 'p50':
    case 'p99':
    case 'loop':
      return own.flatMap((one) => one[of] ?? []);
  }
}

export const medianOf = (goal: Goal, samples: readonly Sample[], target: string): number | null => {
  const values = valuesOf(goal, samples, target);
  return quantile(values, 0.5) === null ? null : median(values);
};
