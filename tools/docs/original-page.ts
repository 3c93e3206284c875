/** docs/original.md: each promise with the tests that show it. */
import { code, page, table } from './markdown.ts';
import { ITEM_GROUPS, REQUIREMENTS, SCENARIOS, type Promised } from './original-items.ts';
import type { TaggedTest } from './tagged-tests.ts';

type Tests = ReadonlyMap<string, readonly TaggedTest[]>;

export function originalPage(tests: Tests): string {
  const rows = (promises: readonly Promised[], prefix: string): string =>
    table(
      ['Number', 'Behaviour', 'Shown by'],
      promises.map(({ id, behaviour }) => [id, behaviour, shownBy(tests.get(prefix + id) ?? [])]),
    );
  return page(
    'Promises to users of the predecessor',
    'vLLM Gateway takes the place of a Python gateway with the same purpose. This page lists, in our words, what its users keep, ' +
      'what was wrong there and is right here, and what they asked for. Each row names the tests that carry its number.',
    ...Object.entries(ITEM_GROUPS).flatMap(([title, promises]) => [`## ${title}`, rows(promises, 'item ')]),
    '## Scenarios',
    rows(SCENARIOS, 'scenario '),
    '## Requirements',
    rows(REQUIREMENTS, ''),
  );
}

/** Promises without a test: `item 41`, `scenario A`, `S5`. */
export function unshown(tests: Tests): readonly string[] {
  const keys = [
    ...Object.values(ITEM_GROUPS).flatMap((promises) => promises.map(({ id }) => `item ${id}`)),
    ...SCENARIOS.map(({ id }) => `scenario ${id}`),
    ...REQUIREMENTS.map(({ id }) => id),
  ];
  return keys.filter((key) => !tests.has(key));
}

function shownBy(tests: readonly TaggedTest[]): string {
  return tests.map(({ path, title }) => `${code(path)}: ${title.replaceAll('<', '&lt;')}`).join('\n');
}
