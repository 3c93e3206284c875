import { CHOICES, FLAG_KINDS, SHORT_FLAGS } from './flags.ts';

export type FlagValue = string | number | boolean | readonly string[];

/** Prints like Python's argparse and ends the process with exit code 2. */
export class UsageError extends Error {
  readonly usage: string;
  constructor(usage: string, message: string) {
    super(message);
    this.usage = usage;
  }
}

export interface ServeArguments {
  readonly repo: string;
  /** What was given, in the order it was given, by the flag's long name without dashes. */
  readonly given: ReadonlyMap<string, FlagValue>;
}

const SERVE_USAGE = 'usage: vllm serve [model_tag] [options]';
const MAIN_USAGE = [
  'usage: vllm [-h] [-v]',
  '            {chat,complete,serve,launch,bench,collect-env,download-kernels,preload,run-batch,snapshot}',
  '            ...',
].join('\n');

/**
 * Reads `serve REPO [flags]` as vLLM 0.32 does: underscores equal dashes, unique prefixes, `--flag=value`, dotted JSON
 * keys, `--no-` for switches, a repeated flag wins. Unknown flags are collected and refused together.
 */
export function parseServeArguments(argv: readonly string[]): ServeArguments {
  const [command, ...rest] = argv;
  if (command !== 'serve') {
    const shown = command ?? '';
    const choices = "'chat', 'complete', 'serve', 'launch', 'bench', 'collect-env', 'run-batch'";
    throw new UsageError(
      MAIN_USAGE,
      `vllm: error: argument subparser: invalid choice: '${shown}' (choose from ${choices})`,
    );
  }
  const given = new Map<string, FlagValue>();
  const unknown: string[] = [];
  const positional: string[] = [];
  let index = 0;
  while (index < rest.length) {
    const word = rest[index] ?? '';
    index += 1;
    if (!isFlag(word)) {
      positional.push(word);
      continue;
    }
    const { name, value, negated } = resolve(word);
    if (name === undefined) {
      unknown.push(word);
      while (index < rest.length && !isFlag(rest[index] ?? '')) unknown.push(rest[index++] ?? '');
      continue;
    }
    index = take(name, value, negated, rest, index, given);
  }
  const modelTag = positional.shift();
  unknown.push(...positional);
  if (unknown.length > 0) throw new UsageError(MAIN_USAGE, `vllm: error: unrecognized arguments: ${unknown.join(' ')}`);
  const named = given.get('model');
  const repo = modelTag ?? (typeof named === 'string' ? named : 'Qwen/Qwen3-0.6B');
  return { repo, given };
}

function isFlag(word: string): boolean {
  return word.startsWith('-') && !/^-\d+(\.\d+)?$/.test(word) && word !== '-';
}

function resolve(word: string): { name?: string; value?: string; negated: boolean } {
  const equals = word.indexOf('=');
  const head = equals === -1 ? word : word.slice(0, equals);
  const value = equals === -1 ? undefined : word.slice(equals + 1);
  const withValue = (name: string, negated = false): { name: string; value?: string; negated: boolean } =>
    value === undefined ? { name, negated } : { name, value, negated };
  if (!head.startsWith('--')) {
    const short = SHORT_FLAGS[head.split('.')[0] ?? ''];
    if (short !== undefined) return withValue(short);
    const level = /^-O(.+)$/.exec(head);
    return level?.[1] === undefined
      ? { negated: false }
      : { name: 'optimization-level', value: level[1], negated: false };
  }
  const wanted = (head.slice(2).split('.')[0] ?? '').replaceAll('_', '-');
  if (FLAG_KINDS.has(wanted)) return withValue(wanted);
  const positive = wanted.startsWith('no-') ? wanted.slice(3) : '';
  if (FLAG_KINDS.get(positive) === 'flag') return withValue(positive, true);
  const matches = [...FLAG_KINDS.keys()].filter((name) => name.startsWith(wanted));
  if (matches.length > 1) {
    const shown = matches.map((name) => `--${name}`).join(', ');
    throw new UsageError(SERVE_USAGE, `vllm serve: error: ambiguous option: ${head} could match ${shown}`);
  }
  const only = matches[0];
  return only === undefined ? { negated: false } : withValue(only);
}

function take(
  name: string,
  inline: string | undefined,
  negated: boolean,
  rest: readonly string[],
  start: number,
  given: Map<string, FlagValue>,
): number {
  const kind = FLAG_KINDS.get(name);
  if (kind === 'flag') {
    given.set(name, inline === undefined ? !negated : /^(true|1)$/i.test(inline) !== negated);
    return start;
  }
  const words: string[] = inline === undefined ? [] : [inline];
  let index = start;
  const limit = kind === 'list' ? Number.POSITIVE_INFINITY : 1;
  while (words.length < limit && index < rest.length && !isFlag(rest[index] ?? '')) words.push(rest[index++] ?? '');
  if (words.length === 0) {
    if (kind === 'optional') {
      given.set(name, true);
      return index;
    }
    const expected = kind === 'list' ? 'at least one argument' : 'one argument';
    throw new UsageError(SERVE_USAGE, `vllm serve: error: argument --${name}: expected ${expected}`);
  }
  given.set(name, kind === 'list' ? words : readValue(name, kind ?? 'text', words[0] ?? ''));
  return index;
}

function readValue(name: string, kind: string, text: string): FlagValue {
  const refuse = (message: string): UsageError =>
    new UsageError(SERVE_USAGE, `vllm serve: error: argument --${name}: ${message}`);
  if (kind === 'int') {
    if (!/^[+-]?\d+$/.test(text)) throw refuse(`invalid int value: '${text}'`);
    return Number(text);
  }
  if (kind === 'float') {
    const number = Number(text);
    if (text.trim() === '' || Number.isNaN(number)) throw refuse(`invalid float value: '${text}'`);
    return number;
  }
  if (kind === 'len') return readLength(text) ?? raise(refuse(`invalid human_readable_int value: '${text}'`));
  const choices = CHOICES[name];
  if (choices !== undefined && !choices.includes(text)) {
    throw refuse(`invalid choice: '${text}' (choose from ${choices.join(', ')})`);
  }
  return text;
}

function raise(error: Error): never {
  throw error;
}

/** `8k` = 8000, `8K` = 8192, `2.5g`, `auto` and `-1` = -1; undefined when it is none of these. */
function readLength(text: string): number | undefined {
  if (text === 'auto' || text === '-1') return -1;
  const match = /^(\d+(?:\.\d+)?)([kKmMgGtT]?)$/.exec(text);
  if (match === null) return undefined;
  const [, digits = '', unit = ''] = match;
  const power = ['', 'k', 'm', 'g', 't'].indexOf(unit.toLowerCase());
  const base = unit !== '' && unit === unit.toUpperCase() ? 1024 : 1000;
  return Math.round(Number(digits) * base ** power);
}
