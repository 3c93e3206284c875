import { describe, expect, it } from 'vitest';
import { load } from '../../test/support/load-config.ts';
import { effectiveConfig } from './effective.ts';
import { hideInText } from './hide-secrets.ts';
import { diffConfigs } from './reload-diff.ts';

const SECRETS = `
drivers: { process: { command: [sh, -c, "exec vllm --api-key hidden-1"] } }
models:
  a:
    repo: x/a
    max_model_len: 10
    env:
      HTTPS_PROXY: "http://user:hidden-2@proxy:3128"
      HTTP_PROXY: "http://user:p@hidden-3@proxy:3128"
      DATABASE_URL: "postgres://hidden-4@h/x"
      DB_PASS: hidden-5
      PGPASSWORD: hidden-6
      SENTRY_DSN: "https://hidden-7"
      HF_ENDPOINT: "https://h/x?plain=1&api_key=hidden-8&more=2"
      START: "export HF_TOKEN='hidden-9a hidden-9b'; run --password=hidden-10"
      TOKENIZERS_PARALLELISM: "false"
    extra_args:
      - --override-generation-config
      - '{"temperature": 1, "api_key": "hidden-11"}'
      - '--hf-overrides={"auth_token":"hidden-12","eos": 2}'
      - --media-url
      - "http://u:hidden-13@h/"
      - --auth-tokens
      - hidden-14
      - --max-num-batched-tokens
      - 8k
      - --tokenizer=x/tokenizer
      - "Authorization: Bearer hidden-15"
      - sk-hidden-16-0123456789
  b:
    url: "http://h:1"
    description: "see http://u:hidden-20@wiki"
    request_defaults: { extra_body: { api_key: hidden-21, top_k: 3 }, access_token: hidden-22, max_tokens: 5 }
    metadata: { owners: [{ secret: hidden-23, name: x }] }
  c: { command: [sh, -c, "HF_TOKEN=hidden-30 server --token hidden-31 --port \${port}"], memory: 3GiB }
`;

describe('what has the shape of a secret', () => {
  it('[B193] is not in the configuration in force: proxies, lines for a shell, JSON, queries', async () => {
    const { config } = await load(SECRETS);
    const effective = config && effectiveConfig(config);
    expect(JSON.stringify(effective)).not.toMatch(/hidden/);
    expect(effective).toMatchObject({
      drivers: { process: { command: ['sh', '-c', 'exec vllm --api-key ***'] } },
      models: {
        a: {
          env: {
            HTTPS_PROXY: 'http://***@proxy:3128',
            HTTP_PROXY: 'http://***@proxy:3128',
            HF_ENDPOINT: 'https://h/x?plain=1&api_key=***&more=2',
            START: 'export HF_TOKEN=***; run --password=***',
            TOKENIZERS_PARALLELISM: 'false',
          },
        },
        b: {
          request_defaults: { extra_body: { api_key: '***', top_k: 3 }, access_token: '***', max_tokens: 5 },
          metadata: { owners: [{ secret: '***', name: 'x' }] },
        },
        c: { command: ['sh', '-c', 'HF_TOKEN=*** server --token *** --port ${port}'] },
      },
    });
    expect(effective).toHaveProperty('models.a.extra_args', expect.arrayContaining(['8k', '--tokenizer=x/tokenizer']));
  });

  it.each([
    ['postgresql://u:p/w@h/db', 'postgresql://***@h/db'],
    ['redis://:pw@h', 'redis://***@h'],
    ["curl -H 'x-api-key: abc' u", "curl -H 'x-api-key: ***' u"],
    ['Authorization: Bearer abcdefgh', 'Authorization: Bearer ***'],
    ['Authorization: Basic dTpw', 'Authorization: Basic ***'],
    ['said Basic dTpwYXNz then', 'said Basic *** then'],
    ['https://h/x?sv=1&sig=abc%3D&y=2', 'https://h/x?sv=1&sig=***&y=2'],
    ['export TOKEN="a b"; x', 'export TOKEN=***; x'],
    ['ghp_0123456789abcdef', '***'],
  ])('is found in %s', (text, shown) => {
    expect(hideInText(text)).toBe(shown);
    // What was hidden once is not taken for something else.
    expect(hideInText(shown)).toBe(shown);
  });

  it.each([
    'http://10.0.0.5:8000/v1',
    'http://10.0.0.5:8000/@scope/model',
    'https://h/@scope/x, or me@example.org',
    '--tokenizer hf-internal-testing/tiny --max-num-batched-tokens 8k',
    'MAX_TOKENS=5 PYTHONPATH=/a:/b run --api-key-file /run/secrets/key',
    'A model for basic understanding of keys',
  ])('is not seen in %s', (text) => {
    expect(hideInText(text)).toBe(text);
  });

  it('is looked for in a time that grows with the text alone', () => {
    const begun = performance.now();
    for (const part of ['://a', ' token', '"token":"', '--a-', "'", 'a:'])
      expect(hideInText(`://${part.repeat(100_000)}`).length).toBeGreaterThan(0);
    expect(performance.now() - begun).toBeLessThan(5_000);
  });

  it('is compared when a configuration takes the place of another, and not shown', async () => {
    const before = (await load(SECRETS)).config;
    const after = (await load(SECRETS.replaceAll('hidden', 'another'))).config;
    if (!before || !after) throw new Error('neither has an error');
    const { changed } = diffConfigs(before, after, () => 'same');
    expect(JSON.stringify(changed)).not.toMatch(/hidden|another|\\u0000/);
    expect(changed.map(({ path }) => path)).toEqual([
      'drivers.process.command',
      'models.a.env',
      'models.a.extra_args',
      'models.b.request_defaults',
      'models.b.description',
      'models.b.metadata',
      'models.c.command',
    ]);
    expect(changed.find(({ path }) => path === 'models.c.command')?.to).toEqual([
      'sh',
      '-c',
      'HF_TOKEN=*** --port ${port}',
    ]);
  });

  it.each([
    'auth: { keys: [hidden-key] }',
    'auth: { keys: [4711471147] }',
    'auth: hidden-key',
    'auth: { keys: hidden-key }',
    'models: { m: { url: "http://h:1", headers: "X-Key: hidden-key" } }',
    'models: { m: { url: "http://h:1/?api_key=hidden-key" } }',
    'models: { m: { repo: x/a, env: "HF_TOKEN=hidden-key" } }',
    'models: { m: { repo: x/a, extra_args: "--hf-token hidden-key --seed 3" } }',
    'models: { m: { repo: x/a, image: "https://u:hidden-key@registry/x" } }',
  ])('[B193] is not repeated by the problem of %s', async (written) => {
    const models = written.startsWith('models') ? '' : '\nmodels: { m: { url: "http://h:1" } }';
    const { problems } = await load(`${written}${models}`);
    expect(problems.filter(({ severity }) => severity === 'error')).not.toEqual([]);
    expect(JSON.stringify(problems)).not.toMatch(/hidden|4711/);
  });

  it('a word that means to be `none` is repeated', async () => {
    const { problems } = await load('auth: nonee\nmodels: { m: { url: "http://h:1" } }');
    expect(problems[0]?.message).toMatch(/^"nonee" is not allowed.*none/);
  });
});
