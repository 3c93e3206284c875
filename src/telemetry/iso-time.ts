/** Moments as ISO 8601 has them, in UTC. Lines come close together: all but the milliseconds is made once a second. */
import { SECOND, type Milliseconds } from '../units.ts';

/** Of `2026-11-25T17:09:16.123Z`, what stands before the milliseconds. */
const BEFORE_MILLISECONDS = 20;
const MILLISECOND_DIGITS = 3;

/** One for each kind of moment: each remembers the second of the last. `wall`: ms since the epoch. */
export function isoTimes(): (wall: Milliseconds) => string {
  let second = Number.NaN;
  let before = '';
  return (wall) => {
    const whole = Math.floor(wall / SECOND);
    if (whole !== second) {
      before = new Date(whole * SECOND).toISOString().slice(0, BEFORE_MILLISECONDS);
      second = whole;
    }
    return `${before}${String(Math.floor(wall - whole * SECOND)).padStart(MILLISECOND_DIGITS, '0')}Z`;
  };
}
