/** Figures out of samples: robust slopes with their uncertainty, quantiles, and a random sequence that a seed repeats. */

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Slope {
  readonly slope: number;
  /** Bounds of the 95 % interval. */
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 1_000;

/** Uniform in [0, 1); mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Nearest rank: with `share` 0.99, the smallest value that 99 % do not exceed. NaN without values. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.max(0, Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The median of the slopes of all pairs (Theil and Sen): one odd sample does not bend it. */
export function theilSen(points: readonly Point[]): number {
  const slopes: number[] = [];
  for (const [index, from] of points.entries()) {
    for (const to of points.slice(index + 1)) if (to.x !== from.x) slopes.push((to.y - from.y) / (to.x - from.x));
  }
  return median(slopes);
}

/** The slope and its 95 % interval, by drawing the points anew. */
export function slopeOf(points: readonly Point[], seed = 1): Slope {
  const random = randomFrom(seed);
  const drawn: number[] = [];
  while (drawn.length < RESAMPLES) {
    const sample = points.map(() => points[Math.floor(random() * points.length)] ?? { x: 0, y: 0 });
    const slope = theilSen(sample);
    // A sample of one point only has none; of three points or more that is rare.
    if (Number.isFinite(slope)) drawn.push(slope);
    else if (points.length < 3) break;
  }
  return { slope: theilSen(points), low: quantile(drawn, 0.025), high: quantile(drawn, 0.975) };
}

/**
 * How much more the last third shows than the one before it, as a share: 0.05 = 5 % more. By the `share` quantile of each:
 * 0.5 for what should stay, 0.1 for what rises until garbage is collected and should fall to the same height again.
 */
export function growthOfLastThird(values: readonly number[], share = 0.5): number {
  const third = Math.floor(values.length / 3);
  return quantile(values.slice(-third), share) / quantile(values.slice(third, 2 * third), share) - 1;
}

/** How often each value occurs. */
export function tally(values: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}
