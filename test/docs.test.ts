/** Documents that are made from the code equal it, and every promise is shown by a test. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { unshown } from '../tools/docs/original-page.ts';
import { PAGES } from '../tools/docs/pages.ts';
import { keysOf, taggedTests } from '../tools/docs/tagged-tests.ts';
import { load } from './support/load-config.ts';
import { filesUnder, readSource, ROOT } from './support/source-tree.ts';

const documents = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  ...filesUnder('docs', ['.md']),
];

describe('the documents', () => {
  it.each(Object.entries(PAGES))('%s is what `npm run docs` writes', async (path, render) => {
    expect(existsSync(join(ROOT, path)) ? readSource(path) : 'missing').toBe(await render());
  });

  it('link only to files that exist', () => {
    const dead = documents.flatMap((path) =>
      [...readSource(path).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
        .map(([, target = '']) => target)
        .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(join(ROOT, dirname(path), target)))
        .map((target) => `${path}: ${target}`),
    );
    expect(dead).toEqual([]);
  });
});

describe('README.md', () => {
  const readme = readSource('README.md');

  it('shows configurations without a problem', async () => {
    const blocks = [...readme.matchAll(/```yaml\n([^]*?)```/g)].map(([, yaml = '']) => yaml);
    expect(blocks).not.toEqual([]);
    for (const yaml of blocks) expect((await load(yaml)).lines).toEqual([]);
  });

  it('asks for models that the demo has', () => {
    const asked = [...readme.matchAll(/"model": "([^"]+)"|model: '([^']+)'/g)].map(([, curl, sdk]) => curl ?? sdk);
    const demo = readSource('examples/demo.yaml');
    expect(asked.length).toBeGreaterThan(3);
    expect(asked.filter((model) => !demo.includes(`\n  ${model}:\n`))).toEqual([]);
  });
});

describe('the promises', () => {
  it('are read from every spelling of a tag', () => {
    expect(keysOf('item 41')).toEqual(['item 41']);
    expect(keysOf('items 26, 27')).toEqual(['item 26', 'item 27']);
    expect(keysOf('items 28–30, S4')).toEqual(['item 28', 'item 29', 'item 30', 'S4']);
    expect(keysOf('S7')).toEqual(['S7']);
    expect(keysOf('scenario A')).toEqual(['scenario A']);
    expect(keysOf('scenarios A, B')).toEqual(['scenario A', 'scenario B']);
  });

  it('are each shown by at least one test', () => {
    const missing = unshown(taggedTests());
    expect(missing, `no test carries: ${missing.join(', ')}`).toEqual([]);
  });
});
