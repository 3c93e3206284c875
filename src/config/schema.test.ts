import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { load } from '../../test/support/load-config.ts';
import { boundKeys } from './environment.ts';
import { jsonSchema, renderJsonSchema } from './schema/file.ts';
import { knownKeys } from './validate.ts';

const project = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

const valid = z.fromJSONSchema(jsonSchema());

describe('the JSON Schema', () => {
  it('is what gateway.schema.json holds (write it anew with `npx vitest run src/config/schema.test.ts -u`)', async () => {
    await expect(renderJsonSchema()).toMatchFileSnapshot('../../gateway.schema.json');
  });

  it.each(['examples/demo.yaml', 'examples/gateway.yaml', 'test/fixtures/original/models.yaml'])(
    'accepts %s',
    (path) => {
      expect(valid.safeParse(parse(project(path))).error).toBeUndefined();
    },
  );

  it.each([
    ['a misspelt key', { models: { m: { repo: 'a/b', max_modl_len: 1 } } }],
    ['a number out of range', { models: {}, limits: { max_queue_size: 0 } }],
    ['a duration of two units', { models: {}, limits: { max_turn: '1h30' } }],
    ['a size without a unit', { models: { m: { memory: 20 } } }],
    ['an unknown driver', { models: {}, drivers: { default: 'kubernetes' } }],
    ['no models', { limits: {} }],
  ])('refuses %s', (_, file) => {
    expect(valid.safeParse(file).success).toBe(false);
  });

  it.each([
    ['variables in the place of numbers', { models: {}, limits: { max_queue_size: '${Q:-5}' } }],
    ['free keys for anchors', { 'x-common': { anything: [1] }, models: {} }],
    ['auth: none', { models: {}, auth: 'none' }],
    ['keys', { models: {}, auth: { keys: [{ id: 'a', key: '${K}', roles: ['admin'] }] } }],
  ])('accepts %s', (_, file) => {
    expect(valid.safeParse(file).error).toBeUndefined();
  });

  it('describes every key, and gives every default in a form that may be written', async () => {
    interface Node {
      readonly description?: string;
      readonly properties?: Readonly<Record<string, Node>>;
      readonly default?: unknown;
    }
    const lost: string[] = [];
    const defaults: Record<string, Record<string, unknown>> = {};
    const visit = (node: Node, path: readonly string[]): void => {
      if (node.description === undefined && path.length > 0) lost.push(path.join('.'));
      const [section = '', key = ''] = path;
      if (path.length === 2 && node.default !== undefined) (defaults[section] ??= {})[key] = node.default;
      for (const [name, inner] of Object.entries(node.properties ?? {})) visit(inner, [...path, name]);
    };
    visit(jsonSchema(), []);
    expect(lost).toEqual([]);
    const models = { m: { repo: 'a/b', url: 'http://h:1' } };
    const written = await load(JSON.stringify({ ...defaults, models }));
    // What only an external model cannot use is told as such; nothing is refused.
    expect(written.problems.filter(({ severity }) => severity === 'error')).toEqual([]);
    const silent = await load(JSON.stringify({ models }));
    expect(written.config).toEqual({ ...silent.config, problems: written.config?.problems });
  });

  it('binds every variable to keys that a file knows', () => {
    for (const { path, ofModel, key } of boundKeys) {
      const full = ofModel ? ['defaults', ...path] : path;
      expect(knownKeys(full.slice(0, -1))).toContain(full.at(-1));
      for (const name of key.env) expect(name).toMatch(/^[A-Z][A-Z0-9_]*$/);
    }
  });
});

describe('the examples', () => {
  it('run the demo without a single problem, strict or not', async () => {
    const { config, lines } = await load(project('examples/demo.yaml'), { flags: { strict: true }, demo: true });
    expect(lines).toEqual([]);
    expect([...(config?.models.keys() ?? [])]).toEqual(['llama-8b', 'qwen-7b', 'mistral-7b']);
    for (const model of config?.models.values() ?? []) {
      expect(model).toMatchObject({
        driver: 'process',
        engine: 'vllm',
        inactivityTimeout: 60_000,
        memory: 20 * 1024 ** 3,
      });
    }
    expect(config?.drivers.process.command).toEqual(['simulated-vllm']);
    expect(config?.devices.list.map(({ id }) => id)).toEqual(['gpu-0', 'gpu-1']);
  });

  it('leave every key of the demo that has a GATEWAY_ variable to the shell', () => {
    const demo = parse(project('examples/demo.yaml')) as Readonly<Record<string, Readonly<Record<string, unknown>>>>;
    const taken = boundKeys
      .filter(({ key, ofModel }) => !ofModel && key.env.some((name) => name.startsWith('GATEWAY_')))
      .filter(({ path: [section = '', name = ''] }) => demo[section]?.[name] !== undefined);
    expect(taken).toEqual([]);
  });

  it('show a real vLLM without a single problem', async () => {
    const { config, lines } = await load(project('examples/gateway.yaml'), { flags: { strict: true } });
    expect(lines).toEqual([]);
    expect(config?.drivers.process.command).toEqual(['vllm']);
    expect(config?.models.get('llama-8b')).toMatchObject({
      env: { HF_HOME: '/root/.cache/huggingface' },
      aliases: ['gpt-4o-mini'],
    });
  });

  it('show a real vLLM whose commented parts are right too', async () => {
    const text = project('examples/gateway.yaml')
      .split('\n')
      .map((line) =>
        line.replace(
          /^(\s*)# ((?:auth|  keys|    - |team-embeddings|  url|  repo|  api_key|tiny|  command|  memory)\b.*|    - \{.*)$/,
          '$1$2',
        ),
      )
      .join('\n');
    const { lines, config } = await load(text, {
      env: { TEAM_A_KEY: 'a', EMBEDDINGS_KEY: 'b' },
      files: { '/run/secrets/operator': 'c' },
    });
    expect(lines).toEqual([]);
    expect(config?.auth.keys.map(({ id }) => id)).toEqual(['team-a', 'operator']);
    expect(config?.models.get('team-embeddings')).toMatchObject({
      driver: 'external',
      apiKey: 'b',
      engine: 'openai-compatible',
    });
    expect(config?.models.get('tiny')).toMatchObject({ driver: 'process', engine: 'openai-compatible', repo: 'tiny' });
  });
});
