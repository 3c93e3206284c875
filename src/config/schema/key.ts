/**
 * One table per section drives everything: what a file may hold, which variables are read, the defaults, the JSON
 * Schema and the reference page. A key is written down once.
 */
import * as z from 'zod';
import type { Reader } from './reader.ts';

export interface Key<T> {
  readonly kind: 'key';
  readonly reader: Reader<T>;
  readonly fallback: T;
  readonly about: string;
  /** Variables that set it, the strongest first. */
  readonly env: readonly string[];
  /** What is read from the environment when it is spelt otherwise than in a file. */
  readonly fromEnv: Reader<T>;
  /** How messages and docs name the default where the value alone says little. */
  readonly fallbackText: string | undefined;
}

export interface Group<K extends Keys> {
  readonly kind: 'group';
  readonly keys: K;
  readonly about: string;
  readonly required: readonly string[];
}

export type Keys = { readonly [name: string]: Key<unknown> | Group<Keys> };

/** What a table of keys resolves to: every key has a value. */
export type Resolved<K extends Keys> = {
  readonly [P in keyof K]: K[P] extends Key<infer T> ? T : K[P] extends Group<infer G> ? Resolved<G> : never;
};

/** What a file holds of a table of keys: any part of it, values read. */
export type Written<K extends Keys> = {
  readonly [P in keyof K]?: K[P] extends Key<infer T> ? T : K[P] extends Group<infer G> ? Written<G> : never;
};

interface KeyOptions<T> {
  readonly reader: Reader<T>;
  readonly fallback: T;
  readonly about: string;
  readonly env?: readonly string[];
  readonly fromEnv?: Reader<T>;
  readonly fallbackText?: string;
}

export function key<T>(options: KeyOptions<T>): Key<T> {
  return {
    kind: 'key',
    reader: options.reader,
    fallback: options.fallback,
    about: options.about,
    env: options.env ?? [],
    fromEnv: options.fromEnv ?? options.reader,
    fallbackText: options.fallbackText,
  };
}

/** A key whose default is another key's value. */
export function inherited<T>(options: Omit<KeyOptions<T>, 'fallback'>): Key<T | undefined> {
  return key<T | undefined>({
    ...options,
    reader: { ...options.reader, show: (value) => (value === undefined ? undefined : options.reader.show(value)) },
    fallback: undefined,
    ...(options.fromEnv === undefined
      ? {}
      : { fromEnv: { ...options.fromEnv, show: (value: T | undefined): unknown => value } }),
  });
}

export function group<K extends Keys>(about: string, keys: K, required: readonly string[] = []): Group<K> {
  return { kind: 'group', keys, about, required };
}

/** A zod type that reads one key; its complaints become zod issues with our code and our sentence. */
export function zodKey<T>(of: Key<T>): z.ZodType {
  return z
    .unknown()
    .transform((input, context): unknown => {
      const reading = of.reader.read(input);
      if ('value' in reading) return reading.value;
      for (const complaint of reading.complaints) {
        context.addIssue({
          code: 'custom',
          message: complaint.message,
          path: [...(complaint.path ?? [])],
          params: { code: complaint.code },
        });
      }
      return z.NEVER;
    })
    .meta({
      description: of.env.length === 0 ? of.about : `${of.about} Environment: ${of.env.join(', ')}.`,
      ...of.reader.json,
      ...defaultOf(of),
    })
    .optional();
}

/** zod leaves `default` out of input schemas, so it travels under a name of its own until the JSON Schema is written. */
export const DEFAULT_MARK = 'x-default';

function defaultOf<T>(of: Key<T>): Readonly<Record<string, unknown>> {
  const shown = of.fallback === undefined ? undefined : of.reader.show(of.fallback);
  return shown === undefined ? {} : { [DEFAULT_MARK]: shown };
}

export function zodGroup(of: Group<Keys>): z.ZodType {
  const shape: Record<string, z.ZodType> = {};
  for (const [name, entry] of Object.entries(of.keys)) {
    shape[name] = entry.kind === 'key' ? zodKey(entry) : zodGroup(entry).optional();
  }
  return z
    .strictObject(shape)
    .meta({ description: of.about, ...(of.required.length > 0 ? { required: [...of.required] } : {}) });
}
