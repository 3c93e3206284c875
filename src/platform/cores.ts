/** How many processors this process may use: what the scheduler lets it run on, and what its container may take of them. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** `max` or microseconds of processor time, and the period in which they may be used: cgroup v2, as a container sees its own. */
const QUOTA = '/sys/fs/cgroup/cpu.max';

export function availableCores(): number {
  return Math.max(1, Math.min(availableParallelism(), coresOfQuota(readQuota())));
}

/** Infinity without a quota. A part of a core is one more: it can be used. */
export function coresOfQuota(text: string): number {
  const [quota, period] = text.trim().split(' ').map(Number);
  if (quota === undefined || period === undefined || !(quota > 0) || !(period > 0)) return Number.POSITIVE_INFINITY;
  return Math.ceil(quota / period);
}

function readQuota(): string {
  try {
    return readFileSync(QUOTA, 'utf8');
  } catch {
    // Not in a container, or an older system.
    return '';
  }
}
