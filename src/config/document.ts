/** YAML text to plain values, with the place of every key and value. Never throws on what a file may hold. */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Document,
  type Node,
  type Pair,
  type YAMLError,
} from 'yaml';
import { interpolate, type Environment } from './interpolate.ts';
import type { FilePlaces, Path, Place, Problems } from './problems.ts';
import { Substituted } from './schema/scalar.ts';
import { pathText } from './schema/spelling.ts';

/** Aliases can multiply a small file without end; a real configuration stays far below. */
const MOST_VALUES = 100_000;
const DEEPEST = 64;

export interface ParsedFile extends FilePlaces {
  /** Mapping at the top, `x-*` left out; undefined when there is none. */
  readonly root: Readonly<Record<string, unknown>> | undefined;
  /** Names of a mapping in the order of the file. */
  names(path: Path): readonly string[];
}

const keyOf = (path: Path): string => path.map(String).join('\u0000');

export class Places implements FilePlaces {
  readonly source: string;
  readonly names = new Map<string, readonly string[]>();
  readonly #keys = new Map<string, Place>();
  readonly #values = new Map<string, Place>();
  constructor(source: string) {
    this.source = source;
  }
  place(path: Path, what: 'key' | 'value' = 'value'): Place | undefined {
    const found = what === 'key' ? this.#keys.get(keyOf(path)) : this.#values.get(keyOf(path));
    return found ?? (what === 'key' ? this.#values.get(keyOf(path)) : undefined);
  }
  remember(path: Path, what: 'key' | 'value', place: Place): void {
    (what === 'key' ? this.#keys : this.#values).set(keyOf(path), place);
  }
  order(path: Path, names: readonly string[]): void {
    this.names.set(keyOf(path), names);
  }
  orderOf(path: Path): readonly string[] {
    return this.names.get(keyOf(path)) ?? [];
  }
}

/** What the parser's words mean to somebody who has never seen its source. */
const SYNTAX: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'a tab is used for indentation; YAML allows only spaces there',
  MULTIPLE_DOCS: 'a second document begins here ("---"); one file holds one document',
  BLOCK_AS_IMPLICIT_KEY:
    'a mapping begins in the middle of a line; put it on a line of its own, or put text that holds ": " in quotes',
  BAD_INDENT: 'the indentation does not match the lines around it',
  MISSING_CHAR: 'something is not closed or misses its ":"',
  UNEXPECTED_TOKEN: 'something stands here that YAML does not expect',
  TAG_RESOLVE_FAILED: 'this tag is not known; allowed: no tags, values have the types of plain YAML',
};

/** Codes that the parser uses for many faults: its own words tell them apart. */
const VAGUE: ReadonlySet<string> = new Set(['BAD_INDENT', 'MISSING_CHAR', 'UNEXPECTED_TOKEN', 'TAG_RESOLVE_FAILED']);

export function parseFile(
  text: string,
  source: string,
  env: Environment,
  problems: (places: FilePlaces) => Problems,
): ParsedFile {
  const places = new Places(source);
  const found = problems(places);
  const empty: ParsedFile = { source, root: undefined, place: () => undefined, names: () => [] };
  const lines = new LineCounter();
  let document: Document.Parsed;
  try {
    document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: false,
      version: '1.2',
      logLevel: 'error',
    });
  } catch {
    // The parser is recursive: what overflows its stack is nested beyond any meaning.
    found.atPlace(source, undefined, 'invalid_yaml', `is nested too deeply; allowed: at most ${DEEPEST} levels`);
    return empty;
  }
  const at = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  if (tellSyntax(document, text, at, found)) return empty;
  if (document.contents === null) {
    found.atPlace(
      source,
      undefined,
      'empty_file',
      'is empty; allowed: a mapping with models, such as "models: {llama: {repo: meta-llama/Llama-3.1-8B-Instruct}}"',
    );
    return empty;
  }
  if (!isMap(document.contents)) {
    const what = isSeq(document.contents) ? 'a list' : 'text';
    found.atPlace(
      source,
      at(document.contents.range[0]),
      'wrong_type',
      `holds ${what} at the top; allowed: a mapping with keys such as models, defaults and limits`,
    );
    return empty;
  }
  const root = new Converter(document, places, found, env, at).convert();
  return { source, root, place: (path, what) => places.place(path, what), names: (path) => places.orderOf(path) };
}

