/** Readers: from what a file or variable holds to a typed value, or to the sentence that says what would be right. */
import { formatDuration, parseDuration, parseSize, type Bytes, type Milliseconds, TIMER_MAX } from '../../units.ts';
import { didYouMean } from '../suggest.ts';
import { freeForm, numberFromText, ownEntry, plainText, quote, Substituted } from './scalar.ts';
import { exactSize } from './spelling.ts';

export interface Complaint {
  readonly code: string;
  readonly message: string;
  /** Below the key that is read: an index of a list, a key of a mapping. */
  readonly path?: readonly (string | number)[];
}

export type Reading<T> = { readonly value: T } | { readonly complaints: readonly Complaint[] };

export interface Reader<T> {
  read(value: unknown): Reading<T>;
  /** JSON Schema of what may be written. */
  readonly json: Readonly<Record<string, unknown>>;
  /** What may be written, for messages and docs: `a whole number from 1 to 100`. */
  readonly allows: string;
  /** A number or duration: from the environment an unusable one falls back to the default instead of refusing. */
  readonly lenient: boolean;
  /** How a value is written in a file. */
  show(value: T): unknown;
}

export const good = <T>(value: T): Reading<T> => ({ value });
export const bad = (code: string, message: string, path?: readonly (string | number)[]): Reading<never> => ({
  complaints: [path === undefined ? { code, message } : { code, message, path }],
});

