/** Flavoured numbers: a plain number is accepted, one unit where another is meant is not. */
type Unit<Name extends string> = number & { readonly unit?: Name };

/** A number of bytes. */
export type Bytes = Unit<'bytes'>;
/** A span of time, or a point on a monotonic clock, in milliseconds. */
export type Milliseconds = Unit<'milliseconds'>;

export const KIB = 1024;
export const MIB: Bytes = 1024 * KIB;
export const GIB: Bytes = 1024 * 1024 * KIB;
export const SECOND: Milliseconds = 1_000;
export const MINUTE: Milliseconds = 60_000;
export const HOUR: Milliseconds = 3_600_000;

/** Largest delay that Node's timers take; a longer one fires at once. */
export const TIMER_MAX: Milliseconds = 2 ** 31 - 1;

/** To three decimals: what a clock says behind them is noise, and unreadable. */
export function toMicrosecond<Time extends Milliseconds | null>(time: Time): Time | Milliseconds {
  return time === null ? time : Math.round(time * 1_000) / 1_000;
}

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/;
const DURATION_UNITS: Readonly<Record<string, Milliseconds>> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: 24 * HOUR };

/** Reads `30s`, `5m`, `1h`, `250ms` or a bare number of seconds. Undefined when it is none of these. */
export function parseDuration(text: string | number): Milliseconds | undefined {
  const match = DURATION.exec(String(text).trim());
  if (!match) return undefined;
  const value = Number(match[1]) * (DURATION_UNITS[match[2] ?? 's'] ?? Number.NaN);
  return Number.isFinite(value) ? Math.round(value) : undefined;
}

const SIZE = /^(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)$/i;
const SIZE_UNITS: Readonly<Record<string, Bytes>> = {
  b: 1,
  kib: KIB,
  mib: MIB,
  gib: GIB,
  tib: 1024 * GIB,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

/** Reads `24GiB`, `512MiB`, `10GB`. A bare number is not a size here: the caller knows whether it means MiB. */
export function parseSize(text: string): Bytes | undefined {
  const match = SIZE.exec(text.trim());
  if (!match) return undefined;
  const value = Number(match[1]) * (SIZE_UNITS[(match[2] ?? '').toLowerCase()] ?? Number.NaN);
  return Number.isSafeInteger(Math.round(value)) ? Math.round(value) : undefined;
}

/** `90s`, `5m`, `1h`: the shortest spelling that parseDuration reads back to the same value. */
export function formatDuration(span: Milliseconds): string {
  if (span === 0) return '0s';
  for (const [name, size] of [
    ['h', HOUR],
    ['m', MINUTE],
    ['s', SECOND],
  ] as const) {
    if (span % size === 0) return `${span / size}${name}`;
  }
  return `${span}ms`;
}

/** `24GiB`, `1.5GiB`, `512MiB`: for people; one decimal at most. */
export function formatSize(size: Bytes): string {
  for (const [name, unit] of [
    ['GiB', GIB],
    ['MiB', MIB],
    ['KiB', KIB],
  ] as const) {
    if (size >= unit) return `${Math.round((size / unit) * 10) / 10}${name}`;
  }
  return `${size}B`;
}
