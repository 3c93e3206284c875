/**
 * Finds secrets in what a configuration holds besides its keys: by the name that a value stands behind, and by shape, in
 * whatever text it is written (the address of a proxy, a line for a shell, JSON in an argument). What is taken for one by
 * mistake costs a look into the file; what is missed costs the secret.
 */

export const REDACTED = '***';

/** What stands in place of a secret. */
export type Hide = (secret: string) => string;

export const redact: Hide = () => REDACTED;

/** Of variables and flags. */
const SECRET_NAME = /key|token|secret|pass(?:$|[^a-z]|w|phrase)|credential|auth|cookie|dsn$|[^a-z]pwd$/i;
/** Sounds like a secret and is none: `TOKENIZERS_PARALLELISM`, `--tokenizer`. */
const HARMLESS_NAME = /tokenizer|author(?!i)/i;
/** `--max-num-batched-tokens 8k`. */
const COUNTED = /token/i;
const COUNT = /^\d{1,7}[kmg]?$/i;
/** Of fields in JSON, where `eos_token` and the like are many. */
const SECRET_FIELD =
  /api[_-]?key|secret|passw|credential|authorization|(?:^|access|auth|bearer|hf|api|refresh)[_-]?token$/i;

const VALUE = `("(?:[^"\\\\]|\\\\.)*"|'[^']*'|[^\\s'"&;|#]+)`;
const WORD = 'api[-_]?keys?|access[-_]?keys?|private[-_]?key|token|secret|password|passwd|passphrase|credentials?';

/** Bounded, or a long text would be gone over again from each of its places. Of each the second group is the secret; what is before and behind it stays. */
const SHAPES: readonly RegExp[] = [
  // Up to the last @ before a path: a password may hold one that nobody encoded.
  /(:\/\/)([^\s/?#'"]{1,512})(?=@)/g,
  // The same with a slash in the password; what is a port is none.
  /(:\/\/)([^\s/?#'"@:]{0,256}:(?!\d{1,5}[/?#])[^\s'"]{1,256})(?=@)/g,
  // A flag in a line for a shell.
  new RegExp(`((?:^|[\\s'"])--?[\\w-]{0,64}(?:${WORD})(?:=|\\s+))${VALUE}`, 'gi'),
  // A variable in such a line; a parameter of a query.
  new RegExp(`((?:^|[\\s'"?&;])[\\w-]{0,64}(?:${WORD}|_pass|sig|signature)=)${VALUE}`, 'gi'),
  // A field of JSON in a text.
  new RegExp(`("[\\w-]{0,64}(?:${WORD}|authorization)"\\s*:\\s*)("(?:[^"\\\\]|\\\\.)*")`, 'gi'),
  // A header in a text, and credentials whose header is elsewhere; `Basic` is a word, too.
  new RegExp(
    `((?:^|[\\s'"])[\\w-]{0,64}(?:api[-_]?key|authorization|token)\\s*:\\s+(?:Bearer\\s+|Basic\\s+)?)${VALUE}`,
    'gi',
  ),
  /(\bBearer\s+)([\w.~+/=-]{6,})/gi,
  /(\b[Bb]asic\s+)(?=\S*[\dA-Z=])([\w+/=-]{6,})/g,
  /(\b)((?:sk-|vgw[-_]|hf_|gh[a-z]_|github_pat_|glpat-)[A-Za-z0-9_-]{12,})/g,
];
/** Spares ordinary texts the expressions above. */
const MAY_HOLD_SECRET =
  /key|token|secret|pass|credential|authorization|sig|:\/\/|bearer|basic|sk-|vgw|hf_|gh[a-z]_|github|glpat/i;

/** Secrets that have the shape of one. */
export function hideInText(text: string, hide: Hide = redact): string {
  if (!MAY_HOLD_SECRET.test(text)) return text;
  return SHAPES.reduce(
    (left, shape) => left.replace(shape, (_whole, before: string, secret: string) => `${before}${hide(secret)}`),
    text,
  );
}

function isSecret(name: string, value: string): boolean {
  if (!SECRET_NAME.test(name) || HARMLESS_NAME.test(name)) return false;
  return !(COUNTED.test(name) && COUNT.test(value));
}

/** Values behind names that sound like secrets, and secrets within the others; `all`: every value is one. */
export function hideInMapping(
  values: Readonly<Record<string, string>>,
  all: boolean,
  hide: Hide,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      all || isSecret(name, value) ? hide(value) : hideInText(value, hide),
    ]),
  );
}

/** `--hf-token X` and `--hf-token=X`, and secrets within the other words. */
export function hideInArguments(words: readonly string[], hide: Hide = redact): readonly string[] {
  return words.map((word, index) => {
    const assigned = /^(-[^=]*)=/.exec(word);
    if (assigned) {
      const flag = assigned[1] ?? '';
      const value = word.slice(flag.length + 1);
      return isSecret(flag, value) ? `${flag}=${hide(value)}` : hideInText(word, hide);
    }
    const before = words[index - 1] ?? '';
    const isValue = before.startsWith('-') && !before.includes('=') && !word.startsWith('-');
    return isValue && isSecret(before, word) ? hide(word) : hideInText(word, hide);
  });
}

/** Of JSON, at any depth: what stands behind names of secrets, and secrets within other texts. */
export function hideInJson(value: unknown, hide: Hide): unknown {
  if (typeof value === 'string') return hideInText(value, hide);
  if (Array.isArray(value)) return value.map((part) => hideInJson(part, hide));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, part]: [string, unknown]): [string, unknown] => {
    const hidden = SECRET_FIELD.test(name) && part !== null && typeof part !== 'boolean';
    return [name, hidden ? hide(typeof part === 'string' ? part : JSON.stringify(part)) : hideInJson(part, hide)];
  });
  return Object.fromEntries(entries);
}
