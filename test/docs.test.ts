/** Documents that are made from the code equal it, and every promise is shown by a test. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { estimateNeed } from '../src/core/memory/estimate.ts';
import type { ModelShape } from '../src/core/memory/model-shape.ts';
import type { MemoryRules } from '../src/core/memory/sizing.ts';
import { GIB, MIB } from '../src/units.ts';
import { unshown } from '../tools/docs/original-page.ts';
import { PAGES } from '../tools/docs/pages.ts';
import { unshownRows } from '../tools/docs/reliability-page.ts';
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
  it.each(Object.entries(PAGES))('%s is what `npm run docs` writes [item 154]', async (path, render) => {
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

describe.each(['README.md', 'docs/drivers.md'])('%s', (path) => {
  it('shows configurations without a problem', async () => {
    const blocks = [...readSource(path).matchAll(/```yaml\n([^]*?)```/g)].map(([, yaml = '']) => yaml);
    expect(blocks).not.toEqual([]);
    for (const yaml of blocks) expect((await load(yaml, { env: { EMBEDDINGS_KEY: 'a-key' } })).lines).toEqual([]);
  });
});

describe('docs/memory-planning.md', () => {
  it('works its example out as the program does [item 122]', () => {
    const shape: ModelShape = {
      weightBytes: 16_060_522_496,
      kv: [{ kind: 'full', layers: 32, kvHeads: 8, keySize: 128, valueSize: 128 }],
      kvElementBytes: 2,
      nativeLength: 131_072,
      attentionHeads: 32,
      notes: [],
    };
    const sizing = {
      ...{ utilization: 0.9, maxModelLen: 8_192, kvSequences: 8, maxNumSeqs: 16, maxBatchedTokens: 8_192 },
      ...{ kvElementBytes: null, weightElementBytes: null, colocate: false, autoParallel: true },
    };
    const rules: MemoryRules = {
      ...{ placementMode: 'budget', eviction: 'lru', overheadFactor: 1.1, overhead: GIB, colocateMargin: GIB },
      ...{ weightOverhead: 1.15, budgetFraction: 0.9 },
    };
    const need = estimateNeed(shape, sizing, rules, 1);
    if (need === null) throw new Error('no estimate');
    const page = readSource('docs/memory-planning.md');
    const shown = (bytes: number): string => (bytes / MIB).toFixed(1).replace(/\B(?=(?:\d{3})+\.)/g, ' ');
    const { weightsBytes, kvBytes, activationBytes, overheadBytes, totalBytes } = need;
    for (const bytes of [weightsBytes, kvBytes, activationBytes, overheadBytes])
      expect(page).toContain(` ${shown(bytes)} |`);
    expect(page).toContain(`**${shown(totalBytes)}**`);
    const card = 46_068 * MIB;
    expect(page).toContain(
      `0.9 × 46 068 = ${shown(0.9 * card)} MiB, so it fits, and ${shown(0.9 * card - totalBytes)} MiB`,
    );
    expect(page).toContain(`--gpu-memory-utilization ${(totalBytes / card).toFixed(4)}`);
  });
});

describe('README.md', () => {
  const readme = readSource('README.md');

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

  it('of reliability are each shown by a test or a rule, or say why not', () => {
    expect(unshownRows()).toEqual([]);
  });
});
