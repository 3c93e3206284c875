/** Reads the project's own sources for the tests that watch over their structure. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, posix, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface ImportStatement {
  /** As written: `../core/state.ts`, `node:http`, `zod`. */
  readonly specifier: string;
  /** `import type …` or `export type … from`. */
  readonly typeOnly: boolean;
  readonly line: number;
}

export interface SourceFunction {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
}

/** Paths relative to the root, with `/`, sorted; `under` a folder, ending in one of `endings`. */
export function filesUnder(under: string, endings: readonly string[] = ['.ts']): readonly string[] {
  return readdirSync(join(ROOT, under), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort();
}

/** Files that git tracks or would track: what a clone holds. The clone may belong to another user than the one who tests. */
export function projectFiles(): readonly string[] {
  return execFileSync(
    'git',
    ['-c', 'safe.directory=*', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    {
      cwd: ROOT,
      encoding: 'utf8',
    },
  )
    .split('\0')
    .filter((path) => path !== '' && existsSync(join(ROOT, path)));
}

export function readSource(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

export function isTest(path: string): boolean {
  return path.startsWith('test/') || path.endsWith('.test.ts');
}

/** `../core/state.ts` as seen from `src/proxy/forward.ts` → `src/core/state.ts`. */
export function resolveSpecifier(from: string, specifier: string): string {
  return posix.normalize(posix.join(posix.dirname(from), specifier));
}

const STATIC_IMPORT =
  /^[ \t]*(?:import|export)\b(?:\s+(type)\b(?!\s*(?:,|from)))?(?:[^'"`;=()]*?\bfrom)?\s*['"]([^'"]+)['"]/gm;

/** Static imports and re-exports. */
export function importsOf(source: string): readonly ImportStatement[] {
  const code = blank(source, { strings: false });
  return [...code.matchAll(STATIC_IMPORT)].map((match) => ({
    specifier: match[2] ?? '',
    typeOnly: match[1] === 'type',
    line: lineAt(source, match.index),
  }));
}

/** Lines that hold an `import(…)`, as an expression or in a type. */
export function dynamicImportsOf(source: string): readonly number[] {
  return [...blank(source).matchAll(/\bimport\s*\(/g)].map((match) => lineAt(source, match.index));
}

const FUNCTION_HEAD =
  /(?:\bfunction\b\s*\*?\s*(?<name>\w*)[^{;]*|(?:\b(?:const|let)\s+(?<bound>\w+)[^;{}]*)?=>\s*|^[ \t]+(?:(?:public|private|protected|static|async|override|get|set)\s+)*(?!(?:if|for|while|switch|catch|with|return|do|else)\b)(?<method>[#\w]+)\s*(?:<[^>{]*>)?\([^;{]*\)[^;{=]*)\{/gm;

/** Every function with a body, nested ones included. Brace matching, not a parser: good for well-formatted code. */
export function functionsOf(source: string): readonly SourceFunction[] {
  const code = blank(source);
  return [...code.matchAll(FUNCTION_HEAD)].map((match) => {
    const open = match.index + match[0].length - 1;
    const first = lineAt(code, match.index + match[0].search(/\S/));
    const { name, bound, method } = match.groups ?? {};
    return {
      name: name || bound || method || '(arrow)',
      line: first,
      lines: lineAt(code, closing(code, open)) - first + 1,
    };
  });
}

function closing(code: string, open: number): number {
  let depth = 0;
  for (let at = open; at < code.length; at += 1) {
    if (code[at] === '{') depth += 1;
    if (code[at] === '}') depth -= 1;
    if (depth === 0) return at;
  }
  return code.length;
}

export function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at !== -1 && at < index; at = text.indexOf('\n', at + 1)) line += 1;
  return line;
}

/** What may stand before a `/` that begins a regular expression. */
const BEFORE_REGEX = /(?:^|[=(,:[!&|?{};>+~]|\b(?:return|typeof|case))\s*$/;

/**
 * The same text with comments and, unless told otherwise, the insides of strings, templates and regular expressions
 * replaced by spaces. Line numbers and offsets stay.
 */
export function blank(source: string, { strings = true }: { readonly strings?: boolean } = {}): string {
  const out = source.split('');
  const wipe = (from: number, to: number): void => {
    for (let at = from; at < to; at += 1) if (out[at] !== '\n') out[at] = ' ';
  };
  /** Depth of braces at which a template's `${` began. */
  const templates: number[] = [];
  let depth = 0;
  let at = 0;
  const skipTo = (end: number, wiped: boolean, edge = 0): void => {
    if (wiped) wipe(at + edge, end - edge);
    at = end;
  };
  while (at < source.length) {
    const char = source[at];
    const two = source.slice(at, at + 2);
    if (two === '//') skipTo(endOf(source, '\n', at), true);
    else if (two === '/*') skipTo(endOf(source, '*/', at + 2) + 2, true);
    else if (char === "'" || char === '"') skipTo(endOfQuoted(source, at, char), strings, 1);
    else if (char === '/' && BEFORE_REGEX.test(source.slice(Math.max(0, at - 20), at)))
      skipTo(endOfRegex(source, at), strings, 1);
    else if (char === '`' || (char === '}' && templates.at(-1) === depth)) {
      if (char === '}') templates.pop();
      const end = endOfTemplatePart(source, at + 1);
      if (source[end] === '$') templates.push(depth);
      if (strings) wipe(at + 1, end);
      at = end + (source[end] === '$' ? 2 : 1);
    } else {
      if (char === '{') depth += 1;
      if (char === '}') depth -= 1;
      at += 1;
    }
  }
  return out.join('');
}

function endOf(source: string, text: string, from: number): number {
  const end = source.indexOf(text, from);
  return end === -1 ? source.length : end;
}

function endOfQuoted(source: string, from: number, quote: string): number {
  let at = from + 1;
  while (at < source.length && source[at] !== quote && source[at] !== '\n') at += source[at] === '\\' ? 2 : 1;
  return Math.min(at + 1, source.length);
}

function endOfRegex(source: string, from: number): number {
  let inClass = false;
  let at = from + 1;
  while (at < source.length && source[at] !== '\n') {
    if (source[at] === '\\') at += 1;
    else if (source[at] === '[') inClass = true;
    else if (source[at] === ']') inClass = false;
    else if (source[at] === '/' && !inClass) break;
    at += 1;
  }
  return Math.min(at + 1, source.length);
}

/** Index of the closing backtick or of the `$` of a `${`. */
function endOfTemplatePart(source: string, from: number): number {
  let at = from;
  while (at < source.length && source[at] !== '`' && !(source[at] === '$' && source[at + 1] === '{')) {
    at += source[at] === '\\' ? 2 : 1;
  }
  return at;
}
