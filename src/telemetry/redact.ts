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
  [/:\/\/[^\s/?#@'"]{1,512}@/g, `://${REDACTED}@`],
  [/(--?[\w-]*(?:api[-_]key|token|password|secret))(=|\s+)[^\s'"]+/gi, `$1$2${REDACTED}`],
];
/** A cheap test that spares ordinary lines the four expressions above. */
const MAY_HOLD_SECRET = /bearer|basic|sk[-_]|hf[-_]|vgw[-_]|:\/\/|key|token|password|secret/i;

/** `secrets`: values that must appear nowhere, e.g. the credentials of external servers. */
export class Redactor {
  #secrets: readonly string[] = [];
  /** Those that were replaced last: what began with them may still speak of them. */
  #former: readonly string[] = [];
  /** Field names are few and every line has some: each is judged once. */
  readonly #judged = new Map<string, boolean>();

  constructor(secrets: readonly string[] = []) {
    this.replace(secrets);
  }

  /** From now on these, and still those before them. */
  replace(secrets: readonly string[]): void {
    const kept = [...new Set(secrets)].filter((secret) => secret.length >= MIN_SECRET_LENGTH);
    if (kept.length === this.#secrets.length && kept.every((secret) => this.#secrets.includes(secret))) return;
    this.#former = this.#secrets.filter((secret) => !kept.includes(secret));
    this.#secrets = kept;
  }

  text(input: string): string {
    let output = input;
    for (const secret of this.#secrets) if (output.includes(secret)) output = output.replaceAll(secret, REDACTED);
    for (const secret of this.#former) if (output.includes(secret)) output = output.replaceAll(secret, REDACTED);
    if (!MAY_HOLD_SECRET.test(output)) return output;
    for (const [shape, replacement] of SHAPES) output = output.replace(shape, replacement);
    return output;
  }

  /**
   * A copy that is safe to serialise: errors become plain objects, maps become objects, depth and width are bounded.
   * `onto`: fields that are safe already, for the copy to begin with.
   */
  fields(fields: object, onto: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    if (fields instanceof Error) return { ...onto, err: this.#error(fields, 0) };
    return this.#properties(fields, 0, { ...onto });
  }

  #value(input: unknown, depth: number): unknown {
    if (typeof input === 'string') return this.text(input);
    if (typeof input === 'bigint') return input.toString();
    if (typeof input !== 'object' || input === null) return input;
    if (depth > MAX_DEPTH) return '[deep]';
    if (input instanceof Error) return this.#error(input, depth);
    if (input instanceof Date) return input.toISOString();
    if (input instanceof Map)
      return this.#record(
        [...input].map(([name, item]) => [String(name), item] as const),
        depth,
      );
    if (input instanceof Set) return this.#list([...input], depth);
    if (Array.isArray(input)) return this.#list(input, depth);
    if (ArrayBuffer.isView(input)) return `[${input.byteLength} bytes]`;
    return this.#properties(input, depth, {});
  }

  #list(items: readonly unknown[], depth: number): unknown[] {
    return items.slice(0, MAX_ITEMS).map((item, index) => {
      const before = items[index - 1];
      if (typeof before === 'string' && SECRET_FLAG.test(before) && typeof item === 'string') return REDACTED;
      return this.#value(item, depth + 1);
    });
  }

  #error(error: Error, depth: number): Record<string, unknown> {
    const fields = this.#record(Object.entries(error), depth);
    const stack = error.stack === undefined ? {} : { stack: this.text(error.stack) };
    const cause = error.cause === undefined ? {} : { cause: this.#value(error.cause, depth + 1) };
    return { type: error.name, message: this.text(error.message), ...fields, ...stack, ...cause };
  }

  #record(entries: readonly (readonly [string, unknown])[], depth: number): Record<string, unknown> {
    const output: Record<string, unknown> = {};
    for (const [name, item] of entries.slice(0, MAX_ITEMS)) this.#put(output, name, item, depth);
    return output;
  }

  /** As #record, without an array per property: every access line comes through here. */
  #properties(input: object, depth: number, output: Record<string, unknown>): Record<string, unknown> {
    let left = MAX_ITEMS;
    for (const name of Object.keys(input)) {
      if (left-- === 0) break;
      this.#put(output, name, (input as Readonly<Record<string, unknown>>)[name], depth);
    }
    return output;
  }

  #put(output: Record<string, unknown>, name: string, item: unknown, depth: number): void {
    if (name === '__proto__') return;
    const hide = item !== null && item !== undefined && typeof item !== 'boolean' && this.#isSecretName(name);
    output[name] = hide ? REDACTED : this.#value(item, depth + 1);
  }

  #isSecretName(name: string): boolean {
    const known = this.#judged.get(name);
    if (known !== undefined) return known;
    if (this.#judged.size >= MAX_JUDGED) this.#judged.clear();
    const secret = SECRET_NAMES.test(name);
    this.#judged.set(name, secret);
    return secret;
  }
}
