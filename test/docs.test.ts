/** Documents that are made from the code equal it, and every promise is shown by a test. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { renderJsonSchema } from '../src/config/schema/file.ts';
import { estimateNeed } from '../src/core/memory/estimate.ts';
import type { ModelShape } from '../src/core/memory/model-shape.ts';
import type { MemoryRules } from '../src/core/memory/sizing.ts';
import { ERRORS } from '../src/errors.ts';
import { GIB, MIB } from '../src/units.ts';
import { documentedProgram } from '../tools/docs/cli-page.ts';
import { CAUSES } from '../tools/docs/errors-page.ts';
import { exampleScrape } from '../tools/docs/metrics-page.ts';
import { unshown } from '../tools/docs/original-page.ts';
import { PAGES } from '../tools/docs/pages.ts';
import { unshownRows } from '../tools/docs/reliability-page.ts';
import { keysOf, taggedTests } from '../tools/docs/tagged-tests.ts';
import { load } from './support/load-config.ts';
import {
  anchorsOf,
  codeSpansOf,
  commandLinesOf,
  deadLink,
  linksOf,
  reachedFrom,
  refusedCommand,
} from './support/markdown-pages.ts';
import { samplesOf } from './support/prometheus-text.ts';
import { filesUnder, isTest, projectFiles, readSource, ROOT } from './support/source-tree.ts';

const documents = projectFiles().filter((path) => path.endsWith('.md') && !path.startsWith('test/fixtures/'));
const pages = documents.filter((path) => path.startsWith('docs/'));
const program = documentedProgram();

/** What answers say under the name of a section, beside its keys. */
const OF_ANSWERS = /^(?:devices\.(?:state|reason|gate)|limits\.stop_grace_period)$/;

describe('the documents', () => {
  it.each(Object.entries(PAGES))('%s is what `npm run docs` writes [item 154]', async (path, render) => {
    expect(existsSync(join(ROOT, path)) ? readSource(path) : 'missing').toBe(await render());
  });

  it('link only to files and headings that exist', () => {
    expect(
      documents.flatMap((path) =>
        linksOf(readSource(path))
          .map((to) => deadLink(path, to))
          .filter(Boolean),
      ),
    ).toEqual([]);
  });

  it('are all reached from the index of docs', () => {
    const reached = reachedFrom('docs/README.md', documents);
    expect(pages.filter((path) => !reached.has(path))).toEqual([]);
  });

  it('show only commands, options and arguments that the program takes', () => {
    const lines = documents.flatMap((path) => commandLinesOf(readSource(path)).map((line) => ({ path, line })));
    expect(lines.length).toBeGreaterThan(50);
    const refused = lines.map(({ path, line }) => ({ path, why: refusedCommand(program, line) }));
    expect(refused.filter(({ why }) => why !== null)).toEqual([]);
  });

  it('name only metrics that there are', async () => {
    const known = new Set(samplesOf(await exampleScrape()).map(({ family }) => family));
    const named = documents.flatMap((path) => readSource(path).match(/\bvllm_gateway_[a-z_]+[a-z](?![a-z_*])/g) ?? []);
    const strangers = new Set(named.filter((name) => !known.has(name.replace(/_(?:bucket|sum|count)$/, ''))));
    // Names of things in Docker that begin alike.
    expect([...strangers].sort()).toEqual([]);
  });

  it('name only keys of the configuration that there are', () => {
    const keys = schemaPaths();
    const sections = new Set([...keys].map((key) => key.split('.')[0]).filter((name) => name !== 'models'));
    const strangers = pages.flatMap((path) =>
      codeSpansOf(readSource(path))
        .map((span) => (/^([a-z_]+(?:\.[a-z_]+)+)(?::.*)?$/.exec(span) ?? [])[1] ?? '')
        .filter((key) => sections.has(key.split('.')[0] ?? '') && !keys.has(key) && !OF_ANSWERS.test(key))
        .map((key) => `${path}: ${key}`),
    );
    expect(strangers).toEqual([]);
  });
});

