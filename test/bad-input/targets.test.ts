/** Class T: what is asked of whom. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeOf, startBench, type Bench } from './bench.ts';
import { fieldOf, talk } from './client.ts';
import { othersAgree } from './others-agree.ts';
import { accepts, answers, refuses, replay, type Case } from './replay.ts';
import { BODY, crlf, get, latin1, sized, withLength } from './write-bytes.ts';

let bench: Bench;
beforeAll(async () => {
  bench = await startBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

const bad = (title: string, bytes: string | Buffer): Case => refuses(title, bytes, 400, 'invalid_body');
const unknown = (title: string, target: string): Case =>
  refuses(title, latin1(get(target)), 404, 'route_not_found', { fate: 'stays' });
const withHost = (host: string): string => withLength().replace('Host: localhost', `Host: ${host}`);
const withLine = (line: string): string => withLength().replace('POST /v1/chat/completions HTTP/1.1', line);

const CONNECT = crlf('CONNECT engine:443 HTTP/1.1', 'Host: localhost', '', '');

const LINES: readonly Case[] = [
  bad('[B49] a request without a version', 'GET /\r\n\r\n'),
  bad('[B50] HTTP/2.0 on the request line', withLine('POST /v1/chat/completions HTTP/2.0')),
  bad('[B50] HTTP/0.9 on the request line', withLine('POST /v1/chat/completions HTTP/0.9')),
  bad('[B51] HTTP/1.2', withLine('POST /v1/chat/completions HTTP/1.2')),
  bad('[B51] HTTP/1.10', withLine('POST /v1/chat/completions HTTP/1.10')),
  bad('[B51] a version that overflows', withLine('POST /v1/chat/completions HTTP/4294967297.4294967297')),
  bad('[B51] another protocol’s name', withLine('POST /v1/chat/completions ICE/1.1')),
  bad('[B51] a lower-case name of the protocol', withLine('POST /v1/chat/completions http/1.1')),
  bad('[B53] a tab before the target', withLine('POST\t/v1/chat/completions HTTP/1.1')),
  bad('[B53] a tab behind the target', withLine('POST /v1/chat/completions\tHTTP/1.1')),
  bad('[B54] a lower-case method', withLine('post /v1/chat/completions HTTP/1.1')),
  bad('[B54] an unknown method', withLine('FETCH /v1/chat/completions HTTP/1.1')),
  bad('[B54] a method with a NUL', withLine('PO\u0000ST /v1/chat/completions HTTP/1.1')),
  bad('[B57] no Host', withLength().replace('Host: localhost\r\n', '')),
  bad('[B58] two Hosts that differ', withLength('Host: 127.0.0.1')),
  bad('[B58] the same Host twice', withLength('host: localhost')),
  bad('[B59] a Host with user information', withHost('user@localhost')),
  bad('[B59] a Host whose port is none', withHost('localhost:99999')),
  bad('[B59] a Host of two words', withHost('localhost evil')),
  bad('[B59] a Host that is a list', withHost('localhost, evil')),
  bad('[B59] a Host with a path', withHost('localhost/v1')),
  bad('[B59] an empty Host', withHost('')),
  bad('[B61] an asterisk with a method that knows none', get('*')),
  bad('[B61] a target without its slash', get('v1/models')),
  bad('[B61] a target of another scheme', get('ftp://localhost/v1/models')),
  bad('[B62] a fragment', get('/v1/models#x')),
  bad('[B62] a fragment in an absolute target', get('http://localhost/v1/models#x')),
  bad('[B65] a byte above ASCII', latin1(get('/v1/models\u00ff'))),
  bad('[B65] a NUL', get('/v1/mod\u0000els')),
  bad('[B65] a DEL', get('/v1/mod\u007fels')),
  bad('[B67] an escape that is none', get('/v1/models/%zz')),
  bad('[B67] half an escape', get('/v1/models/%2')),
  bad('[B67] an overlong escape', get('/v1/models/%c0%af')),
  bad('[B67] a surrogate in escapes', get('/v1/models/%ed%a0%80')),
  refuses('[B56] CONNECT', CONNECT, 405, 'method_not_allowed'),
  refuses('[B66] a target of 17 KB', get(`/${'a'.repeat(17_000)}`), 431, 'header_too_large'),
];

const ROUTES: readonly Case[] = [
  unknown('[B63] two slashes at the start', '//v1/models'),
  unknown('[B63] two slashes inside', '/v1//models'),
  unknown('[B63] a dot', '/./v1/models'),
  unknown('[B63] two dots', '/v1/../metrics'),
  unknown('[B63] two dots in front', '/../v1/models'),
  unknown('[B63] a slash at the end', '/v1/chat/completions/'),
  unknown('[B63] another case', '/V1/Models'),
  unknown('[B64] escaped dots', '/v1/%2e%2e/metrics'),
  unknown('[B64] escaped letters', '/%76%31/models'),
  unknown('[B64] an escaped slash', '/v1%2Fmodels'),
  unknown('[B64] an escaped backslash', '/v1%5cmodels'),
  unknown('[B64] a backslash', '/v1\\models'),
  unknown('[B64] an escaped NUL', '/v1/chat/completions%00'),
  unknown('[B64] a path parameter', '/v1/chat/completions;jsessionid=1'),
  unknown('[B131] a route that is not served', '/v1/foo'),
  unknown('[B131] files', '/v1/files'),
  unknown('[B131] images', '/v1/images/generations'),
];

/** Of vLLM's own server: whoever reaches these changes the engine for everybody. */
const DANGEROUS = [
  ...['/sleep', '/wake_up', '/collective_rpc', '/reset_prefix_cache', '/v1/load_lora_adapter', '/pause', '/resume'],
  ...['/v1/unload_lora_adapter', '/start_profile', '/stop_profile', '/update_weights', '/init_weights_update_group'],
  ...['/scale_elastic_ep', '/docs', '/openapi.json', '/server_info', '/load', '/version', '/ping', '/invocations'],
];

