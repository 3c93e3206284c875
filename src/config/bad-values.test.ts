/** Texts that end up in an argument vector, an environment, a container's name: what could be two things is refused. */
import { describe, expect, it } from 'vitest';
import { load } from '../../test/support/load-config.ts';

async function problemsOf(keys: Readonly<Record<string, unknown>>, driver = 'docker'): Promise<readonly string[]> {
  const model = { repo: 'org/model', max_model_len: 4096, memory: '1GiB', ...keys };
  const { config, lines } = await load(
    JSON.stringify({ devices: { probe: 'none' }, drivers: { default: driver }, models: { m: model } }),
  );
  const errors = lines.filter((line) => line.startsWith('error'));
  expect(errors.length === 0).toBe(config !== null);
  return errors;
}

describe('a value', () => {
  it('is taken when it is what it says', async () => {
    expect(await problemsOf({ image: 'registry.example:5000/vllm/vllm-openai:v0.16.0', env: { A: 'b\nc' } })).toEqual(
      [],
    );
    const digest = `vllm/vllm-openai@sha256:${'0'.repeat(64)}`;
    expect(await problemsOf({ image: digest })).toEqual([]);
  });

  it.each([
    ...[
      'vllm; reboot',
      'vllm`id`',
      '$(id)',
      'vllm && id',
      '-v',
      '--privileged',
      'https://u:p@host/vllm',
      'https://host/vllm',
      'u:p@host/vllm',
      'a b',
      'vllm\n',
      '',
    ],
    ...['vllm|cat', 'vllm>x', "vllm'", 'vllm"', '/vllm', '../vllm', 'vllm\u0000'],
  ])('[B201] of an image is none: %j', async (image) => {
    const problems = await problemsOf({ image });
    // Blanks around a value are taken off, as everywhere.
    expect(problems.length).toBe(image === 'vllm\n' ? 0 : 1);
  });

  it.each([{ A: 'b\u0000c' }, { 'A=B': 'c' }, { 'A B': 'c' }, { 'A\nB': 'c' }, { '': 'c' }, { A: ['b'] }])(
    '[B200] of a variable cannot be passed on: %j',
    async (env) => {
      expect((await problemsOf({ env })).length).toBe(1);
      expect((await problemsOf({ env }, 'process')).length).toBe(1);
    },
  );

  it.each([
    { privileged: true },
    { pid: 'host' },
    { volumes: ['/:/host'] },
    { volumes: ['/var/run/docker.sock:/var/run/docker.sock'] },
    { network_mode: 'host' },
    { cap_add: ['SYS_ADMIN'] },
  ])('[B186] that would hand the host over is refused: %j', async (keys) => {
    expect((await problemsOf(keys)).length).toBe(1);
  });
});

describe('a file', () => {
  it.each([
    ['{"models":{"m":{"repo":"a/b","url":"http://h:1"}}}', true],
    ['{"models":{"m":{"repo":"a/b","url":"http://h:1",},},}', true],
    ['{"models":{"m":{"repo":"a/b","url":"http://h:1"}}} # a comment', true],
    ['{"models":{"m":{"repo":"a/b","url":"http://h:1"}}} // a comment', false],
    ['{"models":{"m":{"repo":"a/b","url":"http://h:1"}}} /* a comment */', false],
    ["{'models':{'m':{'repo':'a/b','url':'http://h:1'}}}", true],
  ])('[B178] is YAML, which JSON is a part of and its dialects are not: %s', async (text, works) => {
    const { config } = await load(text);
    expect(config !== null).toBe(works);
    if (config !== null) expect([...config.models.keys()]).toEqual(['m']);
  });
});