describe('docs/operations.md', () => {
  it('quotes only log lines, decisions and files that are in the program', () => {
    const sources = filesUnder('src').filter((path) => !isTest(path));
    const program = sources.map((path) => readSource(path).replaceAll(/\\(['`])/g, '$1')).join('\n');
    const spans = codeSpansOf(readSource('docs/operations.md'));
    const quoted = spans.filter((span) => span.startsWith('"')).map((span) => span.replace(/^"|"$/g, ''));
    expect(quoted.length).toBeGreaterThan(20);
    expect(quoted.filter((words) => !program.includes(words))).toEqual([]);
    const decisions = spans.filter(
      (span) => /^(?:replica|model|device|config)\.[a-z_]+$/.test(span) && span !== 'config.problems',
    );
    expect(decisions.length).toBeGreaterThan(10);
    expect(decisions.filter((kind) => !program.includes(`'${kind}'`))).toEqual([]);
    const files = spans.filter((span) => /^[a-z_-]+(?:\.[a-z_]+)*\.(?:json|id|lock)$/.test(span));
    expect(files.length).toBeGreaterThan(3);
    expect(files.filter((name) => !program.includes(name))).toEqual([]);
  });

  it('has a heading for every cause of a failed start and for every code that an operator can do something about', () => {
    const headings = [...readSource('docs/operations.md').matchAll(/^#{3,4} (.*)$/gm)]
      .map(([, heading = '']) => heading)
      .join('\n');
    const causes = Object.keys(CAUSES);
    const codes = Object.entries(ERRORS)
      .filter(([, { status }]) => status === 429 || status >= 500)
      .map(([name]) => name);
    expect([...causes, ...codes].filter((name) => !headings.includes(`\`${name}\``))).toEqual([]);
  });
});

describe('the checks of documents', () => {
  const page =
    '# One `two`: three\n\n## Same\n## Same\n\n```sh\n# no heading\nvllm-gateway plan m # remark\n```\n[a](b.md#c) ![i](i.png) `[x](y.md)`';

  it('know the anchors and links of a page', () => {
    expect([...anchorsOf(page)]).toEqual(['one-two-three', 'same', 'same-1']);
    expect(linksOf(page)).toEqual(['b.md#c', 'i.png']);
  });

  it.each([
    ['docs/cli.md', 'nowhere.md', 'no such file'],
    ['docs/cli.md', '#nothing', 'no such heading'],
    ['README.md', 'docs/cli.md#nothing', 'no such heading'],
  ])('on %s find that %s leads nowhere', (path, target, why) => {
    expect(deadLink(path, target)).toContain(why);
  });

  it.each([
    ['vllm-gateway plan m', 'too many arguments'],
    ['vllm-gateway load m --nowait', 'no option --nowait'],
    ['vllm-gateway start', 'no command start'],
  ])('refuse %s', (line, why) => {
    expect(refusedCommand(program, line)).toContain(why);
    expect(commandLinesOf(page)).toEqual(['vllm-gateway plan m']);
  });
});

/** Every path of the file's schema, with `models.NAME` as `models`. */
function schemaPaths(): ReadonlySet<string> {
  interface Node {
    readonly properties?: Readonly<Record<string, Node>>;
    readonly additionalProperties?: Node | boolean;
    readonly anyOf?: readonly Node[];
    readonly items?: Node;
  }
  const paths = new Set<string>();
  const walk = (node: Node, prefix: string): void => {
    for (const [name, child] of Object.entries(node.properties ?? {})) {
      paths.add(prefix + name);
      walk(child, `${prefix}${name}.`);
    }
    for (const child of [...(node.anyOf ?? []), ...(node.items ? [node.items] : [])]) walk(child, prefix);
    if (typeof node.additionalProperties === 'object') walk(node.additionalProperties, prefix);
  };
  walk(JSON.parse(renderJsonSchema()) as Node, '');
  return paths;
}

const SHOWING_YAML = [
  'README.md',
  ...['clients', 'drivers', 'migration', 'real-vllm-without-gpu'].map((name) => `docs/${name}.md`),
];

describe.each(SHOWING_YAML)('%s', (path) => {
  it('shows configurations without a problem', async () => {
    const blocks = [...readSource(path).matchAll(/```yaml\n([^]*?)```/g)].map(([, yaml = '']) => yaml);
    expect(blocks).not.toEqual([]);
    for (const yaml of blocks)
      expect((await load(yaml, { env: { EMBEDDINGS_KEY: 'a-key', TEAM_KEY: 'a-key' } })).lines).toEqual([]);
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
