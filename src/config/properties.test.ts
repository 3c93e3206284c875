import fc from 'fast-check';
import { stringify } from 'yaml';
import { describe, expect, it } from 'vitest';
import { load } from '../../test/support/load-config.ts';
import { boundKeys, OTHER_VARIABLES } from './environment.ts';
import { knownKeys } from './validate.ts';
import { matches } from './checks/names.ts';

const RUNS = { numRuns: 300 };

const someKey = fc.oneof(
  fc.constantFrom(
    'models',
    'defaults',
    'pools',
    'limits',
    'devices',
    'list',
    'auth',
    'keys',
    'repo',
    'url',
    '<<',
    '__proto__',
    'x-a',
    '',
  ),
  fc.constantFrom(...knownKeys(['defaults']), ...knownKeys(['limits'])),
  fc.string({ maxLength: 6 }),
);
const someScalar = fc.oneof(
  fc.constantFrom('auto', 'none', '${A}', '${a}', '$${', '10s', '1GiB', 'true', '-x', '0', '\u0000'),
  fc.string({ maxLength: 8 }),
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
);
const someTree = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    someScalar,
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(someKey, tie('value'), { maxKeys: 4 }),
  ),
})).value;

/** Sections filled with anything, under their real names, so that the checks behind the schema are reached. */
const someFile = fc.record(
  Object.fromEntries(
    knownKeys([]).map((section) => {
      const keys = knownKeys([section]);
      return [
        section,
        keys.length === 0 ? someTree : fc.dictionary(fc.constantFrom(...keys), someTree, { maxKeys: 4 }),
      ];
    }),
  ),
  { requiredKeys: [] },
);

const someModels = fc.dictionary(
  fc.oneof(fc.constantFrom('a', 'b', '-x', 'constructor'), fc.string({ maxLength: 5 })),
  fc.dictionary(fc.constantFrom(...knownKeys(['models', 'm'])), someTree, { maxKeys: 6 }),
  { maxKeys: 3 },
);

function isSound(result: Awaited<ReturnType<typeof load>>): void {
  for (const line of result.lines) expect(line).not.toMatch(/[\n\r\u0000]/);
  const errors = result.problems.filter(({ severity, source }) => severity === 'error' && source !== 'environment');
  if (errors.length > 0) expect(result.config).toBeNull();
  if (result.config === null) expect(result.problems.length).toBeGreaterThan(0);
}

describe('loading', () => {
  it('never throws on any text', async () => {
    const text = fc.oneof(
      fc.string({ maxLength: 200 }),
      fc.string({
        unit: fc.constantFrom(
          'a',
          ':',
          ' ',
          '\n',
          '-',
          '{',
          '}',
          '[',
          ']',
          '&',
          '*',
          '!',
          '|',
          '>',
          '"',
          "'",
          '#',
          '%',
          '\t',
          '?',
        ),
        maxLength: 60,
      }),
    );
    await fc.assert(
      fc.asyncProperty(text, async (yaml) => isSound(await load(yaml))),
      RUNS,
    );
  });

  it('never throws on any bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => isSound(await load(bytes))),
      RUNS,
    );
  });

  it('never throws on any tree', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          someFile,
          someTree,
          someModels.map((models) => ({ models })),
        ),
        async (tree) => isSound(await load(stringify(tree))),
      ),
      { numRuns: 600 },
    );
  });

  it('never throws on any environment and flags', async () => {
    const names = [...new Set([...boundKeys.flatMap(({ key }) => key.env), ...Object.keys(OTHER_VARIABLES)])];
    const value = fc.oneof(
      fc.constantFrom('', ' ', '0', '-1', '1', 'true', 'none', 'auto', '10s', '0.5', '{"a":"b/c"}', '0.0.0.0:1'),
      fc.string({ maxLength: 10 }),
    );
    const flags = fc.record(
      { config: value, listen: value, logLevel: value, strict: fc.boolean() },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 6 }), flags, async (env, given) => {
        isSound(await load(undefined, { env, flags: given }));
      }),
      RUNS,
    );
  });

  it('gives the same answer twice', async () => {
    await fc.assert(
      fc.asyncProperty(someFile, async (tree) => {
        const yaml = stringify(tree);
        expect(await load(yaml)).toEqual(await load(yaml));
      }),
      { numRuns: 50 },
    );
  });
});

describe('a glob over model names', () => {
  it('agrees with the regular expression it stands for', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 6 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 });
    fc.assert(
      fc.property(letters, name, (pattern, text) => {
        expect(matches(pattern, text)).toBe(new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(text));
      }),
    );
  });
});
