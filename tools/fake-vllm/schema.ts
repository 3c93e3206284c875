import { type Json, isObject } from './body.ts';
import { badRequest } from './errors.ts';

const TYPES = new Set(['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']);

/** A value that satisfies a JSON schema, always the same one. `text` fills free strings. @throws RequestError */
export function instanceOf(schema: unknown, text: string): unknown {
  return build(schema, schema, text, 0);
}

function build(schema: unknown, root: unknown, text: string, depth: number): unknown {
  if (!isObject(schema) || depth > 12) return null;
  const target = schema['$ref'];
  if (typeof target === 'string') return build(follow(root, target), root, text, depth + 1);
  if ('const' in schema) return schema['const'];
  const choices = schema['enum'];
  if (Array.isArray(choices)) return choices[0] ?? null;
  for (const key of ['anyOf', 'oneOf', 'allOf']) {
    const options = schema[key];
    if (Array.isArray(options) && options.length > 0) return build(options[0], root, text, depth + 1);
  }
  const declared = schema['type'];
  const type = Array.isArray(declared)
    ? declared[0]
    : (declared ?? (schema['properties'] === undefined ? 'string' : 'object'));
  if (typeof type !== 'string' || !TYPES.has(type)) throw badRequest(`Grammar error: Invalid type: ${String(type)}`);
  return buildType(type, schema, root, text, depth);
}

function buildType(type: string, schema: Json, root: unknown, text: string, depth: number): unknown {
  switch (type) {
    case 'object': {
      const properties = isObject(schema['properties']) ? schema['properties'] : {};
      return Object.fromEntries(
        Object.entries(properties).map(([name, property]) => [name, build(property, root, text, depth + 1)]),
      );
    }
    case 'array': {
      const count = Math.max(1, Number(schema['minItems'] ?? 1));
      return Array.from({ length: Math.min(count, 32) }, () => build(schema['items'] ?? {}, root, text, depth + 1));
    }
    case 'integer':
    case 'number':
      return Number(schema['minimum'] ?? 7);
    case 'boolean':
      return true;
    case 'null':
      return null;
    default: {
      const longest = Number(schema['maxLength'] ?? text.length);
      return text.padEnd(Number(schema['minLength'] ?? 0), '.').slice(0, longest);
    }
  }
}

function follow(root: unknown, reference: string): unknown {
  let place: unknown = root;
  for (const step of reference.replace(/^#\/?/, '').split('/')) {
    if (step !== '') place = isObject(place) ? place[step] : undefined;
  }
  return place;
}
