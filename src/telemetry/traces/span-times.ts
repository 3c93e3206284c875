/** Moments of the monotonic clock as spans want them: seconds and nanoseconds since the Unix epoch. */
import type { HrTime } from '@opentelemetry/api';
import { SECOND, type Milliseconds } from '../../units.ts';

const NANOSECONDS = 1_000_000;

/** One moment on both clocks; every time of a trace is told from it, so that a step of the wall clock bends none. */
export interface Moment {
  readonly monotonic: Milliseconds;
  readonly wall: Milliseconds;
}

export function spanTime(origin: Moment, monotonic: Milliseconds): HrTime {
  const wall = origin.wall + (monotonic - origin.monotonic);
  const seconds = Math.floor(wall / SECOND);
  return [seconds, Math.round((wall - seconds * SECOND) * NANOSECONDS)];
}
