import { describe, expect, it } from 'vitest';
import { judged } from './pairs.ts';
import { lowerBound } from './statistics.ts';

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);
const rounds = (ratios: readonly number[]): Parameters<typeof judged>[2] =>
  ratios.map((ratio) => ({ costs: [100, 100 * ratio], ratio }));

describe('the lower bound of a median', () => {
  it('is the order statistic that the binomial distribution gives', () => {
    // P(B(15) ≤ 3) = 0.0176 and P(B(15) ≤ 4) = 0.0592; P(B(18) ≤ 5) = 0.0481; P(B(5) ≤ 0) = 0.03125.
    expect(lowerBound(upTo(15).toReversed())).toBe(4);
    expect(lowerBound(upTo(18))).toBe(6);
    expect(lowerBound(upTo(5))).toBe(1);
  });

  it('is not told of too few values', () => {
    expect(lowerBound(upTo(4))).toBeNull();
  });
});

describe('two builds compared', () => {
  it('fail when the new one surely costs more than 3 %', () => {
    expect(judged('W1', 'request', rounds(upTo(18).map(() => 1.04))).ok).toBe(false);
    expect(judged('W1', 'request', rounds(upTo(18).map(() => 1.03))).ok).toBe(true);
  });

  it('do not fail for a few rounds that were disturbed, or for too few rounds', () => {
    expect(judged('W1', 'request', rounds(upTo(18).map((at) => (at <= 6 ? 1 : 1.5)))).ok).toBe(true);
    expect(judged('W1', 'request', rounds(upTo(18).map((at) => (at <= 5 ? 1 : 1.5)))).ok).toBe(false);
    expect(judged('W1', 'request', rounds([2, 2, 2, 2, 2, 2, 2]))).toMatchObject({ lower_bound: null, ok: true });
  });
});
