/** Small rules that keep the code readable, checked on every file: there is no list of exceptions. */
import { describe, expect, it } from 'vitest';
import {
  blank,
  filesUnder,
  functionsOf,
  isTest,
  lineAt,
  projectFiles,
  readSource,
  ROOT,
} from './support/source-tree.ts';

const MAX_FILE_LINES = 400;
const MAX_FUNCTION_LINES = 70;

const everything = [
  ...filesUnder('src'),
  ...filesUnder('test'),
  ...filesUnder('tools', ['.ts', '.mjs']),
  ...filesUnder('web', ['.ts', '.tsx']),
].filter((path) => !path.startsWith('test/fixtures/'));
const shipped = everything.filter((path) => !isTest(path));
const own = shipped.filter((path) => path.startsWith('src/'));

/** `path:line: text` for every match in the code, comments and strings left out. */
function inCode(paths: readonly string[], pattern: RegExp): readonly string[] {
  return paths.flatMap((path) => found(path, blank(readSource(path)), pattern));
}

function found(path: string, text: string, pattern: RegExp): readonly string[] {
  return [...text.matchAll(pattern)].map((match) => `${path}:${lineAt(text, match.index)}: ${match[0].trim()}`);
}

describe('tidiness', () => {
  it(`keeps every file within ${MAX_FILE_LINES} lines`, () => {
    const long = everything
      .map((path) => ({ path, lines: readSource(path).split('\n').length - 1 }))
      .filter(({ lines }) => lines > MAX_FILE_LINES);
    expect(long.map(({ path, lines }) => `${path}: ${lines} lines`)).toEqual([]);
  });

  it(`keeps every function within ${MAX_FUNCTION_LINES} lines`, () => {
    const long = shipped.flatMap((path) =>
      functionsOf(readSource(path))
        .filter(({ lines }) => lines > MAX_FUNCTION_LINES)
        .map(({ name, line, lines }) => `${path}:${line}: ${name} has ${lines} lines`),
    );
    expect(long).toEqual([]);
  });

  it('names files in kebab-case and avoids names that say nothing', () => {
    const nothing =
      /(^|[-/.])(utils?|helpers?|managers?|services?|handlers?|backends?|instances?|cards?|common|misc)([-/.]|$)/;
    expect(everything.filter((path) => nothing.test(path) || /[A-Z_ ]/.test(path))).toEqual([]);
  });

  it('declares no name outside the vocabulary', () => {
    // Whole words only: `instanceof`, `unhandled` and the wire value `whole_card` are fine.
    const declaration =
      /\b(?:const|let|function|class|interface|type)\s+\w*?(?:[uU]tils?|[hH]elpers?|[mM]anagers?|[sS]ervices?|[hH]andlers?|[bB]ackends?|[iI]nstances?)(?![a-z]|Of)\w*/g;
    expect(inCode(shipped, declaration)).toEqual([]);
  });

  it('holds no `any`, no `!` after a value and no switched-off rule', () => {
    expect(inCode(everything, /(?::|\bas|<|,)\s*any\b(?!\w)/g)).toEqual([]);
    expect(inCode(everything, /[\w)\]]!(?=[.;,)\]\s[])(?!\s*=)/g)).toEqual([]);
    const switchedOff = new RegExp(
      ['eslint' + '-disable', 'oxlint' + '-disable', '@ts-' + '(?:ignore|nocheck|expect-error)'].join('|'),
      'g',
    );
    expect(everything.flatMap((path) => found(path, readSource(path), switchedOff))).toEqual([]);
  });

  it('leaves no note of unfinished work without a reason, and no test switched off', () => {
    const note = new RegExp(
      `\\b(?:${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b(?!\\([^)]+\\): \\S)`,
      'g',
    );
    expect(everything.flatMap((path) => found(path, readSource(path), note))).toEqual([]);
    const tests = everything.filter(isTest);
    expect(inCode(tests, /\b(?:it|test|describe)\.(?:only|todo|skip)\b/g)).toEqual([]);
  });

  it('writes to the console nowhere but in the command line', () => {
    const outside = own.filter((path) => !path.startsWith('src/cli/'));
    expect(inCode(outside, /\bconsole\s*\./g)).toEqual([]);
    const streams = outside.filter((path) => path !== 'src/main.ts' && !path.startsWith('src/platform/'));
    expect(inCode(streams, /\bprocess\.std(?:out|err)\b/g)).toEqual([]);
  });

  it('takes time and randomness from the platform', () => {
    const impure =
      /\bDate\.now\b|\bMath\.random\b|\bperformance\.now\b|(?<![.\w])(?:setTimeout|setInterval|setImmediate)\s*\(/g;
    const outside = own.filter((path) => !path.startsWith('src/platform/') && path !== 'src/main.ts');
    expect(inCode(outside, impure)).toEqual([]);
  });

  it('gives every large number a name or a unit, outside the schema of the configuration [S14]', () => {
    const named = /^\s*(?:export )?const [A-Z][A-Z0-9_]+\b/;
    // Factors are conversions (`/ 1000`, `64 * 1024`); 1024 and the highest port explain themselves.
    const bare = /(?<![\w.#$]|[*/] ?)(?!1024\b|65_535\b)(?:\d{4,}|\d{1,3}(?:_\d{3})+)\b(?! [*/])/;
    const outside = own.filter((path) => !path.startsWith('src/config/schema/'));
    const large = outside.flatMap((path) =>
      blank(readSource(path))
        .split('\n')
        .flatMap((text, index) =>
          !named.test(text) && text.search(bare) !== -1 ? [`${path}:${index + 1}: ${text.trim()}`] : [],
        ),
    );
    expect(large).toEqual([]);
  });

  it('catches no error only to drop it without a word', () => {
    const empty = shipped.flatMap((path) => found(path, readSource(path), /\bcatch\s*(?:\([^)]*\)\s*)?\{\s*\}/g));
    expect(empty).toEqual([]);
  });
});

describe('what a clone holds', () => {
  const manifest = JSON.parse(readSource('package.json')) as {
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  const pins = { ...manifest.dependencies, ...manifest.devDependencies };

  it('pins every dependency to one exact version', () => {
    expect(Object.entries(pins).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });

  it('says of every dependency why it is there', () => {
    const listed = [...readSource('docs/dependencies.md').matchAll(/^\| `([^`]+)` +\| \S.{20,} \|$/gm)].map(
      (row) => row[1] ?? '',
    );
    expect(listed.sort()).toEqual(Object.keys(pins).sort());
  });

  it('names no registry in the lock file', () => {
    expect(found('package-lock.json', readSource('package-lock.json'), /"resolved":.*/g)).toEqual([]);
  });

  it('speaks of the project alone', () => {
    // Written in parts, so that this file passes its own test.
    const foreign = new RegExp(
      [ROOT.replace(/\/$/, ''), '/wo' + 'rk/', 'sha' + 'red/', '\\.libra' + 'ry', 'registry\\.npm' + 'js'].join('|'),
      'g',
    );
    const text = projectFiles().filter(
      (path) => /\.(?:ts|mjs|json|md|ya?ml|sh)$|^\.ci\//.test(path) && !path.startsWith('test/fixtures/'),
    );
    expect(text.flatMap((path) => found(path, readSource(path), foreign))).toEqual([]);
  });

  it('holds no file that nobody meant to commit', () => {
    const stray = projectFiles().filter((path) =>
      /(?:^|\/)(?:dist|node_modules|data)\/|\.(?:log|tgz|orig|rej|swp)$/.test(path),
    );
    expect(stray).toEqual([]);
  });
});
