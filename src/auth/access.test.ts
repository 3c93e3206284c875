import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createAccess } from './access.ts';
import type { AccessOptions } from './access.ts';
import type { Need, Principal, RequestFacts } from './auth.ts';
import { matchesGlob } from './globs.ts';
import { hostOf, isAddressLiteral, isLoopbackAddress, isLoopbackHost } from './addresses.ts';
import type { ApiKey, Role } from '../config/config.ts';

const digest = (key: string): string => createHash('sha256').update(key).digest('hex');
const apiKey = (id: string, key: string, roles: readonly Role[], models: readonly string[] = ['*']): ApiKey => ({
  id,
  digest: digest(key),
  roles,
  models,
});

const ADMIN_KEY = apiKey('admin', 'the-admin-key', ['admin']);
const KEYS = [
  apiKey('app', 'app-key', ['inference'], ['llama*', 'team/?-model']),
  apiKey('scraper', 'scraper-key', ['metrics']),
  apiKey('ops', 'ops-key', ['admin']),
  apiKey('both', 'both-key', ['inference', 'metrics']),
];

function access(auth: Partial<AccessOptions['auth']> = {}, more: Partial<AccessOptions> = {}) {
  return createAccess({
    auth: { keys: [], adminKey: null, explicitNone: true, ...auth },
    allowedHosts: [],
    corsOrigins: [],
    ...more,
  });
}

interface Sent {
  readonly headers?: Readonly<Record<string, string>>;
  readonly lines?: readonly (readonly [string, string])[];
  readonly peer?: string | undefined;
  readonly listener?: 'loopback' | 'open';
  readonly mutating?: boolean;
}

function facts(sent: Sent = {}): RequestFacts {
  const lines: (readonly [string, string])[] = [...Object.entries(sent.headers ?? {}), ...(sent.lines ?? [])];
  if (!lines.some(([name]) => name.toLowerCase() === 'host')) lines.unshift(['Host', '127.0.0.1:9000']);
  return {
    method: sent.mutating ? 'POST' : 'GET',
    headers: Object.fromEntries(lines.map(([name, value]) => [name.toLowerCase(), value])),
    rawHeaders: lines.flat(),
    remoteAddress: 'peer' in sent ? sent.peer : '127.0.0.1',
    loopbackListener: sent.listener !== 'open',
    mutating: sent.mutating ?? false,
  };
}

/** `ok KEY`, or the error's code. */
function verdict(rules: ReturnType<typeof access>, need: Need, sent: Sent = {}): string {
  const answer = rules.check(need, facts(sent));
  return 'error' in answer ? answer.error.code : `ok ${answer.principal.keyId}`;
}

function principal(rules: ReturnType<typeof access>, need: Need, sent: Sent): Principal {
  const answer = rules.check(need, facts(sent));
  if ('error' in answer) throw new Error(answer.error.message);
  return answer.principal;
}

const bearer = (key: string): Sent => ({ headers: { Authorization: `Bearer ${key}` } });