/** True when the text is no YAML that can be read. */
function tellSyntax(
  document: Document.Parsed,
  text: string,
  at: (offset: number) => Place,
  problems: Problems,
): boolean {
  const { source } = problems;
  // One missing brace makes the parser stumble over everything behind it: only the first error is a fault.
  const faults = [...document.errors.slice(0, 1), ...document.warnings];
  for (const fault of faults) {
    problems.atPlace(source, at(fault.pos[0]), 'invalid_yaml', syntaxMessage(fault, text));
  }
  const { version } = document.directives?.yaml ?? { version: '1.2' };
  if (version !== '1.2') {
    // YAML 1.1 reads `yes` and `012` differently: one dialect, or nobody knows what a file means.
    const message = `asks for YAML ${version}; allowed: YAML 1.2, without a %YAML line`;
    problems.atPlace(source, { line: 1, column: 1 }, 'invalid_yaml', message);
    return true;
  }
  return faults.length > 0;
}

function syntaxMessage(fault: YAMLError, text: string): string {
  const detail = fault.message.replaceAll(/\s+/g, ' ').trim();
  const offset = fault.pos[0];
  if (text.slice(Math.max(0, offset - 1), offset + 2).includes('${')) {
    return 'between { } or [ ] a variable needs quotes, as in "${NAME}"';
  }
  const unclosed = /^Flow (map|sequence)/.exec(detail)?.[1];
  const known =
    unclosed === undefined ? SYNTAX[fault.code] : `a "${unclosed === 'map' ? '{' : '['}" above is not closed`;
  if (known === undefined) return `is not valid YAML: ${detail}`;
  return VAGUE.has(fault.code) ? `${known} (${detail})` : known;
}

/** Fields whose text describes an engine launch. */
function templatesAllowed(path: Path): boolean {
  const inModel = path[0] === 'models' ? path[2] : path[0] === 'defaults' ? path[1] : undefined;
  if (inModel === 'command' || inModel === 'env' || inModel === 'health_path') return true;
  return path[0] === 'drivers' && path[1] === 'process' && path[2] === 'command';
}

class Converter {
  readonly #document: Document.Parsed;
  readonly #places: Places;
  readonly #problems: Problems;
  readonly #env: Environment;
  readonly #at: (offset: number) => Place;
  readonly #open = new Set<Node>();
  #values = 0;
  #tooMany = false;

  constructor(
    document: Document.Parsed,
    places: Places,
    problems: Problems,
    env: Environment,
    at: (offset: number) => Place,
  ) {
    this.#document = document;
    this.#places = places;
    this.#problems = problems;
    this.#env = env;
    this.#at = at;
  }

  convert(): Readonly<Record<string, unknown>> | undefined {
    const value = this.#value(this.#document.contents, []);
    return this.#tooMany ? undefined : (value as Readonly<Record<string, unknown>>);
  }

