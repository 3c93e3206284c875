import { describe, expect, it } from 'vitest';
import { growthOfLastThird, median, quantile, randomFrom, slopeOf, theilSen } from './statistics.ts';

const line = (slope: number, count: number, noise: (index: number) => number = () => 0): { x: number; y: number }[] =>
  Array.from({ length: count }, (_, index) => ({ x: index * 100, y: 5_000 + slope * index * 100 + noise(index) }));

describe('a slope', () => {
  it('is that of the line, whatever two odd points say', () => {
    const points = line(64, 9);
    expect(theilSen(points)).toBeCloseTo(64, 9);
    const odd = points.map((point, index) => (index === 2 || index === 7 ? { ...point, y: point.y + 1e7 } : point));
    expect(theilSen(odd)).toBeGreaterThan(60);
    expect(theilSen(odd)).toBeLessThan(70);
  });

  it('comes with an interval that holds the true one, and none around zero when there is a leak', () => {
    const random = randomFrom(3);
    const noise = (): number => (random() - 0.5) * 4_000;
    const leak = slopeOf(line(100, 12, noise));
    expect(leak.low).toBeGreaterThan(64);
    expect(leak.high).toBeGreaterThan(100);
    const none = slopeOf(line(0, 12, noise));
    expect(none.low).toBeLessThan(0);
    expect(none.high).toBeGreaterThan(0);
    expect(none.high).toBeLessThan(64);
  });
});

it('a quantile is a value that was measured, and of nothing it is none', () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect([quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)]).toEqual([50, 99, 100]);
  expect(quantile([], 0.99)).toBeNaN();
  expect(median([3, 1, 2, 10])).toBe(2.5);
});

it('growth compares the last third with the one before it', () => {
  expect(growthOfLastThird([9, 9, 9, 100, 100, 100, 105, 105, 105])).toBeCloseTo(0.05, 9);
  const saw = Array.from({ length: 300 }, (_, index) => 100 + (index % 30) * 5 + (index >= 200 ? 20 : 0));
  expect(growthOfLastThird(saw, 0.1)).toBeGreaterThan(0.15);
  expect(Math.abs(growthOfLastThird(saw.slice(0, 200), 0.1))).toBeLessThan(0.05);
});

it('a seed repeats its sequence', () => {
  const [one, same, other] = [randomFrom(7), randomFrom(7), randomFrom(8)].map((next) => [next(), next(), next()]);
  expect(one).toEqual(same);
  expect(one).not.toEqual(other);
});