describe('with keys [item 141]', () => {
  const rules = access({ keys: KEYS, adminKey: ADMIN_KEY });

  const ROLES: readonly (readonly [string, Need, string])[] = [
    ['app-key', 'inference', 'ok app'],
    ['app-key', 'metrics', 'permission_denied'],
    ['app-key', 'admin', 'permission_denied'],
    ['scraper-key', 'inference', 'permission_denied'],
    ['scraper-key', 'metrics', 'ok scraper'],
    ['scraper-key', 'admin', 'permission_denied'],
    ['both-key', 'inference', 'ok both'],
    ['both-key', 'metrics', 'ok both'],
    ['both-key', 'admin', 'permission_denied'],
    ['ops-key', 'inference', 'ok ops'],
    ['ops-key', 'metrics', 'ok ops'],
    ['ops-key', 'admin', 'ok ops'],
    ['the-admin-key', 'inference', 'ok admin'],
    ['the-admin-key', 'admin', 'ok admin'],
  ];
  it.each(ROLES)('%s asking for %s gets: %s', (key, need, expected) => {
    expect(verdict(rules, need, bearer(key))).toBe(expected);
  });

  const SPELLINGS: readonly (readonly [string, Sent, string])[] = [
    ['no credential', {}, 'invalid_api_key'],
    ['a wrong key', bearer('wrong'), 'invalid_api_key'],
    ['a key in another case', bearer('APP-KEY'), 'invalid_api_key'],
    ['the digest instead of the key', bearer(digest('app-key')), 'invalid_api_key'],
    ['lower-case bearer', { headers: { authorization: 'bearer app-key' } }, 'ok app'],
    ['upper-case BEARER', { headers: { AUTHORIZATION: 'BEARER app-key' } }, 'ok app'],
    ['several spaces', { headers: { Authorization: 'Bearer   app-key ' } }, 'ok app'],
    ['no space', { headers: { Authorization: 'Bearerapp-key' } }, 'invalid_api_key'],
    ['an empty bearer', { headers: { Authorization: 'Bearer ' } }, 'invalid_api_key'],
    ['only the scheme', { headers: { Authorization: 'Bearer' } }, 'invalid_api_key'],
    ['basic', { headers: { Authorization: 'Basic YXBwLWtleQ==' } }, 'invalid_api_key'],
    ['the bare key', { headers: { Authorization: 'app-key' } }, 'invalid_api_key'],
    ['x-api-key', { headers: { 'x-api-key': 'app-key' } }, 'ok app'],
    ['X-API-Key', { headers: { 'X-API-Key': 'app-key' } }, 'ok app'],
    ['an empty x-api-key', { headers: { 'x-api-key': '' } }, 'invalid_api_key'],
    ['an empty bearer beside x-api-key', { headers: { Authorization: 'Bearer ', 'x-api-key': 'app-key' } }, 'ok app'],
    ['both headers with one key', { headers: { Authorization: 'Bearer app-key', 'x-api-key': 'app-key' } }, 'ok app'],
    ['two different keys', { headers: { Authorization: 'Bearer app-key', 'x-api-key': 'ops-key' } }, 'invalid_api_key'],
    ['a dummy beside a key', { headers: { Authorization: 'Bearer app-key', 'x-api-key': 'none' } }, 'invalid_api_key'],
    [
      'two authorization lines',
      { lines: [['authorization', 'Bearer app-key'] as const, ['Authorization', 'Bearer ops-key'] as const] },
      'invalid_api_key',
    ],
    [
      'two x-api-key lines',
      { lines: [['x-api-key', 'app-key'] as const, ['X-Api-Key', 'app-key'] as const] },
      'invalid_api_key',
    ],
    ['a key of 10 KB', bearer('k'.repeat(10_240)), 'invalid_api_key'],
    ['a key with spaces', bearer('app-key and more'), 'invalid_api_key'],
    ['a prototype name', bearer('__proto__'), 'invalid_api_key'],
  ];
  it.each(SPELLINGS)('%s', (_, sent, expected) => {
    expect(verdict(rules, 'inference', sent)).toBe(expected);
    // Once more: what was remembered of the first time must not change the answer.
    expect(verdict(rules, 'inference', sent)).toBe(expected);
  });

  it('keys of 10 KB and in UTF-8 work when configured', () => {
    const long = 'k'.repeat(10_240);
    const own = access({ keys: [apiKey('long', long, ['inference']), apiKey('utf8', 'schlüssel', ['inference'])] });
    expect(verdict(own, 'inference', bearer(long))).toBe('ok long');
    // A header carries bytes, which Node hands over as one character each.
    expect(verdict(own, 'inference', bearer(Buffer.from('schlüssel').toString('latin1')))).toBe('ok utf8');
  });

  it('no credential is needed where nothing is shown', () => {
    expect(verdict(rules, 'open')).toBe('ok anonymous');
    expect(principal(rules, 'open', {}).roles.size).toBe(0);
  });

  it('cross-site rules do not apply: a page has no key', () => {
    const sent: Sent = {
      headers: { Host: 'gpu.example', Origin: 'https://evil.example', Authorization: 'Bearer app-key' },
    };
    expect(verdict(rules, 'inference', { ...sent, mutating: true })).toBe('ok app');
  });

  it('being local opens nothing', () => {
    expect(verdict(rules, 'admin', { peer: '127.0.0.1' })).toBe('invalid_api_key');
    expect(verdict(rules, 'metrics', { peer: '::1' })).toBe('invalid_api_key');
  });

  it('a key may use the models that its globs name', () => {
    const { mayUse } = principal(rules, 'inference', bearer('app-key'));
    expect(mayUse('llama-8b')).toBe(true);
    expect(mayUse('team/a-model')).toBe(true);
    expect(mayUse('team/ab-model')).toBe(false);
    expect(mayUse('qwen')).toBe(false);
    expect(principal(rules, 'inference', bearer('ops-key')).mayUse('anything/at:all')).toBe(true);
  });

  it('[B122] the message never says whether a key exists, nor repeats it', () => {
    const answer = rules.check('inference', facts(bearer('sk-my-typo')));
    expect('error' in answer && answer.error.message).not.toContain('sk-my-typo');
  });
});

