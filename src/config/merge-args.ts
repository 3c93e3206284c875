/** How arguments of the user meet those that the gateway passes to vLLM. */

const SHORT_NAMES: Readonly<Record<string, string>> = {
  '-q': '--quantization',
  '-tp': '--tensor-parallel-size',
  '-pp': '--pipeline-parallel-size',
  '-dp': '--data-parallel-size',
  '-O': '--optimization-level',
  '-cc': '--compilation-config',
};

export const isFlag = (argument: string): boolean => /^-{1,2}[A-Za-z]/.test(argument) || argument === '--';

/** `--a_b=c` → `--a-b`; a value is cut off, and so is the inside of a JSON option (`--a.b`). */
export function flagName(argument: string): string {
  const cut = argument.split(/[=.]/, 1)[0] ?? argument;
  return cut.startsWith('--') ? cut.replaceAll('_', '-') : cut;
}

/** Canonical name of a flag, so that all its spellings meet: `-q`, `--quantization`, `--no-…`. */
function canonical(argument: string): string {
  const name = flagName(argument);
  const long = SHORT_NAMES[name] ?? name;
  return long.startsWith('--no-') ? `--${long.slice('--no-'.length)}` : long;
}

/** Long name of the flag that an argument is, as far as it is written out; null when it is a value. */
export function longFlag(argument: string): string | null {
  return isFlag(argument) ? canonical(argument) : null;
}

/** Written in full, or as a beginning that argparse completes. */
function means(written: string, flag: string): boolean {
  return written === flag || (written.length > 3 && written.startsWith('--') && flag.startsWith(written));
}

/**
 * What the gateway passes, with the user's arguments behind it; a generated flag that the user passes too, in any
 * spelling, is left out together with its values, so that nothing is passed twice. Arguments before the first
 * generated flag (`serve REPO`) stay as they are.
 */
export function mergeArgs(generated: readonly string[], extra: readonly string[]): readonly string[] {
  const asked = extra.filter(isFlag).map(canonical);
  const replaces = (name: string): boolean => asked.some((flag) => means(flag, name));
  const kept: string[] = [];
  let dropping = false;
  for (const argument of generated) {
    if (isFlag(argument)) dropping = replaces(canonical(argument));
    if (!dropping) kept.push(argument);
  }
  return [...kept, ...extra];
}

/** Value of a flag (long name) in whatever spelling it is written, the last one; null when it is not there. */
export function flagValue(args: readonly string[], flag: string): string | null {
  let value: string | null = null;
  args.forEach((argument, index) => {
    if (!isFlag(argument) || !means(canonical(argument), flag)) return;
    const equals = argument.indexOf('=');
    const next = args[index + 1];
    if (equals >= 0) value = argument.slice(equals + 1);
    else if (next !== undefined && !isFlag(next)) value = next;
  });
  return value;
}
