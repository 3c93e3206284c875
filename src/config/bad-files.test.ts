/** Broken and doubtful files: what `check` prints for them, line by line. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { load, type FileContent } from '../../test/support/load-config.ts';

const EXTERNAL = 'models: { m: { repo: a/b, url: "http://127.0.0.1:8000" } }\n';

interface Case {
  readonly title: string;
  readonly file: FileContent;
  /** The gateway starts in spite of it. */
  readonly starts: boolean;
  readonly problems: readonly string[];
}

const corpus = new URL('../../test/fixtures/config/bad-files.yaml', import.meta.url);

/** What does not fit into a text file. */
const OTHERS: readonly Case[] = [
  {
    title: 'a folder at the path',
    file: { kind: 'folder' },
    starts: false,
    problems: [
      'error gateway.yaml: is a folder, not a file; Docker creates an empty folder when the file to mount is missing on the host: remove the folder, create the file, and start again',
    ],
  },
  {
    title: 'a pipe at the path',
    file: { kind: 'other' },
    starts: false,
    problems: ['error gateway.yaml: is not a regular file; allowed: a YAML file'],
  },
  {
    title: 'a file that may not be read',
    file: { code: 'EACCES' },
    starts: false,
    problems: [
      'error gateway.yaml: cannot be read: permission denied; check the owner and mode of the file and its folders',
    ],
  },
  {
    title: 'a file in Latin-1',
    file: new Uint8Array([0x61, 0x0a, 0x62, 0xe4, 0x0a]),
    starts: false,
    problems: ['error gateway.yaml:2:1: is not UTF-8 text; save it as UTF-8'],
  },
  {
    title: 'a file of more than 1 MiB',
    file: 'x'.repeat(2 ** 20 + 1),
    starts: false,
    problems: ['error gateway.yaml: is larger than 1MiB; allowed: a YAML file of at most 1MiB'],
  },
];

const CASES: readonly Case[] = [...(parse(readFileSync(corpus, 'utf8')) as readonly Case[]), ...OTHERS];

describe('a configuration file', () => {
  it.each(CASES)(
    '[items 2, 3, 4] [B175] [B176] [B177] [B179] [B180] [B181] [B182] [B183] [B184] [B124] [B185] [B187] [B189] with $title is told as it should be',
    async ({ file, starts, problems }) => {
      const result = await load(file);
      expect(result.lines).toEqual(problems);
      expect(result.config !== null).toBe(starts);
    },
  );

  it('holds every case once', () => {
    expect(new Set(CASES.map(({ title }) => title)).size).toBe(CASES.length);
    expect(CASES.length).toBeGreaterThanOrEqual(60);
  });

  it('tells everything that is wrong at once, from top to bottom [I-93]', async () => {
    const result = await load(`limits:
  max_queue_size: 0
  max_turn: soon
log: { level: verbos }
models:
  a: { repo: "", dtype: 5 }
  b: { url: nowhere, replicas: 2 }
`);
    expect(result.problems.map(({ line, path, code }) => [line, path, code])).toEqual([
      [2, 'limits.max_queue_size', 'out_of_range'],
      [3, 'limits.max_turn', 'wrong_type'],
      [4, 'log.level', 'not_allowed'],
      [6, 'models.a.max_model_len', 'unbounded_length'],
      [6, 'models.a.repo', 'not_allowed'],
      [6, 'models.a.dtype', 'wrong_type'],
      [7, 'models.b.url', 'not_allowed'],
      [7, 'models.b.replicas', 'unsupported'],
    ]);
  });

  it('[B189] is read with a byte order mark and with Windows line ends', async () => {
    for (const file of [`\ufeff${EXTERNAL}`, EXTERNAL.replaceAll('\n', '\r\n')]) {
      const result = await load(file);
      expect(result.lines).toEqual([]);
      expect([...(result.config?.models.keys() ?? [])]).toEqual(['m']);
    }
  });

  it('[B177] is free to use x-* keys, anchors and merges', async () => {
    const result = await load(`x-common: &common { url: "http://127.0.0.1:8000", max_queue_size: 70 }
models:
  a: { <<: *common, repo: a/b }
  b:
    <<: [*common, { max_queue_size: 80, unlisted: true }]
    repo: c/d
    max_concurrent: 5
`);
    expect(result.lines).toEqual([]);
    const { config } = result;
    expect(config?.models.get('a')).toMatchObject({ url: 'http://127.0.0.1:8000', maxQueueSize: 70, unlisted: false });
    expect(config?.models.get('b')).toMatchObject({ maxQueueSize: 70, unlisted: true, maxConcurrent: 5 });
  });

  it('points at the value behind an alias, where it has to be changed', async () => {
    const result = await load(`x-limits: &limits\n  max_queue_size: 0\nlimits: *limits\n${EXTERNAL}`);
    expect(result.problems.map(({ line, path }) => [line, path])).toEqual([[2, 'limits.max_queue_size']]);
  });

  it('takes a section whose keys are all commented out for an absent one', async () => {
    const result = await load(`limits:\n  # max_queue_size: 5\ndefaults:\n${EXTERNAL}`);
    expect(result.lines).toEqual([]);
    expect(result.config?.limits.maxQueueSize).toBe(200);
  });

  it('keeps its models in the order written, numbers included', async () => {
    const model = '{ repo: a/b, url: "http://127.0.0.1:1" }';
    const result = await load(`models: { zeta: ${model}, "10": ${model}, "9": ${model}, alpha: ${model} }`);
    expect([...(result.config?.models.keys() ?? [])]).toEqual(['zeta', '10', '9', 'alpha']);
  });

  it('[B117] takes names that every object has for what they are', async () => {
    const model = '{ repo: a/b, url: "http://127.0.0.1:1" }';
    const result = await load(
      `models: { constructor: ${model}, toString: ${model} }\nlimits: { valueOf: 1 }\nlog: { format: constructor }`,
    );
    expect(result.problems.map(({ path, code }) => [path, code])).toEqual([
      ['limits.valueOf', 'unknown_key'],
      ['log.format', 'not_allowed'],
    ]);
  });

  it('never shows a secret, not even a broken one', async () => {
    const result = await load(`auth: { keys: [{ id: a, key: 918273645 }, { id: b, key: "918273645\\n1" }] }
models: { m: { url: "http://u:918273645@h:1", api_key: 918273645, headers: { x: [918273645] } } }`);
    expect(result.config).toBeNull();
    expect(JSON.stringify(result.problems)).not.toContain('918273645');
  });
});