describe('without keys', () => {
  const HOSTS: readonly (readonly [string, string])[] = [
    ['127.0.0.1:9000', 'ok anonymous'],
    ['127.0.0.1', 'ok anonymous'],
    ['localhost:1', 'ok anonymous'],
    ['LOCALHOST:9000', 'ok anonymous'],
    ['localhost.', 'ok anonymous'],
    ['[::1]:9000', 'ok anonymous'],
    ['[::1]', 'ok anonymous'],
    ['192.168.1.20:9000', 'ok anonymous'],
    ['[fe80::1%25eth0]:9000', 'ok anonymous'],
    ['gateway.lan:8080', 'ok anonymous'],
    ['Gateway.LAN', 'ok anonymous'],
    ['evil.example', 'permission_denied'],
    ['evil.example:9000', 'permission_denied'],
    ['localhost.evil.example', 'permission_denied'],
    ['127.0.0.1.evil.example', 'permission_denied'],
    ['notlocalhost', 'permission_denied'],
    ['localhost:9000@evil.example', 'permission_denied'],
    ['evil.example/@localhost', 'permission_denied'],
    ['999.1.1.1', 'permission_denied'],
    ['[::1].evil.example', 'permission_denied'],
    ['[::1', 'permission_denied'],
    ['', 'permission_denied'],
  ];
  const rules = access({}, { allowedHosts: ['gateway.lan'], corsOrigins: ['https://app.example'] });

  it.each(HOSTS)('[B170] a loopback listener asked as "%s": %s (DNS rebinding)', (host, expected) => {
    for (const need of ['inference', 'metrics', 'open'] as const) {
      expect(verdict(rules, need, { headers: { Host: host } })).toBe(expected);
    }
  });

  it('any name does on a listener that is not loopback', () => {
    expect(verdict(rules, 'inference', { headers: { Host: 'gpu.example' }, listener: 'open', peer: '10.0.0.9' })).toBe(
      'ok anonymous',
    );
  });

  it('a request without a Host header passes: no browser sends one', () => {
    const answer = rules.check('inference', { ...facts(), headers: {} });
    expect('principal' in answer).toBe(true);
  });

  const ORIGINS: readonly (readonly [string, Readonly<Record<string, string>>, string])[] = [
    ['none (curl, SDKs)', {}, 'ok anonymous'],
    ['its own page', { Origin: 'http://127.0.0.1:9000' }, 'ok anonymous'],
    [
      'its own page, sent as same-origin',
      { Origin: 'http://127.0.0.1:9000', 'Sec-Fetch-Site': 'same-origin' },
      'ok anonymous',
    ],
    ['its own page behind TLS', { Host: 'localhost', Origin: 'https://localhost' }, 'ok anonymous'],
    ['its own page, port spelt out', { Host: 'localhost:80', Origin: 'http://localhost' }, 'ok anonymous'],
    ['IPv6', { Host: '[::1]:9000', Origin: 'http://[::1]:9000' }, 'ok anonymous'],
    ['an allowed origin', { Origin: 'https://app.example', 'Sec-Fetch-Site': 'cross-site' }, 'ok anonymous'],
    ['typed into the address bar', { 'Sec-Fetch-Site': 'none' }, 'ok anonymous'],
    ['another port', { Origin: 'http://127.0.0.1:3000' }, 'permission_denied'],
    ['another site', { Origin: 'https://evil.example' }, 'permission_denied'],
    ['another site that spells ours', { Origin: 'http://127.0.0.1:9000.evil.example' }, 'permission_denied'],
    ['null (sandbox, file)', { Origin: 'null' }, 'permission_denied'],
    ['another scheme', { Origin: 'chrome-extension://127.0.0.1:9000' }, 'permission_denied'],
    ['no origin, but cross-site', { 'Sec-Fetch-Site': 'cross-site' }, 'permission_denied'],
    ['a part of an allowed origin', { Origin: 'https://app.example.evil' }, 'permission_denied'],
  ];
  it.each(ORIGINS)('a mutating request whose origin is %s', (_, headers, expected) => {
    expect(verdict(rules, 'inference', { headers, mutating: true })).toBe(expected);
    expect(verdict(rules, 'admin', { headers, mutating: true })).toBe(expected);
  });

  it('reading is not bound to an origin: the browser keeps the answer from the page', () => {
    expect(verdict(rules, 'metrics', { headers: { Origin: 'https://evil.example' } })).toBe('ok anonymous');
  });

  it('cors_origins "*" allows every origin', () => {
    const open = access({}, { corsOrigins: ['*'] });
    expect(verdict(open, 'inference', { headers: { Origin: 'https://any.example' }, mutating: true })).toBe(
      'ok anonymous',
    );
  });

  it('whatever key a client sends is ignored', () => {
    for (const sent of [bearer('sk-dummy'), { headers: { 'x-api-key': 'a', Authorization: 'Bearer b' } }]) {
      expect(verdict(rules, 'inference', sent)).toBe('ok anonymous');
    }
  });
});

