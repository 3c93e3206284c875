/** What may be said of a median from few, noisy rounds. */

/** P(X ≤ k) of n fair coins. */
function coins(n: number, k: number): number {
  let one = 0.5 ** n;
  let sum = 0;
  for (let i = 0; i <= k; i++) {
    sum += one;
    one = (one * (n - i)) / (i + 1);
  }
  return sum;
}

/**
 * The lower one-sided bound of the median, free of any assumption about the noise: of the sorted values the highest k-th that the
 * median is below with at most `risk`. Null when there are too few values to say anything (fewer than 5 for 5 %).
 */
export function lowerBound(values: readonly number[], risk = 0.05): number | null {
  const sorted = values.toSorted((one, other) => one - other);
  let bound: number | null = null;
  for (let k = 0; k < sorted.length && coins(sorted.length, k) <= risk; k++) bound = sorted[k] ?? null;
  return bound;
}
