/**
 * Which test shows which row of the catalogues: `[F7]` of faults, `[I-16]` of what is kept true, `[B44]` of bad input. Tags
 * stand in titles of tests, and in names of gates of a load.
 */
import { blank, filesUnder, readSource } from '../../test/support/source-tree.ts';

export interface ShownBy {
  readonly path: string;
  readonly title: string;
}

/** A string literal that holds a tag. Titles are plain strings or templates, on one line. */
const TITLE = /(['"`])((?:\\.|(?!\1)[^\n\\])*\[(?:[BF]|I-)\d+\](?:\\.|(?!\1)[^\n\\])*)\1/g;
const ROW = /\[((?:[BF]|I-)\d+)\]/g;
/** Any tag, for the title without them. */
const ANY = /\s*\[(?:items? \d|scenarios? [A-G]|S\d|[BF]\d|I-\d)[^\]]*\]/g;
/** In front of a gate that is held several times in one run. */
const VARIED = /^\$\{\w+\}: /;
const CHECK = /'(I-\d+)'/g;

export function taggedRows(): ReadonlyMap<string, readonly ShownBy[]> {
  const tests = ['src', 'test', 'tools', 'web/src'].flatMap((folder) => filesUnder(folder, ['.test.ts']));
  const found = new Map<string, ShownBy[]>();
  const shared = ['test/contract/driver', 'tools/load/forms'].flatMap((folder) => filesUnder(folder, ['.ts']));
  for (const path of [...tests, ...shared]) {
    for (const [, , literal = ''] of blank(readSource(path), { strings: false }).matchAll(TITLE)) {
      const shown = { path, title: literal.replace(ANY, '').replace(VARIED, '').replaceAll("\\'", "'").trim() };
      for (const [, row = ''] of literal.matchAll(ROW)) add(found, row, shown);
    }
  }
  return found;
}

/** Files in which a rule of the core or of the simulation looks after a row at every step: `I-16` → paths. */
export function checkedRows(): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, Set<string>>();
  const rules = [...filesUnder('src/core'), ...filesUnder('test/simulation')].filter(
    (path) => !path.endsWith('.test.ts'),
  );
  for (const path of rules) {
    for (const [, row = ''] of blank(readSource(path), { strings: false }).matchAll(CHECK))
      found.set(row, (found.get(row) ?? new Set()).add(path));
  }
  return new Map([...found].map(([row, paths]) => [row, [...paths].toSorted()]));
}

function add(found: Map<string, ShownBy[]>, row: string, shown: ShownBy): void {
  const all = found.get(row) ?? [];
  if (!all.some(({ path, title }) => path === shown.path && title === shown.title)) all.push(shown);
  found.set(row, all);
}