  #value(node: Node | null | undefined, path: Path): unknown {
    this.#values += 1;
    if (this.#values > MOST_VALUES || this.#tooMany) {
      if (!this.#tooMany) {
        this.#tooMany = true;
        this.#problems.inFile(
          'error',
          path.slice(0, 1),
          'too_large',
          `aliases expand the file to more than ${MOST_VALUES} values`,
        );
      }
      return undefined;
    }
    if (!node) return null;
    if (node.range) this.#places.remember(path, 'value', this.#at(node.range[0]));
    if (isAlias(node)) return this.#alias(node.resolve(this.#document), path);
    if (isScalar(node)) return this.#scalar(node.value, node.type === 'PLAIN', path);
    if (path.length >= DEEPEST) {
      this.#problems.inFile('error', path, 'invalid_yaml', `is nested too deeply; allowed: at most ${DEEPEST} levels`);
      return null;
    }
    this.#open.add(node);
    try {
      if (isSeq<Node>(node)) return node.items.map((item, index) => this.#value(item, [...path, index]));
      return isMap<Node, Node>(node) ? this.#mapping(node.items, path) : null;
    } finally {
      this.#open.delete(node);
    }
  }

  #alias(target: Node | undefined, path: Path): unknown {
    if (!target) {
      const message = 'this alias (*name) has no anchor (&name) above it';
      this.#problems.inFile('error', path, 'invalid_yaml', message);
      return undefined;
    }
    if (this.#open.has(target)) {
      this.#problems.inFile('error', path, 'invalid_yaml', 'this alias stands inside its own anchor');
      return undefined;
    }
    return this.#value(target, path);
  }

  #scalar(value: unknown, plain: boolean, path: Path): unknown {
    if (typeof value !== 'string' || !value.includes('${')) return typeof value === 'bigint' ? Number(value) : value;
    const result = interpolate(value, this.#env, templatesAllowed(path));
    for (const complaint of result.complaints) this.#problems.inFile('error', path, complaint.code, complaint.message);
    // What could not be filled in is left out, so that the same mistake is not told twice.
    if (result.complaints.length > 0) return undefined;
    return result.substituted ? new Substituted(result.text, plain) : result.text;
  }

  #mapping(items: readonly Pair<Node, Node | null>[], path: Path): Readonly<Record<string, unknown>> {
    const result = Object.create(null) as Record<string, unknown>;
    const first = new Map<string, Place>();
    const merges: (Node | null)[] = [];
    for (const { key, value } of items) {
      const place = this.#at(key.range?.[0] ?? 0);
      if (!isScalar(key) || (typeof key.value === 'object' && key.value !== null)) {
        this.#problems.atPlace(
          this.#places.source,
          place,
          'wrong_type',
          `${pathText(path)}${path.length > 0 ? ': ' : ''}a key must be plain text`,
        );
        continue;
      }
      const name = typeof key.value === 'string' ? key.value : (key.source ?? String(key.value));
      if (path.length === 0 && name.startsWith('x-')) continue;
      if (name === '<<' && key.type === 'PLAIN') {
        merges.push(value);
        continue;
      }
      const here = [...path, name];
      const earlier = first.get(name);
      if (earlier || name === '__proto__') {
        this.#places.remember(here, 'key', place);
        const message = earlier
          ? `is written twice, first on line ${earlier.line}; keep one of them`
          : 'is not a usable name';
        this.#problems.atKey('error', here, earlier ? 'duplicate' : 'unknown_key', message);
        if (earlier) this.#places.remember(here, 'key', earlier);
        continue;
      }
      first.set(name, place);
      this.#places.remember(here, 'key', place);
      result[name] = this.#value(value, here);
    }
    const names = [...first.keys()];
    for (const source of merges) this.#merge(source, path, result, names);
    this.#places.order(path, names);
    return result;
  }

  /** `<<: *anchor`: keys of the anchor that the mapping does not write itself. */
  #merge(source: Node | null, path: Path, result: Record<string, unknown>, names: string[]): void {
    const node = isAlias(source) ? source.resolve(this.#document) : source;
    if (isSeq<Node>(node)) {
      for (const item of node.items) this.#merge(item, path, result, names);
      return;
    }
    if (!isMap<Node, Node>(node) || this.#open.has(node)) {
      this.#problems.inFile('error', [...path, '<<'], 'wrong_type', 'merges something that is not a mapping', [path]);
      return;
    }
    this.#open.add(node);
    // Its places would overwrite those of the keys written here, so only what is new is converted.
    for (const { key, value } of node.items) {
      const name = isScalar(key) && key.value !== null ? String(key.value) : undefined;
      if (name === undefined || name === '__proto__') continue;
      if (name === '<<') this.#merge(value, path, result, names);
      else if (!Object.hasOwn(result, name)) {
        if (key.range) this.#places.remember([...path, name], 'key', this.#at(key.range[0]));
        result[name] = this.#value(value, [...path, name]);
        names.push(name);
      }
    }
    this.#open.delete(node);
  }
}
