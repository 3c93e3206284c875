/** Keys, roles and the rules that hold without keys, over the whole listener of a running gateway. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { statusAnswer } from '../../src/admin/contract.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { rawRequest, type RawAnswer } from '../support/raw-http.ts';

const MIRROR = fileURLToPath(new URL('../support/mirror-engine.mjs', import.meta.url));
const messages = [{ role: 'user', content: 'Hello' }];
const models = {
  'team/chat': { repo: 'org/chat', aliases: ['team-chat'], env: QUICK },
  private: { repo: 'org/private', env: QUICK },
  mirror: { repo: 'org/mirror', command: [process.execPath, MIRROR, '${port}'] },
};

interface Seen {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly key: string;
}

function codeOf(answer: RawAnswer): unknown {
  const body = JSON.parse(answer.body.toString()) as { error?: { code?: string } };
  return body.error?.code;
}

/** Bytes as `curl` would send them, with any head one likes. */
function raw(
  gateway: TestGateway,
  method: string,
  path: string,
  head: readonly string[],
  body = '',
): Promise<RawAnswer> {
  const lines = [`${method} ${path} HTTP/1.1`, ...head];
  if (body !== '') lines.push('content-type: application/json', `content-length: ${Buffer.byteLength(body)}`);
  return rawRequest(gateway.port, `${lines.join('\r\n')}\r\nconnection: close\r\n\r\n${body}`);
}

