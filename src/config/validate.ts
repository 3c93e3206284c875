/** Holds a parsed file against the schema: every mismatch becomes a problem, everything else stays usable. */
import type * as z from 'zod';
import type { ParsedFile } from './document.ts';
import type { Path, Problems } from './problems.ts';
import { fileSchema, type WrittenFile } from './schema/file.ts';
import { kindOf, quote, Substituted } from './schema/scalar.ts';
import { isMapping } from './schema/text-reader.ts';
import { didYouMean } from './suggest.ts';
import { laterRelease } from './unsupported.ts';

type Issue = z.core.$ZodIssue;

/** A broken part hides nothing: what is wrong is told and taken out, then the rest is read again. */
const ROUNDS = 3;

export function validateFile(file: ParsedFile, problems: Problems): WrittenFile {
  let tree: unknown = withoutEmptySections(file.root ?? {});
  for (let round = 0; round < ROUNDS; round += 1) {
    const result = fileSchema.safeParse(tree);
    // The one place where the schema's output gets its type: WrittenFile mirrors the tables that built the schema.
    if (result.success) return result.data as WrittenFile;
    const broken: Path[] = [];
    for (const issue of result.error.issues) broken.push(...report(issue, [], tree, problems));
    tree = without(tree, broken);
  }
  return {};
}

/** A section whose keys are all commented out is null in YAML and means nothing. */
function withoutEmptySections(root: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const copy = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of Object.entries(root)) {
    if (value !== null || name === 'models' || name === 'auth') copy[name] = value;
  }
  return copy;
}

function report(issue: Issue, prefix: Path, tree: unknown, problems: Problems): Path[] {
  const path: Path = [...prefix, ...issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step))];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((name) => {
        unknownKey([...path, name], problems);
        return [...path, name];
      });
    case 'custom':
      problems.inFile('error', path, String(issue.params?.['code'] ?? 'not_allowed'), issue.message);
      return [path];
    case 'invalid_union': {
      const written = at(tree, path);
      const branch = issue.errors.at(-1);
      if (isMapping(written) && branch) return branch.flatMap((inner) => report(inner, path, tree, problems));
      const hint = typeof written === 'string' ? didYouMean(written, ['none']) : '';
      // `off` is quoted, a key that was written in this place is not.
      const isWord = hint !== '' || (typeof written === 'string' && /^[a-z]{1,5}$/i.test(written));
      const message = `${isWord ? quote(written) : kindOf(written)} is not allowed; allowed: none, or a mapping with keys: [{id, key, roles, models}]${hint}`;
      problems.inFile('error', path, 'not_allowed', message);
      return [path];
    }
    default:
      wrongShape(path, at(tree, path), problems);
      return [path];
  }
}

function wrongShape(path: Path, written: unknown, problems: Problems): void {
  const isList = path.at(-1) === 'list' || (path[0] === 'auth' && path.at(-1) === 'keys');
  const allowed = isList ? 'a list of mappings' : `a mapping${exampleOf(path)}`;
  const what = written instanceof Substituted || path[0] === 'auth' ? kindOf(written) : quote(written);
  problems.inFile(
    'error',
    path,
    'wrong_type',
    `${what} is not ${isList ? 'a list' : 'a mapping'}; allowed: ${allowed}`,
    [path],
  );
}

function exampleOf(path: Path): string {
  if (path[0] === 'models' && path.length === 1)
    return ' from names to models, such as {llama: {repo: meta-llama/Llama-3.1-8B-Instruct}}';
  if (path[0] === 'models' && path.length === 2)
    return ' with at least repo, such as {repo: meta-llama/Llama-3.1-8B-Instruct}';
  if (path[0] === 'pools') return ' from pool names to lists of device UUIDs';
  return '';
}

function unknownKey(path: Path, problems: Problems): void {
  const name = String(path.at(-1));
  const later = laterRelease(path);
  if (later !== undefined) {
    problems.atKey(
      'error',
      path,
      'unsupported',
      `${later} are not supported in this version; remove the key`.replace(/^(the .*) are/, '$1 is'),
    );
    return;
  }
  if (path[0] === 'defaults' && (name === 'repo' || name === 'aliases')) {
    problems.atKey('error', path, 'unknown_key', `belongs to one model, not to defaults; write models.NAME.${name}`);
    return;
  }
  const known = knownKeys(path.slice(0, -1));
  const near = didYouMean(name, known);
  const elsewhere = near === '' && path.length > 1 ? misplaced(name, path) : '';
  // With a good guess the long list of a model's keys would only hide it.
  const allowed = near !== '' && known.length > MANY_KEYS ? '' : `; allowed here: ${known.join(', ')}`;
  problems.atKey('error', path, 'unknown_key', `unknown key${elsewhere}${allowed}${near}`);
}

const MANY_KEYS = 15;

/** The key exists, but in another section: indentation slips. */
function misplaced(name: string, path: Path): string {
  for (const [section, names] of Object.entries(sectionKeys())) {
    if (section !== path[0] && names.includes(name)) return `; it belongs under ${section}`;
  }
  return '';
}

interface Shaped {
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
  readonly def: {
    readonly innerType?: z.core.$ZodType;
    readonly valueType?: z.core.$ZodType;
    readonly element?: z.core.$ZodType;
    readonly options?: readonly z.core.$ZodType[];
  };
}

const shaped = (type: z.core.$ZodType): Shaped => type as unknown as Shaped;

/** The names that the schema knows at a place of the file. */
export function knownKeys(path: Path): readonly string[] {
  let type: z.core.$ZodType | undefined = fileSchema;
  for (const step of [...path, undefined]) {
    while (type && shaped(type).def.innerType) type = shaped(type).def.innerType;
    if (type && shaped(type).def.options) type = shaped(type).def.options?.at(-1);
    if (step === undefined || !type) break;
    const { shape, def }: Shaped = shaped(type);
    type = shape?.[String(step)] ?? def.valueType ?? def.element;
  }
  return type ? Object.keys(shaped(type).shape ?? {}) : [];
}

function sectionKeys(): Readonly<Record<string, readonly string[]>> {
  const sections = knownKeys([]).filter((name) => name !== 'models' && name !== 'pools');
  return Object.fromEntries(sections.map((name) => [name, knownKeys([name])]));
}

function at(tree: unknown, path: Path): unknown {
  let value = tree;
  for (const step of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Readonly<Record<string | number, unknown>>)[step];
  }
  return value;
}

/** A copy without the values at these paths: a key is taken out, an entry of a list becomes nothing. */
function without(tree: unknown, paths: readonly Path[]): unknown {
  if (paths.some((path) => path.length === 0)) return undefined;
  if (typeof tree !== 'object' || tree === null || tree instanceof Substituted || paths.length === 0) return tree;
  const below = (step: string | number): Path[] =>
    paths.filter((path) => String(path[0]) === String(step)).map((path) => path.slice(1));
  if (Array.isArray(tree)) {
    const kept = tree
      .map((entry: unknown, index) => without(entry, below(index)))
      .filter((entry) => entry !== undefined);
    // A list of which nothing is left says nothing any more; it was not written empty.
    return kept.length > 0 ? kept : undefined;
  }
  const copy = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of Object.entries(tree)) {
    const kept = without(value, below(name));
    if (kept !== undefined) copy[name] = kept;
  }
  return copy;
}
