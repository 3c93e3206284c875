/** Readers of text, lists, mappings and free-form values. */
import { hideInArguments } from '../hide-secrets.ts';
import { bad, good, type Complaint, type Reader, type Reading } from './reader.ts';
import { freeForm, numberFromText, kindOf, plainText, quote, Substituted } from './scalar.ts';

const CONTROL = /\p{Cc}/u;

export const hasControl = (text: string): boolean => CONTROL.test(text);

export interface TextOptions {
  readonly what?: string;
  readonly max?: number;
  /** Says what is wrong with the trimmed text, or nothing. */
  readonly check?: (text: string) => string | undefined;
  /** Keep surrounding blanks (values that are handed on as they are). */
  readonly verbatim?: boolean;
  readonly pattern?: string;
  /** Never shown, not even in the message that refuses it. */
  readonly secret?: boolean;
}

export function text(options: TextOptions = {}): Reader<string> {
  const max = options.max ?? 4096;
  const shown = (value: unknown): string => (options.secret === true ? 'the value' : quote(value));
  const allows = options.what ?? 'text that is not blank';
  return {
    allows,
    lenient: false,
    json: { type: 'string', minLength: 1, ...(options.pattern === undefined ? {} : { pattern: options.pattern }) },
    show: (value) => value,
    read: (input) => {
      const value = plainText(input);
      if (typeof value !== 'string') {
        const remedy = typeof value === 'number' || typeof value === 'boolean' ? '; put it in quotes' : '';
        return bad('wrong_type', `${shown(value)} is not text; allowed: ${allows}${remedy}`);
      }
      const trimmed = options.verbatim === true ? value : value.trim();
      if (trimmed.trim() === '') return bad('not_allowed', `${quote(value)} is blank; allowed: ${allows}`);
      if (trimmed.length > max) {
        return bad('not_allowed', `is ${trimmed.length} characters long; allowed: at most ${max} characters`);
      }
      if (hasControl(trimmed)) {
        return bad('not_allowed', `${shown(value)} holds a control character; allowed: ${allows}`);
      }
      const complaint = options.check?.(trimmed);
      return complaint === undefined ? good(trimmed) : bad('not_allowed', `${quote(trimmed)} ${complaint}`);
    },
  };
}

/** A name that ends up in an argument vector, a URL and log lines. */
export function identifier(what: string, max = 256): Reader<string> {
  return text({
    what,
    max,
    check: (value) =>
      value.startsWith('-')
        ? 'begins with "-", which an engine would read as an option; allowed: any other name'
        : undefined,
  });
}

export function list<T>(
  inner: Reader<T>,
  options: { min?: number; unique?: boolean; words?: boolean } = {},
): Reader<readonly T[]> {
  const min = options.min ?? 0;
  const allows = `a list, each entry ${inner.allows}`;
  return {
    allows,
    lenient: false,
    json: { type: 'array', items: inner.json, ...(min > 0 ? { minItems: min } : {}) },
    show: (values) => values.map((value) => inner.show(value)),
    read: (input) => {
      // A variable is one text: a comma list there is what a list is here.
      const value = input instanceof Substituted ? commaList(input) : input;
      if (!Array.isArray(value)) {
        const words = typeof value === 'string' ? (options.words === true ? value.trim().split(/\s+/) : [value]) : [];
        const remedy = words.length > 0 ? `; write [${hideInArguments(words).map(quote).join(', ')}]` : '';
        return bad('wrong_type', `${quote(value)} is not a list; allowed: ${allows}${remedy}`);
      }
      if (value.length < min) return bad('not_allowed', `the list is empty; allowed: at least one entry`);
      const values: T[] = [];
      const complaints: Complaint[] = [];
      const seen = new Map<unknown, number>();
      value.forEach((entry: unknown, index) => {
        // Left out where it was read, because its interpolation failed and was told there.
        if (entry === undefined) return;
        const reading = inner.read(entry);
        if ('complaints' in reading) {
          complaints.push(...reading.complaints.map((found) => ({ ...found, path: [index, ...(found.path ?? [])] })));
          return;
        }
        const first = seen.get(reading.value);
        if (options.unique === true && first !== undefined) {
          complaints.push({
            code: 'duplicate',
            message: `${quote(reading.value)} is already entry ${first + 1}`,
            path: [index],
          });
          return;
        }
        seen.set(reading.value, index);
        values.push(reading.value);
      });
      return complaints.length > 0 ? { complaints } : good(values);
    },
  };
}

