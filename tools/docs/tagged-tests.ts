/** Which test shows which promise, read from the tags in test titles: `[item 41]`, `[items 26, 27]`, `[S5]`, `[scenario A]`. */
import { filesUnder, readSource, blank } from '../../test/support/source-tree.ts';

export interface TaggedTest {
  readonly path: string;
  /** Without its tags. */
  readonly title: string;
}

/** A string literal that holds a tag. Titles are plain strings or templates, on one line. */
const TITLE = /(['"`])((?:\\.|(?!\1)[^\n\\])*\[(?:items? \d|scenarios? [A-G]|S\d)(?:\\.|(?!\1)[^\n\\])*)\1/g;
/** Rows of the catalogues of faults, bad input and invariants: of other pages than those of the promises. */
const ROW = /\s*\[(?:[BF]|I-)\d+\]/g;
const TAG = /\s*\[((?:items? \d|scenarios? [A-G]|S\d)[^\]]*)\]/g;

/** Keys are `item 41`, `scenario A`, `S5`. */
export function taggedTests(): ReadonlyMap<string, readonly TaggedTest[]> {
  const found = new Map<string, TaggedTest[]>();
  const paths = ['src', 'test', 'tools'].flatMap((folder) => filesUnder(folder, ['.test.ts']));
  for (const path of paths) {
    for (const [, , literal = ''] of blank(readSource(path), { strings: false }).matchAll(TITLE)) {
      const test = { path, title: literal.replace(TAG, '').replace(ROW, '').replaceAll("\\'", "'").trim() };
      for (const [, tag = ''] of literal.matchAll(TAG)) for (const key of keysOf(tag)) add(found, key, test);
    }
  }
  return found;
}

/** `items 26, 28–30` → item 26, item 28, item 29, item 30; `S4, item 47` → S4, item 47. */
export function keysOf(tag: string): readonly string[] {
  let kind = '';
  return tag.split(/[,;]|\band\b/).flatMap((part) => {
    const [, word = '', from = '', to] = /^\s*(items?|scenarios?)?\s*(S?\w+)(?:\s*[-–]\s*(\w+))?\s*$/.exec(part) ?? [];
    if (word !== '') kind = word.replace(/s$/, '');
    if (/^S\d/.test(from)) return [from];
    if (kind === '' || from === '') return [];
    if (to === undefined || kind !== 'item') return [`${kind} ${from}`];
    return Array.from({ length: Number(to) - Number(from) + 1 }, (_, index) => `item ${Number(from) + index}`);
  });
}

function add(found: Map<string, TaggedTest[]>, key: string, test: TaggedTest): void {
  const tests = found.get(key) ?? [];
  if (!tests.some(({ path, title }) => path === test.path && title === test.title)) tests.push(test);
  found.set(key, tests);
}