const METHODS: readonly Case[] = [
  ...['GET', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'PROPFIND', 'PURGE', 'MKCOL', 'SEARCH'].map((method) =>
    refuses(
      `[B55] [B132] ${method} on an inference route`,
      get('/v1/chat/completions').replace('GET', method),
      405,
      'method_not_allowed',
      {
        fate: 'stays',
        fields: { allow: 'POST' },
      },
    ),
  ),
  refuses(
    '[B55] TRACE on a path that is no route',
    get('/nothing').replace('GET', 'TRACE'),
    405,
    'method_not_allowed',
    {
      fate: 'stays',
      fields: { allow: 'GET, HEAD, POST, OPTIONS' },
    },
  ),
  refuses('[B132] POST on the list of models', sized(BODY, '/v1/models'), 405, 'method_not_allowed', {
    fate: 'stays',
    fields: { allow: 'GET, HEAD' },
  }),
  bad('[B55] TRACK, which the parser does not know', get('/v1/models').replace('GET', 'TRACK')),
  answers('[B55] OPTIONS', get('/v1/chat/completions').replace('GET', 'OPTIONS'), 204),
  answers('[B61] an asterisk with OPTIONS', get('*').replace('GET', 'OPTIONS'), 204),
];

const MANY = Array.from({ length: 1_000 }, (_, index) => `a${index}=1`).join('&');

const SOUND: readonly Case[] = [
  accepts('[B52] two spaces on the request line', withLength().replace('POST ', 'POST  ')),
  accepts('[B60] an absolute target with another authority', withLength().replace('/v1', 'http://other.example/v1'), {
    check: ({ target, fields }) => {
      expect(target).toBe('/v1/chat/completions');
      expect(fields.find(([name]) => name === 'host')?.[1]).toMatch(/^127\.0\.0\.1:\d+$/);
    },
  }),
  accepts('[B60] an absolute target in capitals', withLength().replace('/v1', 'HTTP://LOCALHOST/v1')),
  accepts(
    '[B68] a query that names another model',
    withLength().replace('completions', 'completions?model=afar&stream=true'),
  ),
  accepts('[B68] a query of a thousand parameters', withLength().replace('completions', `completions?${MANY}`)),
  accepts(
    '[B68] a query with a credential',
    withLength().replace('completions', 'completions?api_key=sk-1&x=1&token=t'),
    {
      check: ({ target }) => expect(target).toBe('/v1/chat/completions?x=1'),
    },
  ),
  accepts('[B64] the path to the engine is the table’s, not the client’s', withLength().replace('/v1/chat', '/chat'), {
    check: ({ target }) => expect(target).toBe('/v1/chat/completions'),
  }),
];

describe('a request line or Host that could be read in two ways is refused, and the connection with it', () => {
  it.each(LINES)('$title', (row) => replay(bench, row));
});

describe('a path that is not in the table is no route, however it is spelt', () => {
  it.each(ROUTES)('$title', (row) => replay(bench, row));

  it('[B174] nor is any path of an engine that changes it for everybody', async () => {
    for (const path of DANGEROUS) {
      for (const bytes of [sized(BODY, path), Buffer.from(get(path))]) {
        await replay(bench, refuses(path, bytes, 404, 'route_not_found', { fate: 'stays' }), 'whole');
      }
    }
  });
});

describe('a method is possible or the answer says which is', () => {
  it.each(METHODS)('$title', (row) => replay(bench, row));

  it('[B56] CONNECT behind requests waits until each of them has its own answer', async () => {
    const rounds = 20;
    for (let round = 0; round < rounds; round++) {
      const good = bench.goodRequest();
      const bytes = Buffer.concat([good.bytes, Buffer.from(get('/v1/models') + CONNECT)]);
      const { answers: told, end } = await talk({ port: bench.port, pieces: [bytes], next: () => 'wait' });
      expect([told.map(({ status }) => status), end]).toEqual([[200, 200, 405], 'closed']);
      expect(told[0] && good.isAnswer(told[0])).toBe(true);
      expect([codeOf(told[2]), fieldOf(told[2], 'connection')]).toEqual(['method_not_allowed', 'close']);
    }
    await bench.settle({ upstream: rounds, lines: 3 * rounds });
  });

  it('[B56] a client that resets its CONNECT ends nothing but its connection', async () => {
    const faults: unknown[] = [];
    const note = (fault: unknown): void => void faults.push(fault);
    process.on('uncaughtException', note);
    for (let round = 0; round < 20; round++) {
      const socket = connect({ port: bench.port, host: '127.0.0.1' });
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      socket.write(CONNECT + 'x'.repeat(round));
      socket.resetAndDestroy();
      if (!socket.closed) await once(socket, 'close');
    }
    await bench.settle({ upstream: 0, lines: 20 });
    process.off('uncaughtException', note);
    expect(faults).toEqual([]);
  });
});

describe('what is odd but clear goes on', () => {
  it.each(SOUND)('$title', (row) => replay(bench, row));
});

othersAgree(() => bench, 5);
