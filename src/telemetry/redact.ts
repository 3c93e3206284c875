/**
 * Keeps secrets out of logs: by the name of the field, by values known to be secret, and by shape (bearer tokens, key
 * prefixes, credentials in URLs, secret command-line flags).
 */

export const REDACTED = '[redacted]';

const MAX_DEPTH = 8;
const MAX_ITEMS = 200;
const MAX_JUDGED = 1_000;
/** Shorter values would blank out ordinary words. */
const MIN_SECRET_LENGTH = 6;

const SECRET_NAMES =
  /^(authorization|proxy-authorization|cookie|set-cookie)$|(api|engine|admin|secret|access|private)[_-]?keys?$|(^|[_-])(token|secret|password|passwd|credentials?)$|[a-z](Token|Secret|Password)$/i;
const SECRET_FLAG = /^--?[\w-]*(api[-_]key|token|password|secret)$/i;

const SHAPES: readonly (readonly [RegExp, string])[] = [
  [/\b(Bearer|Basic)\s+[\w.~+/=-]{6,}/gi, `$1 ${REDACTED}`],
  [/\b(?:sk|hf|vgw)[-_][A-Za-z0-9_-]{12,}/g, REDACTED],
  [/:\/\/[^\s/@:]+:[^\s/@]+@/g, `://${REDACTED}@`],
  [/(--?[\w-]*(?:api[-_]key|token|password|secret))(=|\s+)[^\s'"]+/gi, `$1$2${REDACTED}`],
];
/** A cheap test that spares ordinary lines the four expressions above. */
const MAY_HOLD_SECRET = /bearer|basic|sk[-_]|hf[-_]|vgw[-_]|:\/\/|key|token|password|secret/i;

export interface Redactor {
  text(text: string): string;
  /** A copy that is safe to serialise: errors become plain objects, maps become objects, depth and width are bounded. */
  fields(fields: object): Record<string, unknown>;
}

/** `secrets`: values that must appear nowhere, e.g. the credentials of external servers. */
export function createRedactor(secrets: readonly string[] = []): Redactor {
  const known = secrets.filter((secret) => secret.length >= MIN_SECRET_LENGTH);

  /** Field names are few and every line has some: each is judged once. */
  const judged = new Map<string, boolean>();
  function isSecretName(name: string): boolean {
    const known = judged.get(name);
    if (known !== undefined) return known;
    if (judged.size >= MAX_JUDGED) judged.clear();
    const secret = SECRET_NAMES.test(name);
    judged.set(name, secret);
    return secret;
  }

  function text(input: string): string {
    let output = input;
    for (const secret of known) if (output.includes(secret)) output = output.replaceAll(secret, REDACTED);
    if (!MAY_HOLD_SECRET.test(output)) return output;
    for (const [shape, replacement] of SHAPES) output = output.replace(shape, replacement);
    return output;
  }

  function list(items: readonly unknown[], depth: number): unknown[] {
    return items.slice(0, MAX_ITEMS).map((item, index) => {
      const before = items[index - 1];
      if (typeof before === 'string' && SECRET_FLAG.test(before) && typeof item === 'string') return REDACTED;
      return value(item, depth + 1);
    });
  }

  function value(input: unknown, depth: number): unknown {
    if (typeof input === 'string') return text(input);
    if (typeof input === 'bigint') return input.toString();
    if (typeof input !== 'object' || input === null) return input;
    if (depth > MAX_DEPTH) return '[deep]';
    if (input instanceof Error) return errorFields(input, depth);
    if (input instanceof Date) return input.toISOString();
    if (input instanceof Map)
      return record(
        [...input].map(([name, item]) => [String(name), item] as const),
        depth,
      );
    if (input instanceof Set) return list([...input], depth);
    if (Array.isArray(input)) return list(input, depth);
    if (ArrayBuffer.isView(input)) return `[${input.byteLength} bytes]`;
    return record(Object.entries(input), depth);
  }

  function errorFields(error: Error, depth: number): Record<string, unknown> {
    const stack = error.stack === undefined ? {} : { stack: text(error.stack) };
    const cause = error.cause === undefined ? {} : { cause: value(error.cause, depth + 1) };
    return {
      type: error.name,
      message: text(error.message),
      ...record(Object.entries(error), depth),
      ...stack,
      ...cause,
    };
  }

  function record(entries: readonly (readonly [string, unknown])[], depth: number): Record<string, unknown> {
    const output: Record<string, unknown> = {};
    for (const [name, item] of entries.slice(0, MAX_ITEMS)) {
      if (name === '__proto__') continue;
      const hide = isSecretName(name) && item !== null && item !== undefined && typeof item !== 'boolean';
      output[name] = hide ? REDACTED : value(item, depth + 1);
    }
    return output;
  }

  return {
    text,
    fields: (fields) => (fields instanceof Error ? { err: errorFields(fields, 0) } : record(Object.entries(fields), 0)),
  };
}
