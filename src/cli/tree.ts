/** Values as indented `key: value` lines: YAML that people can read and parsers too. */

const PLAIN = /^[A-Za-z_/][\w./:@+-]*$/;
const RESERVED = /^(?:true|false|null|yes|no|on|off|y|n)$/i;

export function renderTree(value: unknown, depth = 0): string {
  const indent = '  '.repeat(depth);
  if (!isRecord(value)) return `${indent}${scalar(value)}\n`;
  return Object.entries(value)
    .map(([key, item]) => {
      const name = text(key);
      if (!isRecord(item)) return `${indent}${name}: ${scalar(item)}\n`;
      return Object.keys(item).length === 0
        ? `${indent}${name}: {}\n`
        : `${indent}${name}:\n${renderTree(item, depth + 1)}`;
    })
    .join('');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function scalar(value: unknown): string {
  if (value === undefined || value === null) return 'null';
  if (typeof value === 'string') return text(value);
  if (Array.isArray(value)) return `[${value.map(scalar).join(', ')}]`;
  return JSON.stringify(value);
}

/** JSON strings are YAML strings too. */
function text(value: string): string {
  return PLAIN.test(value) && !value.includes(': ') && !value.endsWith(':') && !RESERVED.test(value)
    ? value
    : JSON.stringify(value);
}
