import { describe, expect, it } from 'vitest';
import { load, MODEL } from '../../test/support/load-config.ts';

const LEGACY = { ALLOWED_MODELS_JSON: '{"tiny":"a/tiny"}', VLLM_MAX_MODEL_LEN_GLOBAL: '8192' };

describe('who may reach it', () => {
  const open = `${MODEL}\nserver: { listen: "0.0.0.0:9000" }`;

  it('refuses an open listener without keys and names the ways out', async () => {
    const { config, lines } = await load(open);
    expect(config).toBeNull();
    expect(lines).toEqual([
      'error gateway.yaml:2:19: server.listen: 0.0.0.0:9000 is reachable from other machines, and there are no keys; set GATEWAY_API_KEYS or auth.keys, or listen on 127.0.0.1, or say auth: none (GATEWAY_AUTH=none) if everyone may use it',
    ]);
  });

  it('asks the same of the control listener', async () => {
    const { problems } = await load(`${MODEL}\nserver: { admin_listen: "[::]:9001" }`);
    expect(problems.map(({ path, code }) => [path, code])).toEqual([['server.admin_listen', 'open_listener']]);
  });

  it('accepts auth: none in the file as a decision, and warns of it from the environment', async () => {
    const file = await load(`${open}\nauth: none`, { flags: { strict: true } });
    expect(file.problems.map(({ severity, path }) => [severity, path])).toEqual([['info', 'auth']]);
    expect(file.config?.auth).toEqual({ keys: [], adminKey: null, explicitNone: true });
    const image = await load(undefined, { env: { ...LEGACY, GATEWAY_AUTH: 'none', GATEWAY_LISTEN: '0.0.0.0:9000' } });
    expect(image.config?.auth.explicitNone).toBe(true);
    expect(image.lines).toEqual([
      'warning environment: GATEWAY_AUTH: is none: everyone who reaches 0.0.0.0:9000 may use every model; control routes that change something answer 403 until GATEWAY_ADMIN_KEY is set; set GATEWAY_API_KEYS to ask for keys',
    ]);
  });

  it('lets GATEWAY_API_KEYS beat GATEWAY_AUTH=none', async () => {
    const { config, lines } = await load(open, { env: { GATEWAY_AUTH: 'none', GATEWAY_API_KEYS: 'one, two' } });
    expect(lines).toEqual([]);
    expect(config?.auth.explicitNone).toBe(false);
    expect(config?.auth.keys.map(({ id, roles, models }) => [id, roles, models])).toEqual([
      ['env-1', ['inference'], ['*']],
      ['env-2', ['inference'], ['*']],
    ]);
  });

  it('keeps only the digest of a key, however it was written', async () => {
    // printf %s secret | sha256sum
    const digest = '2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b';
    const { config, lines } = await load(
      `${MODEL}\nauth:\n  keys:\n    - { id: a, key: secret }\n    - { id: b, key: "\${OTHER}", roles: [metrics] }\n` +
        `    - { id: c, key: "file:keys/c", models: ["m*"] }\n    - { id: d, key: "sha256:${digest.replaceAll('2', '3').toUpperCase()}" }\n`,
      { env: { OTHER: 'other' }, files: { '/work-folder/keys/c': 'third\n' } },
    );
    expect(lines).toEqual([]);
    expect(config?.auth.keys.map(({ id }) => id)).toEqual(['a', 'b', 'c', 'd']);
    expect(config?.auth.keys[0]?.digest).toBe(digest);
    expect(config?.auth.keys[3]?.digest).toBe(digest.replaceAll('2', '3'));
    const text = JSON.stringify(config, (_, value: unknown) => (value instanceof Map ? [...value] : value));
    for (const secret of ['"secret"', 'other', 'third']) expect(text).not.toContain(secret);
  });

  it('lets a lone admin key guard everything, unless everything else is meant to be open', async () => {
    const alone = await load(open, { env: { GATEWAY_ADMIN_KEY: 'root' } });
    expect(alone.config?.auth.keys).toEqual([alone.config?.auth.adminKey]);
    const meant = await load(open, { env: { GATEWAY_ADMIN_KEY: 'root', GATEWAY_AUTH: 'none' } });
    expect(meant.config?.auth).toMatchObject({ keys: [], explicitNone: true, adminKey: { id: 'admin' } });
  });

  it('warns when keys in the environment guard nothing because the file says none', async () => {
    const { lines } = await load(`${MODEL}\nauth: none`, { env: { GATEWAY_API_KEYS: 'k' } });
    expect(lines).toEqual([
      'warning environment: GATEWAY_API_KEYS: has no effect: auth: none in gateway.yaml goes before it; remove one of the two',
    ]);
  });

  it('warns when a file shuts the image into its own loopback', async () => {
    const { lines } = await load(`${MODEL}\nserver: { listen: 127.0.0.1:9000 }`, {
      env: { GATEWAY_LISTEN: '0.0.0.0:9000' },
    });
    expect(lines[0]).toBe(
      'warning gateway.yaml:2:19: server.listen: a loopback address hides GATEWAY_LISTEN=0.0.0.0:9000: inside a container nothing outside it can connect; remove server.listen from the file',
    );
  });
});
