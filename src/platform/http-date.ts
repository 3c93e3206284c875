/** Dates as HTTP writes them (RFC 9110 §5.6.7). */
import type { Milliseconds } from '../units.ts';

/** `wall`: since the Unix epoch. */
export function httpDate(wall: Milliseconds): string {
  return new Date(wall).toUTCString();
}
