import { GIB, KIB, MIB, type Bytes } from '../../units.ts';

/** A size that reads back to exactly the same number of bytes, unlike the rounded one for people. */
export function exactSize(size: Bytes): string {
  for (const [name, unit] of [
    ['TiB', 1024 * GIB],
    ['GiB', GIB],
    ['MiB', MIB],
    ['KiB', KIB],
  ] as const) {
    if (size >= unit && size % unit === 0) return `${size / unit}${name}`;
  }
  return `${size}B`;
}

const PLAIN_KEY = /^[A-Za-z_][\w-]*…?$/;
/** Deeper or longer than this is a broken file; the line says where. */
const MOST_STEPS = 12;
const LONGEST_NAME = 64;

/** `models.llama-8b.extra_args[1]`; names that would read as several keys are put in brackets. */
export function pathText(path: readonly (string | number)[]): string {
  let text = '';
  for (const [depth, whole] of path.entries()) {
    if (depth === MOST_STEPS) return `${text}…`;
    const step = typeof whole === 'string' && whole.length > LONGEST_NAME ? `${whole.slice(0, LONGEST_NAME)}…` : whole;
    if (typeof step === 'number') text += `[${step}]`;
    else if (PLAIN_KEY.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}