const INTERPOLATED = { type: 'string', pattern: '\\$\\{' };
const orInterpolated = (json: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => ({
  anyOf: [json, INTERPOLATED],
});

const same = <T>(value: T): unknown => value;

function readNumber(value: unknown, noun: string, allows: string): Reading<number> {
  if (typeof value === 'number') return good(value);
  if (value instanceof Substituted) {
    const parsed = numberFromText(value.text);
    if (parsed !== undefined) return good(parsed);
  } else if (typeof value === 'string' && numberFromText(value) !== undefined) {
    return bad('wrong_type', `${quote(value)} is text, not a number; remove the quotes; allowed: ${allows}`);
  }
  return bad('wrong_type', `${quote(value)} is not ${noun}; allowed: ${allows}`);
}

/** Digits beyond a double's are lost in the number, and the reader of the message looks for what stands in the variable. */
function asWritten(input: unknown, value: number): string {
  return input instanceof Substituted ? quote(input).slice(1, -1).trim() : String(value);
}

export function wholeNumber(min: number, max: number, more = ''): Reader<number> {
  const allows = `a whole number from ${min} to ${max}${more}`;
  return {
    allows,
    lenient: true,
    json: orInterpolated({ type: 'integer', minimum: min, maximum: max }),
    show: same,
    read: (input) => {
      const reading = readNumber(input, 'a whole number', allows);
      if (!('value' in reading)) return reading;
      if (!Number.isInteger(reading.value)) {
        return bad('wrong_type', `${asWritten(input, reading.value)} is not a whole number; allowed: ${allows}`);
      }
      return reading.value < min || reading.value > max
        ? bad('out_of_range', `${asWritten(input, reading.value)} is out of range; allowed: ${allows}`)
        : reading;
    },
  };
}

/** `above`: the lower bound itself is excluded. */
export function fraction(min: number, max: number, options: { above?: boolean } = {}): Reader<number> {
  const allows = options.above ? `a number above ${min} and up to ${max}` : `a number from ${min} to ${max}`;
  return {
    allows,
    lenient: true,
    json: orInterpolated({
      type: 'number',
      ...(options.above ? { exclusiveMinimum: min } : { minimum: min }),
      maximum: max,
    }),
    show: same,
    read: (input) => {
      const reading = readNumber(input, 'a number', allows);
      if (!('value' in reading)) return reading;
      const { value } = reading;
      if (Number.isNaN(value)) return bad('wrong_type', `NaN is not a number; allowed: ${allows}`);
      return value < min || value > max || (options.above === true && value === min)
        ? bad('out_of_range', `${asWritten(input, value)} is out of range; allowed: ${allows}`)
        : reading;
    },
  };
}

export interface SpanOptions {
  readonly min?: Milliseconds;
  readonly max?: Milliseconds;
  /** What 0 means; without it 0 is out of range. */
  readonly zero?: string;
  /** A longer one is taken as the longest that timers can hold, as nobody can tell the difference. */
  readonly clamp?: boolean;
}

const LONGEST: Milliseconds = 24 * 24 * 3_600_000;

export function span(options: SpanOptions = {}): Reader<Milliseconds> {
  const min = options.min ?? 1;
  const max = Math.min(options.max ?? LONGEST, TIMER_MAX);
  const range =
    options.clamp === true ? '' : `, from ${formatDuration(min)} to ${max === LONGEST ? '24d' : formatDuration(max)}`;
  const zero = options.zero === undefined ? '' : `, or 0 = ${options.zero}`;
  const allows = `a duration such as 30s, 5m, 1h or 250ms (a bare number is seconds)${range}${zero}`;
  return {
    allows,
    lenient: true,
    json: {
      anyOf: [
        { type: 'number', minimum: 0 },
        { type: 'string', pattern: '^\\d+(\\.\\d+)?(ms|s|m|h|d)?$' },
        INTERPOLATED,
      ],
    },
    show: formatDuration,
    read: (input) => {
      const value = plainText(input);
      const parsable = typeof value === 'string' || typeof value === 'number';
      const parsed = parsable ? parseDuration(value) : undefined;
      if (parsed === undefined) {
        const negative = parsable && /^-\d/.test(String(value));
        return negative
          ? bad('out_of_range', `${quote(value)} is negative; allowed: ${allows}`)
          : bad('wrong_type', `${quote(value)} is not a duration; allowed: ${allows}`);
      }
      if (parsed === 0 && options.zero !== undefined) return good(0);
      if (parsed > max && options.clamp === true) return good(max);
      return parsed < min || parsed > max
        ? bad('out_of_range', `${quote(value)} is out of range; allowed: ${allows}`)
        : good(parsed);
    },
  };
}

export interface SizeOptions {
  readonly min?: Bytes;
  readonly max?: Bytes;
  /** The original had this setting as a number of MiB. */
  readonly bareIsMib?: boolean;
}

export function size(options: SizeOptions = {}): Reader<Bytes> {
  const min = options.min ?? 0;
  const max = options.max ?? 1024 * 1024 ** 4;
  const bare = options.bareIsMib === true ? ' (a bare number is MiB)' : '';
  const allows = `a size such as 24GiB or 512MiB${bare}, from ${exactSize(min)} to ${exactSize(max)}`;
  const parse = (value: unknown): Bytes | undefined => {
    if (typeof value !== 'string' && typeof value !== 'number') return undefined;
    const number = typeof value === 'number' ? value : numberFromText(value);
    if (number === undefined) return parseSize(String(value));
    return options.bareIsMib === true && number >= 0 ? parseSize(`${number}MiB`) : undefined;
  };
  return {
    allows,
    lenient: true,
    json: {
      anyOf: [
        ...(options.bareIsMib === true ? [{ type: 'number', minimum: 0 }] : []),
        { type: 'string', pattern: '^\\d+(\\.\\d+)?\\s*([KMGT]i?)?[bB]$' },
        INTERPOLATED,
      ],
    },
    show: exactSize,
    read: (input) => {
      const value = plainText(input);
      const parsed = parse(value);
      if (parsed !== undefined) {
        return parsed < min || parsed > max
          ? bad('out_of_range', `${quote(value)} is out of range; allowed: ${allows}`)
          : good(parsed);
      }
      const number = typeof value === 'number' ? value : numberFromText(typeof value === 'string' ? value : '');
      if (number !== undefined && number >= 0 && options.bareIsMib !== true) {
        return bad('wrong_type', `${number} has no unit; allowed: ${allows}; write ${number}GiB or ${number}MiB`);
      }
      return bad('wrong_type', `${quote(value)} is not a size; allowed: ${allows}`);
    },
  };
}

export function flag(): Reader<boolean> {
  const allows = 'true or false';
  return {
    allows,
    lenient: false,
    json: orInterpolated({ type: 'boolean' }),
    show: same,
    read: (input) => {
      if (typeof input === 'boolean') return good(input);
      if (input instanceof Substituted) {
        // Variables are text: the spellings that Compose users write for a switch.
        const word = input.text.trim().toLowerCase();
        if (['true', '1', 'yes', 'on'].includes(word)) return good(true);
        if (['false', '0', 'no', 'off'].includes(word)) return good(false);
      }
      return bad('wrong_type', `${quote(input)} is not a switch; allowed: ${allows}`);
    },
  };
}

/** `refused`: words that exist elsewhere, with the reason why not here. */
export function choice<const Word extends string>(
  words: readonly Word[],
  refused: Readonly<Record<string, string>> = {},
): Reader<Word> {
  const allows = words.length === 1 ? `only ${words.join('')}` : `one of ${words.join(', ')}`;
  return {
    allows,
    lenient: false,
    json: orInterpolated({ enum: words }),
    show: same,
    read: (input) => {
      const value = plainText(input);
      const found = words.find((word) => word === value);
      if (found !== undefined) return good(found);
      const reason = typeof value === 'string' ? ownEntry(refused, value) : undefined;
      if (reason !== undefined) return bad('unsupported', `${quote(value)} ${reason}; allowed: ${allows}`);
      const hint = typeof value === 'string' ? didYouMean(value, words) : '';
      return bad('not_allowed', `${quote(value)} is not allowed; allowed: ${allows}${hint}`);
    },
  };
}

export function nullable<T>(inner: Reader<T>): Reader<T | null> {
  return {
    allows: `${inner.allows}, or null`,
    lenient: inner.lenient,
    json: { anyOf: [inner.json, { type: 'null' }] },
    show: (value) => (value === null ? null : inner.show(value)),
    read: (input) => {
      if (input === null) return good(null);
      if (input instanceof Substituted && input.plain && freeForm(input) === null) return good(null);
      return inner.read(input);
    },
  };
}
