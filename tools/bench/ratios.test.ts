import { describe, expect, it } from 'vitest';
import { GOALS, type Goal } from './goals.ts';
import { judge } from './ratios.ts';
import type { Sample } from './rounds.ts';
import { OURS } from './side-by-side.ts';
import { leastOf } from './workloads.ts';

const ROUNDS = 5;
const QUIET = { units: 1, carried: 1, p50: null, p99: null, loop: null, foreign: 0, stolen: 0 };

/** Ours beside 10 µs of nginx. */
const rounds = (costs: readonly number[], disturbed: readonly number[] = []): readonly Sample[] =>
  costs.flatMap((cost, round) =>
    [
      { target: OURS, cost },
      { target: 'nginx', cost: 10 },
    ].map((one) => ({
      ...{ ...QUIET, ...one, round, workload: 'W1', disturbed: disturbed.includes(round) },
    })),
  );
const goal = (of: Goal['of'] = 'nginx'): Goal => ({
  ...{ workload: 'W1', of, gate: 6, good: 4, ahead: null, stretch: null },
});
const verdict = (samples: readonly Sample[]): string => judge(goal(), samples, ROUNDS).verdict;

describe('a gate of ratios', () => {
  it('takes the best of the rounds', () => {
    expect(verdict(rounds([60, 900, 900, 900, 900]))).toBe('passed');
    expect(verdict(rounds([61, 61, 61, 61, 900]))).toBe('failed');
  });

  it('judges nothing by disturbed rounds, and nothing when most of them were', () => {
    expect(verdict(rounds([90, 90, 90, 90, 50], [0, 1]))).toBe('passed');
    expect(verdict(rounds([50, 50, 90, 90, 90], [0, 1]))).toBe('failed');
    expect(verdict(rounds([90, 90, 90, 90, 90], [0, 1, 2]))).toBe('not judged');
  });

  it('fails without the one that it is a multiple of', () => {
    expect(judge(goal('blind net.pipe'), rounds([50]), ROUNDS).verdict).toBe('failed');
  });

  it('stands at or above what is good, and that above what is hoped for', () => {
    for (const { gate, good, stretch, workload, of } of GOALS.filter((one) => one.of !== 'carried')) {
      expect(gate, `${workload} ${of}`).toBeGreaterThanOrEqual(good);
      if (stretch !== null) expect(good, `${workload} ${of}`).toBeGreaterThanOrEqual(stretch);
    }
  });
});

describe('memory at rest', () => {
  it('is what is left once the garbage of a start is gone', async () => {
    const told = [62, 90, 80, 55, 56];
    let at = 0;
    const least = await leastOf(
      told.length,
      () => told[at] ?? 0,
      async () => void at++,
    );
    expect([least, at]).toEqual([55, 4]);
  });
});
