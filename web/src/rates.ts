/** Rates out of counters that only grow. */
import type { ActivityEvent } from '../../src/admin/contract.ts';

export interface Point {
  /** Seconds before the newest sample, ≤ 0. */
  readonly at: number;
  /** Null: nothing happened that could be measured. */
  readonly value: number | null;
}

export interface Rates {
  readonly requests: readonly Point[];
  /** Seconds. */
  readonly firstByte: readonly Point[];
  readonly tokens: readonly Point[];
}

export const SPAN_S = 300;
const WINDOW_S = 5;

interface Totals {
  readonly at: number;
  readonly requests: number;
  readonly firstBytes: number;
  readonly firstByteSeconds: number;
  readonly tokens: number;
}

function totalsOf({ at, models }: ActivityEvent, only: string | null): Totals {
  const sum = { at: Date.parse(at) / 1000, requests: 0, firstBytes: 0, firstByteSeconds: 0, tokens: 0 };
  for (const [name, model] of Object.entries(models)) {
    if (only !== null && name !== only) continue;
    sum.requests += model.requests;
    sum.firstBytes += model.first_bytes;
    sum.firstByteSeconds += model.first_byte_s;
    sum.tokens += model.completion_tokens;
  }
  return sum;
}

/** Each point looks back over a few seconds, so that single requests make a hill and not a needle. */
export function ratesOf(activity: readonly ActivityEvent[], only: string | null = null): Rates {
  const totals = activity.map((sample) => totalsOf(sample, only));
  const end = totals.at(-1)?.at ?? 0;
  const requests: Point[] = [];
  const firstByte: Point[] = [];
  const tokens: Point[] = [];
  let from = 0;
  for (const now of totals) {
    while (from < totals.length - 1 && now.at - (totals[from]?.at ?? 0) > WINDOW_S) from += 1;
    const before = totals[from];
    const at = now.at - end;
    if (!before || now.at <= before.at || at < -SPAN_S) continue;
    const seconds = now.at - before.at;
    const answers = now.firstBytes - before.firstBytes;
    requests.push({ at, value: (now.requests - before.requests) / seconds });
    tokens.push({ at, value: (now.tokens - before.tokens) / seconds });
    firstByte.push({ at, value: answers > 0 ? (now.firstByteSeconds - before.firstByteSeconds) / answers : null });
  }
  return { requests, firstByte, tokens };
}
