import { hideInText } from '../hide-secrets.ts';

/**
 * Text that came out of the environment (a variable, or `${NAME}` in a file). It has no type of its own yet: the key
 * that it is written to decides whether `8` is a number or a name.
 */
export class Substituted {
  readonly text: string;
  /** Written without quotes in the file: then free-form values take YAML's types, as they would have without `${}`. */
  readonly plain: boolean;
  constructor(text: string, plain: boolean) {
    this.text = text;
    this.plain = plain;
  }
}

const INTEGER = /^[+-]?\d+$/;
const DECIMAL = /^[+-]?\d+(?:\.\d+)?$/;

/** Strict on purpose: `Number('')` is 0 and `Number('0x10')` is 16, neither of which anybody means in a variable. */
export function numberFromText(text: string): number | undefined {
  const trimmed = text.trim();
  return DECIMAL.test(trimmed) ? Number(trimmed) : undefined;
}

/** The value as the key's reader sees it: text stays text, whatever wrote it. */
export function plainText(value: unknown): unknown {
  return value instanceof Substituted ? value.text : value;
}

/** YAML's core types for text that was substituted into an unquoted scalar; quoted text stays text. */
export function freeForm(value: Substituted): unknown {
  if (!value.plain) return value.text;
  const text = value.text.trim();
  if (text === 'true') return true;
  if (text === 'false') return false;
  if (text === 'null' || text === '~') return null;
  if (INTEGER.test(text) && !Number.isSafeInteger(Number(text))) return value.text;
  return numberFromText(text) ?? value.text;
}

/** A table's own entry: names come from files, and every object has a `constructor`. */
export function ownEntry<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

const LONGEST_QUOTE = 80;

/** A value as shown in a message: one line, bounded, recognisable, and nothing in it that has the shape of a secret. */
export function quote(value: unknown): string {
  const plain = plainText(value);
  const shown = typeof plain === 'string' ? hideInText(plain) : plain;
  if (typeof shown === 'string') {
    return JSON.stringify(shown.length > LONGEST_QUOTE ? `${shown.slice(0, LONGEST_QUOTE)}…` : shown);
  }
  if (shown === null) return 'null';
  if (Array.isArray(shown)) return 'a list';
  if (typeof shown === 'object') return 'a mapping';
  return String(shown);
}

/** What kind of value it is, where it may be a secret that was written in a wrong place. */
export function kindOf(value: unknown): string {
  const shown = plainText(value);
  if (typeof shown === 'string') return 'text';
  return typeof shown === 'number' ? 'a number' : quote(shown);
}
