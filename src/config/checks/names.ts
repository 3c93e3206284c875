/** Names and aliases: every name that a client may send means exactly one model. */
import { refuseName } from '../schema/model-keys.ts';
import { quote } from '../schema/scalar.ts';
import { suggest } from '../suggest.ts';
import type { CheckInput } from './check-input.ts';

export function checkNames(input: CheckInput): void {
  const { config, problems, file } = input;
  const owner = new Map<string, string>();
  for (const model of config.models.values()) {
    if (file) {
      const wrong = refuseName(model.name);
      if (wrong !== undefined) problems.atKey('error', ['models', model.name], 'not_allowed', `the name ${wrong}`);
      else if (model.name.trim() !== model.name) {
        problems.atKey(
          'error',
          ['models', model.name],
          'not_allowed',
          `the name ${quote(model.name)} begins or ends with a blank`,
        );
      }
    }
    model.aliases.forEach((alias, index) => {
      const complain = (code: string, message: string): void =>
        problems.inFile('error', ['models', model.name, 'aliases', index], code, message, [
          ['models', model.name, 'aliases'],
        ]);
      if (alias === model.name) complain('duplicate', `${quote(alias)} is the model's own name; remove it`);
      else if (config.models.has(alias)) {
        complain('duplicate', `${quote(alias)} is the name of a model; a name means one model: rename one of them`);
      }
      const other = owner.get(alias);
      if (other !== undefined) {
        complain(
          'duplicate',
          `${quote(alias)} is already an alias of ${quote(other)}; an alias means one model: remove one of them`,
        );
      }
      owner.set(alias, other ?? model.name);
    });
  }
  checkKeyGlobs(input, owner);
}

/** A key for a model that does not exist opens nothing, which nobody wants. */
function checkKeyGlobs(input: CheckInput, aliases: ReadonlyMap<string, string>): void {
  const { config, problems, written } = input;
  if (written.auth === undefined || written.auth === 'none') return;
  const names = [...config.models.keys(), ...aliases.keys()];
  (written.auth.keys ?? []).forEach((entry, keyIndex) => {
    (entry.models ?? []).forEach((pattern, index) => {
      if (names.some((name) => matches(pattern, name))) return;
      const near = suggest(pattern, names);
      const hint = near === undefined ? '' : `; did you mean "${near}"?`;
      problems.inFile(
        'warning',
        ['auth', 'keys', keyIndex, 'models', index],
        'unknown_model',
        `${quote(pattern)} matches no model${hint}`,
      );
    });
  });
}

/** `*` stands for any characters; linear, since patterns may come from anybody who writes the file. */
export function matches(pattern: string, name: string): boolean {
  const parts = pattern.split('*');
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  if (parts.length === 1) return pattern === name;
  if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length) return false;
  let position = first.length;
  const end = name.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, position);
    if (found < 0 || found + part.length > end) return false;
    position = found + part.length;
  }
  return true;
}
