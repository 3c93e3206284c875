/** Numbers and times as people say them. */
import { HOUR, MINUTE, SECOND } from '../units.ts';
import type { Milliseconds } from '../units.ts';

/** `4s`, `3m 12s`, `2h 5m`. */
export function spanText(span: Milliseconds): string {
  const total = Math.max(0, Math.round(span / SECOND));
  if (total < 60) return `${total}s`;
  const minutes = Math.floor(total / 60);
  if (span < HOUR) return total % 60 === 0 ? `${minutes}m` : `${minutes}m ${total % 60}s`;
  const hours = Math.floor((minutes * MINUTE) / HOUR);
  return minutes % 60 === 0 ? `${hours}h` : `${hours}h ${minutes % 60}m`;
}

/** MiB as `512MiB` or `21.5GiB`, as a configuration writes them. */
export function mibText(mib: number): string {
  return mib < 1024 ? `${Math.round(mib)}MiB` : `${Math.round((mib / 1024) * 10) / 10}GiB`;
}

export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