describe('with keys [item 141]', () => {
  let gateway: TestGateway;

  beforeAll(async () => {
    const keys = [
      { id: 'all', key: 'sk-all' },
      { id: 'team', key: 'sk-team', models: ['team/*'] },
      { id: 'meter', key: 'sk-meter', roles: ['metrics'] },
      { id: 'owner', key: 'sk-owner', roles: ['admin'] },
    ];
    gateway = await startTestGateway({
      yaml: gatewayYaml(models, { auth: { keys } }),
      env: { GATEWAY_ADMIN_KEY: 'sk-env-owner' },
      adminKey: 'sk-owner',
    });
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  async function statusFor(path: string, key: string | null, method = 'GET'): Promise<number> {
    const headers: Record<string, string> = key === null ? {} : { authorization: `Bearer ${key}` };
    const response = await fetch(gateway.url + path, {
      method,
      headers: { ...headers, 'content-type': 'application/json' },
      ...(method === 'POST' ? { body: JSON.stringify({ model: 'team/chat', messages }) } : {}),
    });
    await response.text();
    return response.status;
  }

  const routes: readonly (readonly [string, string, Readonly<Record<string, number>>])[] = [
    ['GET', '/healthz', { none: 200, wrong: 200, 'sk-all': 200 }],
    ['GET', '/readyz', { none: 200, wrong: 200 }],
    ['HEAD', '/', { none: 200 }],
    ['GET', '/', { none: 200 }],
    ['GET', '/v1/models', { none: 401, wrong: 401, 'sk-all': 200, 'sk-meter': 403, 'sk-owner': 200 }],
    ['POST', '/v1/chat/completions', { none: 401, 'sk-team': 200, 'sk-meter': 403, 'sk-owner': 200 }],
    ['GET', '/metrics', { none: 401, 'sk-all': 403, 'sk-meter': 200, 'sk-owner': 200, 'sk-env-owner': 200 }],
    ['GET', '/gateway/status', { none: 401, 'sk-all': 403, 'sk-meter': 200, 'sk-owner': 200 }],
    ['GET', '/gateway/events?follow=false', { none: 401, 'sk-all': 403, 'sk-meter': 200, 'sk-owner': 200 }],
    ['GET', '/gateway/config', { none: 401, 'sk-all': 403, 'sk-meter': 403, 'sk-owner': 200, 'sk-env-owner': 200 }],
    ['GET', '/gateway/replicas/x/logs', { none: 401, 'sk-all': 403, 'sk-meter': 403, 'sk-owner': 404 }],
    ['GET', '/gateway/requests/x', { none: 401, 'sk-all': 404, 'sk-meter': 403, 'sk-owner': 404 }],
    ['POST', '/gateway/models/private/pin', { none: 401, 'sk-all': 403, 'sk-meter': 403, 'sk-owner': 202 }],
    ['POST', '/gateway/models/private/unpin', { none: 401, 'sk-all': 403, 'sk-env-owner': 202 }],
  ];

  it.each(routes)('%s %s answers only those who may', async (method, path, expected) => {
    for (const [key, code] of Object.entries(expected)) {
      expect(await statusFor(path, key === 'none' ? null : key === 'wrong' ? 'sk-wrong' : key, method), key).toBe(code);
    }
  });

  it('takes a key in any of the usual forms, and says how when there is none', async () => {
    const host = `host: localhost:${gateway.port}`;
    for (const line of ['Authorization: Bearer sk-all', 'AUTHORIZATION: bearer sk-all', 'X-Api-Key: sk-all']) {
      expect((await raw(gateway, 'GET', '/v1/models', [host, line])).status).toBe(200);
    }
    const refused = await raw(gateway, 'GET', '/v1/models', [host]);
    expect([refused.status, codeOf(refused)]).toEqual([401, 'invalid_api_key']);
    expect(refused.headers).toContainEqual(['www-authenticate', 'Bearer']);
    const twice = await raw(gateway, 'GET', '/v1/models', [host, 'x-api-key: sk-all', 'authorization: Bearer sk-team']);
    expect(twice.status).toBe(401);
  });

  it('shows and serves a key only the models that its globs allow', async () => {
    const headers = { authorization: 'Bearer sk-team', 'content-type': 'application/json' };
    const { data } = (await (await fetch(`${gateway.url}/v1/models`, { headers })).json()) as {
      data: { id: string }[];
    };
    expect(data.map(({ id }) => id)).toEqual(['team/chat', 'team-chat']);
    expect((await fetch(`${gateway.url}/v1/models/private`, { headers })).status).toBe(404);
    for (const [model, code] of [
      ['team-chat', 200],
      ['private', 404],
    ] as const) {
      const body = JSON.stringify({ model, messages });
      expect((await fetch(`${gateway.url}/v1/chat/completions`, { method: 'POST', headers, body })).status).toBe(code);
    }
  });

  it('shows a request only to the key that made it, and to administrators', async () => {
    const headers = {
      authorization: 'Bearer sk-all',
      'content-type': 'application/json',
      'x-request-id': 'asked-by-all',
    };
    const body = JSON.stringify({ model: 'team/chat', messages });
    await (await fetch(`${gateway.url}/v1/chat/completions`, { method: 'POST', headers, body })).text();
    expect(await statusFor('/gateway/requests/asked-by-all', 'sk-all')).toBe(200);
    expect(await statusFor('/gateway/requests/asked-by-all', 'sk-team')).toBe(404);
    expect(await statusFor('/gateway/requests/asked-by-all', 'sk-owner')).toBe(200);
  });

  it('hides addresses of engines from those who may only look [item 136]', async () => {
    const addresses = async (key: string): Promise<unknown[]> => {
      const response = await fetch(`${gateway.url}/gateway/status`, { headers: { authorization: `Bearer ${key}` } });
      const { active_containers: engines } = statusAnswer.parse(await response.json());
      return Object.values(engines).map(({ ip_address: address }) => address);
    };
    expect(await addresses('sk-owner')).toContain('127.0.0.1');
    expect(new Set(await addresses('sk-meter'))).toEqual(new Set([null]));
  });

  it('never lets a client’s credentials reach an engine, nor the key of an engine a client [item 55] [I-65]', async () => {
    const head = [
      `host: localhost:${gateway.port}`,
      'authorization: Bearer sk-all',
      'cookie: session=1',
      'x-kept: yes',
    ];
    const answer = await raw(
      gateway,
      'POST',
      '/v1/chat/completions?api_key=sk-query&api-version=1',
      [...head, 'x-forwarded-for: 10.0.0.1', 'api-key: sk-azure', 'proxy-authorization: Basic c2s='],
      JSON.stringify({ model: 'mirror', messages }),
    );
    const seen = JSON.parse(answer.body.toString()) as Seen;
    expect(seen.key).toMatch(/^[\w-]{32,}$/);
    expect(seen.headers['authorization']).toBe(`Bearer ${seen.key}`);
    expect(seen.headers['x-kept']).toBe('yes');
    expect(seen.url).toBe('/v1/chat/completions?api-version=1');
    const { key: _theirs, ...rest } = seen;
    expect(JSON.stringify(rest).replaceAll(seen.key, '')).not.toMatch(/sk-|session|10\.0\.0\.1|c2s=/);
    expect(answer.headers.map(([name]) => name)).not.toContain('set-cookie');
    expect(answer.headers.flat().join('\n') + gateway.lines.join('\n')).not.toContain(seen.key);
    const pages = ['/gateway/status', '/gateway/config', '/metrics', '/gateway/events?follow=false'];
    for (const page of pages) {
      const response = await fetch(gateway.url + page, { headers: { authorization: 'Bearer sk-owner' } });
      expect(await response.text()).not.toMatch(new RegExp(`${seen.key}|sk-all|sk-team|sk-env`));
    }
    expect(gateway.lines.join('\n')).not.toMatch(/sk-all|sk-team|sk-env|sk-owner|sk-wrong|sk-query/);
  });
});

describe('with keys from the environment [item 141]', () => {
  async function statusFor(gateway: TestGateway, method: string, path: string, key: string): Promise<number> {
    const head = [`host: 127.0.0.1:${gateway.port}`, ...(key === '' ? [] : [`x-api-key: ${key}`])];
    return (await raw(gateway, method, path, head, method === 'POST' ? '{}' : '')).status;
  }

  it('GATEWAY_API_KEYS may ask models, GATEWAY_ADMIN_KEY may do everything', async () => {
    const env = { GATEWAY_API_KEYS: 'sk-env-1, sk-env-2', GATEWAY_ADMIN_KEY: 'sk-env-owner' };
    await using gateway = await startTestGateway({ yaml: gatewayYaml(models), env });
    for (const key of ['sk-env-1', 'sk-env-2', 'sk-env-owner']) {
      expect(await statusFor(gateway, 'GET', '/v1/models', key)).toBe(200);
    }
    expect(await statusFor(gateway, 'GET', '/v1/models', '')).toBe(401);
    expect(await statusFor(gateway, 'GET', '/gateway/status', 'sk-env-1')).toBe(403);
    expect(await statusFor(gateway, 'POST', '/gateway/models/private/unpin', 'sk-env-1')).toBe(403);
    expect(await statusFor(gateway, 'POST', '/gateway/models/private/unpin', 'sk-env-owner')).toBe(202);
  });

  it('GATEWAY_ADMIN_KEY alone guards orders, logs and the configuration, and leaves the models open', async () => {
    const env = { GATEWAY_AUTH: 'none', GATEWAY_ADMIN_KEY: 'sk-env-owner' };
    await using gateway = await startTestGateway({ yaml: gatewayYaml(models), env });
    for (const path of ['/v1/models', '/gateway/status', '/metrics']) {
      expect(await statusFor(gateway, 'GET', path, '')).toBe(200);
    }
    for (const [method, path, found] of [
      ['POST', '/gateway/models/private/unpin', 202],
      ['GET', '/gateway/config', 200],
      ['GET', '/gateway/replicas/x/logs', 404],
    ] as const) {
      expect(await statusFor(gateway, method, path, '')).toBe(401);
      expect(await statusFor(gateway, method, path, 'sk-wrong')).toBe(401);
      expect(await statusFor(gateway, method, path, 'sk-env-owner')).toBe(found);
    }
  });
});

it('a control listener of its own takes everything but health and status away from the clients’ [item 141]', async () => {
  await using gateway = await startTestGateway({ yaml: gatewayYaml(models), server: '  admin_listen: 127.0.0.1:0\n' });
  const statuses = async (url: string, paths: readonly string[]): Promise<number[]> =>
    Promise.all(paths.map(async (path) => (await fetch(url + path)).status));
  const shared = ['/healthz', '/readyz', '/gateway/status'];
  const moved = ['/metrics', '/gateway/config', '/gateway/events?follow=false'];
  const orders = '/gateway/models/private/unpin';
  const control = gateway.adminUrl ?? '';
  expect(await statuses(gateway.url, [...shared, '/v1/models'])).toEqual([200, 200, 200, 200]);
  expect(await statuses(gateway.url, moved)).toEqual([404, 404, 404]);
  expect(await statuses(control, [...shared, ...moved])).toEqual([200, 200, 200, 200, 200, 200]);
  expect(await statuses(control, ['/v1/models'])).toEqual([404]);
  expect((await fetch(gateway.url + orders, { method: 'POST' })).status).toBe(404);
  expect((await fetch(control + orders, { method: 'POST' })).status).toBe(202);
});

describe('without keys on the loopback', () => {
  const evil = 'host: evil.example';
  const origin = 'http://app.example';
  let gateway: TestGateway;
  let host: string;

  beforeAll(async () => {
    gateway = await startTestGateway({
      yaml: gatewayYaml(models),
      server: `  allowed_hosts: [gateway.lan]\n  cors_origins: [${origin}]\n`,
    });
    host = `host: 127.0.0.1:${gateway.port}`;
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  it('a Host that means somebody else is refused, so that no web page rebinds a name to us', async () => {
    for (const path of ['/v1/models', '/gateway/status', '/metrics', '/healthz']) {
      const answer = await raw(gateway, 'GET', path, [evil]);
      expect([path, answer.status, codeOf(answer)]).toEqual([path, 403, 'permission_denied']);
    }
    for (const name of ['localhost', '127.0.0.1', '[::1]', 'gateway.lan', 'LOCALHOST:1']) {
      expect((await raw(gateway, 'GET', '/v1/models', [`host: ${name}`])).status).toBe(200);
    }
    const body = JSON.stringify({ model: 'team/chat', messages });
    expect((await raw(gateway, 'POST', '/v1/chat/completions', [evil], body)).status).toBe(403);
  });

  it('a page of another site may neither ask a model nor give an order', async () => {
    const body = JSON.stringify({ model: 'team/chat', messages });
    const posts = ['/v1/chat/completions', '/v1/messages', '/gateway/models/private/pin'];
    for (const head of ['origin: https://evil.example', 'sec-fetch-site: cross-site', 'origin: null']) {
      for (const path of posts) {
        const answer = await raw(gateway, 'POST', path, [host, head], body);
        expect([path, head, answer.status, codeOf(answer)]).toEqual([path, head, 403, 'permission_denied']);
      }
    }
    const own = `origin: http://127.0.0.1:${gateway.port}`;
    expect((await raw(gateway, 'POST', '/v1/chat/completions', [host, own], body)).status).toBe(200);
    const { models: now } = statusAnswer.parse(await gateway.status());
    expect(now['private']).toMatchObject({ pinned_by: null, state: 'cold' });
  });

  it('an origin that the configuration names is answered, preflight included [item 53]', async () => {
    const asks = [host, `origin: ${origin}`, 'access-control-request-method: POST'];
    const preflight = await raw(gateway, 'OPTIONS', '/v1/chat/completions', [
      ...asks,
      'access-control-request-headers: authorization, x-stainless-os',
    ]);
    expect(preflight.status).toBe(204);
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-allow-headers': 'authorization, x-stainless-os',
    });
    const body = JSON.stringify({ model: 'team/chat', messages });
    const answer = await raw(gateway, 'POST', '/v1/chat/completions', [host, `origin: ${origin}`], body);
    expect(answer.status).toBe(200);
    expect(Object.fromEntries(answer.headers)['access-control-allow-origin']).toBe(origin);
    const foreign = await raw(gateway, 'OPTIONS', '/v1/chat/completions', [host, 'origin: https://evil.example']);
    expect(foreign.headers.map(([name]) => name)).not.toContain('access-control-allow-origin');
  });

  it('orders are taken from this machine, not through a proxy', async () => {
    const pin = (head: readonly string[]): Promise<RawAnswer> =>
      raw(gateway, 'POST', '/gateway/models/private/unpin', [host, ...head], '{}');
    expect((await pin([])).status).toBe(202);
    for (const head of ['forwarded: for=10.0.0.1', 'x-forwarded-for: 10.0.0.1', 'x-real-ip: 10.0.0.1', 'via: 1.1 a']) {
      expect((await pin([head])).status).toBe(403);
    }
    expect((await raw(gateway, 'GET', '/gateway/config', [host, 'via: 1.1 a'])).status).toBe(403);
    expect((await raw(gateway, 'GET', '/gateway/status', [host, 'via: 1.1 a'])).status).toBe(200);
  });

  it('only paths of the table reach an engine [item 54]', async () => {
    const body = JSON.stringify({ model: 'mirror', messages });
    const refused = [
      ...['/sleep', '/wake_up', '/collective_rpc', '/v1/load_lora_adapter', '/pause', '/start_profile', '/invocations'],
      ...['/v1/chat/../../sleep', '/v1/chat/completions/', '//v1/chat/completions', '/v1/chat/completions/batch'],
      ...['/v1/chat%2fcompletions', '/v1/files', '/v2/embed', '/reset_prefix_cache', '/update_weights'],
    ];
    for (const path of refused) {
      const answer = await raw(gateway, 'POST', path, [host], body);
      expect([path, answer.status, codeOf(answer)]).toEqual([path, 404, 'route_not_found']);
    }
    const seen = JSON.parse((await raw(gateway, 'POST', '/rerank', [host], body)).body.toString()) as Seen;
    expect(seen.url).toBe('/v1/rerank');
    expect(seen.headers['host']).not.toContain(String(gateway.port));
  });

  it('a method that a path does not know is told which it knows', async () => {
    const answer = await raw(gateway, 'GET', '/v1/chat/completions', [host]);
    expect([answer.status, codeOf(answer)]).toEqual([405, 'method_not_allowed']);
    expect(Object.fromEntries(answer.headers)['allow']).toBe('POST');
  });
});
