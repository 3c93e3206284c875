/** What may stand where the cursor is, from the tree of commands itself. */
import type { Argument, Command, Option } from 'commander';

export interface Candidate {
  readonly text: string;
  readonly about: string;
}

/** `files`: any path of this machine. `models`: names that the running gateway knows. */
export interface Candidates {
  readonly words: readonly Candidate[];
  readonly also: 'nothing' | 'files' | 'models';
}

const MODEL = 'model';
const FILE_WORDS: ReadonlySet<string> = new Set(['file']);

/** `before`: the finished words after the program's name. `current`: what is typed of the word at the cursor. */
export function candidates(program: Command, before: readonly string[], current: string): Candidates {
  const { command, rest } = commandAt(program, before);
  const last = rest.at(-1);
  const pending = last === undefined ? undefined : optionNamed(command, last);
  // `--tail=3` has its value; `--tail` wants one.
  if (pending && takesValue(pending)) return valuesOf(pending, current, '');
  const assigned = /^(--[\w-]+)=(.*)$/s.exec(current);
  if (assigned) {
    const option = optionNamed(command, assigned[1] ?? '');
    return option && takesValue(option) ? valuesOf(option, assigned[2] ?? '', `${assigned[1] ?? ''}=`) : nothing();
  }
  if (current.startsWith('-')) return { words: matching(optionsOf(command, rest), current), also: 'nothing' };
  const children = command.createHelp().visibleCommands(command);
  if (children.length > 0) {
    const words = children.map((child) => ({ text: child.name(), about: child.description() }));
    return { words: matching(words, current), also: 'nothing' };
  }
  const given = positionals(command, rest).length;
  const argument = command.registeredArguments[given];
  return argument ? ofArgument(argument, current) : nothing();
}

const nothing = (): Candidates => ({ words: [], also: 'nothing' });

function commandAt(program: Command, words: readonly string[]): { command: Command; rest: readonly string[] } {
  const index = words.findIndex((word) => !word.startsWith('-'));
  const name = words[index];
  const command = program.commands.find((child) => child.name() === name);
  if (command) return { command, rest: words.slice(index + 1) };
  // `help serve` completes the names of commands.
  return { command: program, rest: words };
}

function optionNamed(command: Command, word: string): Option | undefined {
  return command.options.find(({ long, short }) => word === long || word === short);
}

const takesValue = ({ required, optional }: Option): boolean => required || optional;

function valuesOf(option: Option, current: string, prefix: string): Candidates {
  if (option.argChoices) {
    const words = option.argChoices.map((text) => ({ text: prefix + text, about: '' }));
    return { words: matching(words, prefix + current), also: 'nothing' };
  }
  const value = /[<[]([\w:]+)[>\]]/.exec(option.flags)?.[1] ?? '';
  if (value === MODEL) return { words: [], also: 'models' };
  return { words: [], also: FILE_WORDS.has(value) ? 'files' : 'nothing' };
}

/** Not those that were given already. */
function optionsOf(command: Command, rest: readonly string[]): readonly Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .filter(({ long, short }) => !rest.some((word) => word === long || word === short))
    .flatMap(({ long, short, description }) => {
      const text = long ?? short;
      return text ? [{ text, about: description }] : [];
    });
}

/** Words that are neither options nor values of options. */
function positionals(command: Command, rest: readonly string[]): readonly string[] {
  const found: string[] = [];
  for (let at = 0; at < rest.length; at += 1) {
    const word = rest[at] ?? '';
    const option = optionNamed(command, word);
    if (option && takesValue(option)) at += 1;
    else if (!word.startsWith('-')) found.push(word);
  }
  return found;
}

function ofArgument(argument: Argument, current: string): Candidates {
  if (argument.argChoices) {
    const words = argument.argChoices.map((text) => ({ text, about: '' }));
    return { words: matching(words, current), also: 'nothing' };
  }
  if (argument.name() === MODEL) return { words: [], also: 'models' };
  return { words: [], also: FILE_WORDS.has(argument.name()) ? 'files' : 'nothing' };
}

function matching(words: readonly Candidate[], current: string): readonly Candidate[] {
  return words.filter(({ text }) => text.startsWith(current));
}