describe('control without keys [item 141]', () => {
  const PEERS: readonly (readonly [string, string | undefined, Readonly<Record<string, string>>, string])[] = [
    ['IPv4 loopback', '127.0.0.1', {}, 'ok anonymous'],
    ['another loopback address', '127.8.9.1', {}, 'ok anonymous'],
    ['IPv6 loopback', '::1', {}, 'ok anonymous'],
    ['IPv4-mapped loopback', '::ffff:127.0.0.1', {}, 'ok anonymous'],
    ['IPv4-mapped loopback in capitals', '::FFFF:127.0.0.1', {}, 'ok anonymous'],
    ['IPv4-mapped private', '::ffff:10.0.0.7', {}, 'permission_denied'],
    ['a private address', '172.17.0.1', {}, 'permission_denied'],
    ['a public address', '203.0.113.5', {}, 'permission_denied'],
    ['one that looks like loopback', '127.0.0.1.example', {}, 'permission_denied'],
    ['an unknown peer', undefined, {}, 'permission_denied'],
    ['a proxy: Forwarded', '127.0.0.1', { Forwarded: 'for=10.0.0.1' }, 'permission_denied'],
    ['a proxy: X-Forwarded-For', '127.0.0.1', { 'X-Forwarded-For': '127.0.0.1' }, 'permission_denied'],
    ['a proxy: X-Forwarded-Proto', '::1', { 'X-Forwarded-Proto': 'https' }, 'permission_denied'],
    ['a proxy: X-Real-IP', '127.0.0.1', { 'X-Real-IP': '127.0.0.1' }, 'permission_denied'],
    ['a proxy: Via', '127.0.0.1', { Via: '1.1 caddy' }, 'permission_denied'],
    ['a proxy: empty Via', '127.0.0.1', { Via: '' }, 'permission_denied'],
  ];
  it.each(PEERS)('%s', (_, peer, headers, expected) => {
    for (const listener of ['loopback', 'open'] as const) {
      expect(verdict(access(), 'admin', { peer, headers, listener, mutating: true })).toBe(expected);
    }
  });

  it('a loopback peer under a rebound name is a browser, on any listener', () => {
    const sent: Sent = { headers: { Host: 'evil.example:9000', Origin: 'http://evil.example:9000' }, mutating: true };
    expect(verdict(access(), 'admin', { ...sent, listener: 'open' })).toBe('permission_denied');
    expect(verdict(access(), 'admin', { ...sent, listener: 'loopback' })).toBe('permission_denied');
  });

  it('a page of another site reads no logs through a loopback browser', () => {
    expect(verdict(access(), 'admin', { headers: { 'Sec-Fetch-Site': 'cross-site' } })).toBe('permission_denied');
  });

  const ADMIN: readonly (readonly [string, Need, Sent, string])[] = [
    ['control with it', 'admin', { ...bearer('the-admin-key'), peer: '10.0.0.1', listener: 'open' }, 'ok admin'],
    ['control with it as x-api-key', 'admin', { headers: { 'x-api-key': 'the-admin-key' } }, 'ok admin'],
    [
      'control with it under any name',
      'admin',
      { headers: { Host: 'x.example', 'x-api-key': 'the-admin-key' } },
      'ok admin',
    ],
    ['control without it', 'admin', { peer: '10.0.0.1', listener: 'open' }, 'invalid_api_key'],
    ['control without it, locally', 'admin', { peer: '127.0.0.1' }, 'invalid_api_key'],
    ['control with another', 'admin', bearer('wrong'), 'invalid_api_key'],
    [
      'control with two',
      'admin',
      { headers: { Authorization: 'Bearer the-admin-key', 'x-api-key': 'other' } },
      'invalid_api_key',
    ],
    ['inference without it', 'inference', { peer: '10.0.0.1', listener: 'open' }, 'ok anonymous'],
    [
      'inference with a dummy',
      'inference',
      { ...bearer('sk-dummy'), peer: '10.0.0.1', listener: 'open' },
      'ok anonymous',
    ],
    ['status without it', 'metrics', { peer: '10.0.0.1', listener: 'open' }, 'ok anonymous'],
    ['status with it', 'metrics', bearer('the-admin-key'), 'ok admin'],
  ];
  it.each(ADMIN)('GATEWAY_ADMIN_KEY guards only what is refused without it: %s', (_, need, sent, expected) => {
    expect(verdict(access({ adminKey: ADMIN_KEY }), need, sent)).toBe(expected);
  });
});