function commaList(input: Substituted): unknown[] {
  return input.text.split(',').map((part) => new Substituted(part, input.plain));
}

export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Substituted);
}

/** `checkKey` says what is wrong with a key, or nothing. */
export function mapping<T>(
  inner: Reader<T>,
  what: string,
  checkKey: (key: string) => string | undefined = () => undefined,
): Reader<Readonly<Record<string, T>>> {
  return {
    allows: what,
    lenient: false,
    json: { type: 'object', additionalProperties: inner.json },
    show: (values) => Object.fromEntries(Object.entries(values).map(([key, value]) => [key, inner.show(value)])),
    read: (input) => {
      if (!isMapping(input)) return bad('wrong_type', `${kindOf(input)} is not a mapping; allowed: ${what}`);
      const entries: [string, T][] = [];
      const complaints: Complaint[] = [];
      for (const [key, value] of Object.entries(input)) {
        const wrongKey = checkKey(key);
        if (wrongKey !== undefined) complaints.push({ code: 'not_allowed', message: wrongKey, path: [key] });
        if (value === undefined) continue;
        const reading = inner.read(value);
        if ('complaints' in reading) {
          complaints.push(...reading.complaints.map((found) => ({ ...found, path: [key, ...(found.path ?? [])] })));
        } else entries.push([key, reading.value]);
      }
      return complaints.length > 0 ? { complaints } : good(Object.fromEntries(entries));
    },
  };
}

/** Text, or a number or switch written as one: what ends up in an argument vector or an environment is text anyway. */
export function scalarText(what: string): Reader<string> {
  return {
    allows: what,
    lenient: false,
    json: { type: ['string', 'number', 'boolean'] },
    show: (value) => value,
    read: (input) => {
      const value = plainText(input);
      if (typeof value === 'number' && Number.isFinite(value)) return good(String(value));
      if (typeof value === 'boolean') return good(String(value));
      if (typeof value !== 'string') {
        const remedy = typeof value === 'object' && value !== null ? '; put JSON in quotes' : '';
        return bad('wrong_type', `${quote(value)} is not text; allowed: ${what}${remedy}`);
      }
      return value.includes('\0') ? bad('not_allowed', `holds a NUL byte; allowed: ${what}`) : good(value);
    },
  };
}

/** Any JSON value; what YAML has beyond JSON (`.nan`, `.inf`) is refused. */
export function json(what: string): Reader<unknown> {
  return {
    allows: what,
    lenient: false,
    json: {},
    show: (value) => value,
    read: (input) => readJson(input, what),
  };
}

function readJson(input: unknown, what: string): Reading<unknown> {
  const value = input instanceof Substituted ? freeForm(input) : input;
  if (typeof value === 'number' && !Number.isFinite(value)) {
    return bad('not_allowed', `${String(value)} does not exist in JSON; allowed: ${what}`);
  }
  if (typeof value !== 'object' || value === null) return good(value);
  const complaints: Complaint[] = [];
  const take = (entry: unknown, step: string | number): unknown => {
    const reading = readJson(entry, what);
    if ('value' in reading) return reading.value;
    complaints.push(...reading.complaints.map((found) => ({ ...found, path: [step, ...(found.path ?? [])] })));
    return undefined;
  };
  const result = Array.isArray(value)
    ? value.map((entry: unknown, index) => take(entry, index))
    : Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, take(entry, key)]));
  return complaints.length > 0 ? { complaints } : good(result);
}

/** A number of a port; from text as well. */
export function portNumber(value: string): number | undefined {
  const port = /^\d{1,5}$/.test(value) ? numberFromText(value) : undefined;
  return port !== undefined && port <= 65_535 ? port : undefined;
}
