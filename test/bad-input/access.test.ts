/** Class A: who asks, and under which name. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeOf, firstAnswer, startBench, type Bench } from './bench.ts';
import { fieldOf, talk, type Answer } from './client.ts';
import { othersAgree } from './others-agree.ts';
import { accepts, refuses, replay, type Case } from './replay.ts';
import { BODY, get, latin1, sized, withLength } from './write-bytes.ts';

const KEYS = `auth: ${JSON.stringify({
  keys: [
    { id: 'owner', key: 'sk-owner', roles: ['admin'] },
    { id: 'app', key: 'sk-app', models: ['near', 'afar'] },
    { id: 'far', key: 'sk-far', models: ['afar'] },
    { id: 'meter', key: 'sk-meter', roles: ['metrics'] },
  ],
})}`;

let keyed: Bench;
let open: Bench;
beforeAll(async () => {
  keyed = await startBench(KEYS, 'sk-owner');
  open = await startBench();
});
afterAll(async () => {
  await keyed[Symbol.asyncDispose]();
  await open[Symbol.asyncDispose]();
});

async function ask(bench: Bench, bytes: string | Buffer): Promise<Answer> {
  const { answers } = await talk({ port: bench.port, pieces: [Buffer.from(bytes)], next: firstAnswer });
  if (answers[0] === undefined) throw new Error('no answer came');
  return answers[0];
}

const nobody = (title: string, ...lines: readonly string[]): Case =>
  refuses(title, latin1(withLength(...lines)), 401, 'invalid_api_key', {
    fate: 'stays',
    fields: { 'www-authenticate': 'Bearer', 'x-should-retry': 'false' },
  });

const STRANGERS: readonly Case[] = [
  nobody('[B165] no key'),
  nobody('[B165] a wrong key', 'Authorization: Bearer sk-none'),
  nobody('[B165] an empty bearer', 'Authorization: Bearer '),
  nobody('[B165] the scheme alone', 'Authorization: Bearer'),
  nobody('[B165] no space behind the scheme', 'Authorization: Bearersk-app'),
  nobody('[B165] another scheme', 'Authorization: Basic c2stYXBwOg=='),
  nobody('[B165] the key without a scheme', 'Authorization: sk-app'),
  nobody('[B165] the key in another field', 'X-Auth: sk-app'),
  nobody('[B165] the key in an underscored field', 'X_Api_Key: sk-app'),
  refuses(
    '[B165] the key in the query',
    withLength().replace('completions', 'completions?api_key=sk-app&key=sk-app'),
    401,
    'invalid_api_key',
    { fate: 'stays' },
  ),
  nobody(
    '[B72] two credentials, the first of them right',
    'Authorization: Bearer sk-app',
    'Authorization: Bearer sk-none',
  ),
  nobody('[B72] the same credential twice', 'Authorization: Bearer sk-app', 'authorization: Bearer sk-app'),
  nobody('[B72] two credentials in two fields', 'Authorization: Bearer sk-app', 'X-Api-Key: sk-far'),
  nobody('[B166] a key and more', 'Authorization: Bearer sk-app sk-app'),
  nobody('[B166] a list of keys', 'Authorization: Bearer sk-app, Bearer sk-app'),
  nobody('[B166] a key of 10 KB', `Authorization: Bearer ${'k'.repeat(10_240)}`),
  nobody('[B166] a key beyond ASCII', 'Authorization: Bearer schl\u00fcssel'),
  nobody('[B166] a key in another case', 'Authorization: Bearer SK-APP'),
  nobody('[B166] a name that every object has', 'Authorization: Bearer __proto__'),
];

const withKey = (...lines: readonly string[]): string => withLength('Authorization: Bearer sk-app', ...lines);
const without = (secret: string) => ({
  check: (_forwarded: unknown, answer: Answer): void => expect(answer.body.toString()).not.toContain(secret),
});

const FRIENDS: readonly Case[] = [
  accepts('[B165] a key in lower case of the scheme', withLength('authorization: bearer sk-app')),
  accepts('[B165] a key behind several spaces', withLength('Authorization: BEARER    sk-app')),
  accepts('[B165] a key as x-api-key', withLength('X-Api-Key: sk-app'), {
    check: ({ fields }) => expect(fields.map(([name]) => name)).not.toContain('x-api-key'),
  }),
  accepts(
    '[B74] a credential that Connection names is checked before it is taken off',
    withKey('Connection: authorization'),
    without('sk-app'),
  ),
  accepts('[B173] the engine gets the gateway’s key for it, never the client’s', withKey(), {
    check: ({ fields }) => {
      const credential = fields.find(([name]) => name === 'authorization')?.[1] ?? '';
      expect(credential).toMatch(/^(?:Bearer vgw-\w{32,})?$/);
      expect(fields.flat().join(' ')).not.toContain('sk-app');
    },
  }),
];

describe('a stranger is told to bring a key, before the body is looked at', () => {
  it.each(STRANGERS)('$title', (row) => replay(keyed, row));
});

describe('a key lets in whom it belongs to', () => {
  it.each(FRIENDS)('$title', (row) => replay(keyed, row));

  it('[B122] and a model that it may not use does not exist for it', async () => {
    const bytes = sized(BODY, undefined, 'Authorization: Bearer sk-far');
    await replay(keyed, refuses('near', bytes, 404, 'model_not_found', { fate: 'stays' }));
    const told = (await ask(keyed, bytes)).body.toString();
    const absent = (
      await ask(keyed, sized('{"model":"nope"}', undefined, 'Authorization: Bearer sk-far'))
    ).body.toString();
    expect(told.replace('near', 'nope')).toBe(absent);
    expect(absent).not.toContain('near');
    const list = (await ask(keyed, get('/v1/models', 'Authorization: Bearer sk-far'))).body.toString();
    expect(JSON.parse(list)).toMatchObject({ data: [{ id: 'afar' }] });
    await keyed.settle({ upstream: 0, lines: 3 });
  });

  it.each([
    ['[B169] for models gives no orders', 'sk-app', 'POST', '/gateway/models/near/unload', 403],
    ['[B169] for models sees no configuration', 'sk-app', 'GET', '/gateway/config', 403],
    ['[B169] for metrics asks no model', 'sk-meter', 'POST', '/v1/chat/completions', 403],
    ['[B172] for models sees no metrics', 'sk-app', 'GET', '/metrics', 403],
    ['[B172] for metrics sees them', 'sk-meter', 'GET', '/metrics', 200],
    ['[B172] opens nothing that is not there', 'sk-owner', 'GET', '/debug/pprof', 404],
  ] as const)('%s', async (_title, key, method, path, status) => {
    const head = `Authorization: Bearer ${key}`;
    const answer = await ask(keyed, method === 'GET' ? get(path, head) : sized(BODY, path, head));
    expect(answer.status).toBe(status);
    if (status === 403) expect(codeOf(answer)).toBe('permission_denied');
  });

  it.each(['/metrics', '/gateway/status', '/gateway/config', '/gateway/events'])(
    '[B172] and without one %s is closed',
    async (path) => {
      const answer = await ask(keyed, get(path));
      expect([answer.status, codeOf(answer), fieldOf(answer, 'www-authenticate')]).toEqual([
        401,
        'invalid_api_key',
        'Bearer',
      ]);
    },
  );
});

const elsewhere = (title: string, bytes: string): Case =>
  refuses(title, bytes, 403, 'permission_denied', { fate: 'stays' });
const asHost = (host: string): string => withLength().replace('Host: localhost', `Host: ${host}`);

const PAGES: readonly Case[] = [
  elsewhere('[B170] a name that was rebound to this machine', asHost('evil.example')),
  elsewhere('[B170] a name that begins like this machine’s', asHost('localhost.evil.example')),
  elsewhere('[B170] a name that begins like an address', asHost('127.0.0.1.evil.example')),
  elsewhere('[B170] a page of another site', withLength('Origin: https://evil.example')),
  elsewhere('[B170] a page without an origin', withLength('Origin: null')),
  elsewhere('[B170] a page of another port', withLength('Origin: http://localhost:1')),
  elsewhere('[B170] a browser that says it comes from elsewhere', withLength('Sec-Fetch-Site: cross-site')),
  accepts('[B170] this machine by its address', asHost('127.0.0.1:9000')),
  accepts('[B170] this machine by its IPv6 address', asHost('[::1]')),
  accepts('[B170] a page of our own', withLength('Origin: http://localhost')),
];

describe('without keys, what a page of another site makes a browser send is refused', () => {
  it.each(PAGES)('$title', (row) => replay(open, row));

  it.each(['evil.example', 'localhost.evil.example'])(
    '[B170] control under the name %s is refused too',
    async (host) => {
      const bytes = sized('', '/gateway/models/near/unload').toString().replace('Host: localhost', `Host: ${host}`);
      const answer = await ask(open, bytes);
      expect([answer.status, codeOf(answer)]).toEqual([403, 'permission_denied']);
      expect(fieldOf(answer, 'access-control-allow-origin')).toBeUndefined();
    },
  );

  it('[B170] control for a page of another site is refused too', async () => {
    const answer = await ask(open, sized('', '/gateway/models/near/unload', 'Origin: https://evil.example'));
    expect([answer.status, codeOf(answer)]).toEqual([403, 'permission_denied']);
  });
});

othersAgree(() => keyed, 2);
