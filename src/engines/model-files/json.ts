/** Reads fields of JSON that others wrote: whatever is not what it should be counts as absent. */

export type JsonObject = Readonly<Record<string, unknown>>;

/** No field of a model's files is larger; what claims to be is a mistake or worse. */
const LARGEST_FIELD = 2 ** 31;

export function parseObject(text: string): JsonObject | null {
  try {
    return asObject(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

export function asObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
}

/** A field of its own, never one of the prototype. */
export function fieldOf(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

export const objectAt = (object: JsonObject, name: string): JsonObject | null => asObject(fieldOf(object, name));

export function listAt(object: JsonObject, name: string): readonly unknown[] | null {
  const value = fieldOf(object, name);
  return Array.isArray(value) ? value : null;
}

export function textAt(object: JsonObject, name: string): string | null {
  const value = fieldOf(object, name);
  return typeof value === 'string' ? value : null;
}

export function flagAt(object: JsonObject, name: string): boolean | null {
  const value = fieldOf(object, name);
  return typeof value === 'boolean' ? value : null;
}

/** The first of these fields that holds a positive integer. */
export function countAt(object: JsonObject, ...names: readonly string[]): number | null {
  for (const name of names) {
    const value = asCount(fieldOf(object, name));
    if (value !== null) return value;
  }
  return null;
}

export function asCount(value: unknown): number | null {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= LARGEST_FIELD ? value : null;
}

/** Bytes of a file or of many: beyond the range of a field, but exact. */
export function sizeAt(object: JsonObject, name: string): number | null {
  const value = fieldOf(object, name);
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : null;
}

export function numberAt(object: JsonObject, name: string): number | null {
  const value = fieldOf(object, name);
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}