describe('globs', () => {
  const GLOBS: readonly (readonly [string, string, boolean])[] = [
    ['*', '', true],
    ['*', 'org/model', true],
    ['a*', 'abc', true],
    ['a*c', 'ac', true],
    ['a*c', 'abcd', false],
    ['*b*', 'abc', true],
    ['?', 'a', true],
    ['?', '', false],
    ['a?c', 'abc', true],
    ['', '', true],
    ['', 'a', false],
    ['A', 'a', false],
    ['a.c', 'abc', false],
    ['a**c', 'abbc', true],
    ['*aab', 'aaaab', true],
  ];
  it.each(GLOBS)('"%s" on "%s": %s', (pattern, text, expected) => {
    expect(matchesGlob(pattern, text)).toBe(expected);
  });

  it('stay linear where a regular expression would explode', () => {
    expect(matchesGlob('*a'.repeat(40) + 'b', 'a'.repeat(5_000))).toBe(false);
  });
});

describe('addresses', () => {
  it('are told apart from names', () => {
    expect(hostOf('Example.COM:80')).toBe('example.com');
    expect(hostOf('[2001:DB8::1]:443')).toBe('2001:db8::1');
    expect(hostOf('a b')).toBeUndefined();
    expect(isAddressLiteral('10.1.2.3')).toBe(true);
    expect(isAddressLiteral('2001:db8::1')).toBe(true);
    expect(isAddressLiteral('abc')).toBe(false);
  });

  it('on loopback are known in every spelling', () => {
    expect(['127.0.0.1', '::1', '[::1]', 'localhost', 'LOCALHOST', '127.1.2.3'].every(isLoopbackHost)).toBe(true);
    expect(['0.0.0.0', '::', '[::]', '10.0.0.1', 'gateway.lan'].some(isLoopbackHost)).toBe(false);
    expect(isLoopbackAddress('::ffff:127.0.0.1')).toBe(true);
    expect(isLoopbackAddress(undefined)).toBe(false);
  });
});
