import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { availableCores, coresOfQuota } from './cores.ts';

describe('the cores that may be used', () => {
  it.each([
    ['max 100000\n', Number.POSITIVE_INFINITY],
    ['200000 100000\n', 2],
    ['150000 100000\n', 2],
    ['50000 100000\n', 1],
    ['', Number.POSITIVE_INFINITY],
    ['nonsense', Number.POSITIVE_INFINITY],
  ])('of a quota %j are %s', (text, cores) => {
    expect(coresOfQuota(text)).toBe(cores);
  });

  it('are at least one, and no more than the scheduler gives', () => {
    expect(availableCores()).toBeGreaterThanOrEqual(1);
    expect(availableCores()).toBeLessThanOrEqual(availableParallelism());
  });
});
