/** Waiting for something that nobody has to wait for. */
import type { Clock } from '../platform/platform.ts';
import type { Milliseconds } from '../units.ts';

/** Null when it takes longer, or is rejected: what comes of it later is of no interest. */
export async function withinTime<T>(clock: Clock, limit: Milliseconds, work: Promise<T>): Promise<T | null> {
  const late = new AbortController();
  const quiet = work.catch(() => null);
  const over = clock.sleep(limit, late.signal).then(
    () => null,
    () => null,
  );
  try {
    return await Promise.race([quiet, over]);
  } finally {
    late.abort();
  }
}
