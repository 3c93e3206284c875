/** What strangers may send, byte for byte: framing, targets, headers, models. Each row is one connection. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createProxyBench, proxyModel, proxySettings, type ProxyBench } from '../../test/support/proxy-bench.ts';
import { rawRequest } from '../../test/support/raw-http.ts';
import { plain } from '../../test/support/rude-upstream.ts';
import { BODY, chunked, crlf, field, get, post, refused, withLength } from '../../test/support/stranger.ts';

let bench: ProxyBench;
beforeAll(async () => {
  bench = await createProxyBench({
    settings: proxySettings([proxyModel('tiny'), proxyModel('a/b')], { maxBodySize: 1_000 }),
    script: (_request, socket) => socket.write(plain(200, '{"ok":true}')),
  });
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.engine.requests.length = 0;
  bench.telemetry.records.length = 0;
});

type Row = readonly [name: string, bytes: string | Buffer];

const FRAMING: readonly Row[] = [
  ['B1 length, then chunks', chunked('0\r\n\r\n', 'Content-Length: 5', 'Transfer-Encoding: chunked')],
  ['B2 chunks, then length', chunked('0\r\n\r\n', 'Transfer-Encoding: chunked', 'Content-Length: 5')],
  ['B3 two lengths', withLength('Content-Length: 7')],
  ['B4 the same length twice', withLength(`Content-Length: ${BODY.length}`)],
  ['B5 a list of lengths', post('Content-Length: 1, 1')],
  ...['+1', '-1', '0x1', '1_0', '1e1', '1Z', '', '18446744073709551617'].map((length): Row => [
    `B6 B7 B9 a length of "${length}"`,
    post(`Content-Length: ${length}`),
  ]),
  ['B11 a space before the colon', post('Content-Length : 1')],
  ['B12 no colon', post('Content-Length 1')],
  ...[
    ',chunked',
    'chunked,',
    'identity',
    'xchunked',
    '"chunked"',
    'gzip, chunked',
    'chunked, gzip',
    '\u000bchunked',
  ].map((coding): Row => [
    `B13–B17 B20 a coding of ${JSON.stringify(coding)}`,
    chunked('0\r\n\r\n', `Transfer-Encoding: ${coding}`),
  ]),
  ['B18 chunked twice', chunked('0\r\n\r\n', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
  ['B21 chunks in HTTP/1.0', chunked('0\r\n\r\n', 'Transfer-Encoding: chunked').replace('HTTP/1.1', 'HTTP/1.0')],
  ['B23 a folded header', withLength('X: a', ' b')],
  ['B24 a space before the first header', crlf('POST /v1/chat/completions HTTP/1.1', ' Host: x', '', '')],
  ['B25 bare line feeds', 'GET /v1/models HTTP/1.1\nHost: x\n\n'],
  ['B26 a bare carriage return in a value', get('/v1/models', 'X: a\rb')],
  ['B28 a NUL in a value', get('/v1/models', 'X: a\u0000b')],
  ['B29 an empty header name', get('/v1/models', ': x')],
  ['B30 a header name that is no token', get('/v1/models', 'X(y): z')],
  ...['0x1', '+1', '', '0_2e', 'FFFFFFFFFFFFFFFFF', 'zz'].map((size): Row => [
    `B32 B33 a chunk of size "${size}"`,
    chunked(`${size}\r\nx\r\n0\r\n\r\n`, 'Transfer-Encoding: chunked'),
  ]),
  ['B36 a line feed in a chunk extension', chunked('1;a\nb\r\nx\r\n0\r\n\r\n', 'Transfer-Encoding: chunked')],
  ['B37 chunk lines that end with a line feed', chunked('1\nx\n0\n\n', 'Transfer-Encoding: chunked')],
  ['B38 a chunk without its line end', chunked('1\r\nxXX0\r\n\r\n', 'Transfer-Encoding: chunked')],
  ['B46 the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['B47 a TLS handshake', Buffer.from('16030100c8010000c40303', 'hex')],
  ['B48 noise', Buffer.from(Array.from({ length: 500 }, (_, index) => (index * 7919) % 251))],
];

describe('framing that is not HTTP/1.1 ends the connection with a 400', () => {
  it.each(FRAMING)('%s', async (_name, bytes) => {
    const answer = await refused(bench, bytes, 400);
    expect(field(answer, 'connection')).toBe('close');
  });

  it('B10 a length beyond the limit is refused before the body comes', async () => {
    const answer = await refused(
      bench,
      crlf('POST /v1/chat/completions HTTP/1.1', 'Host: x', 'Content-Length: 9007199254740991', '', ''),
      413,
    );
    expect(field(answer, 'connection')).toBe('close');
  });

  it('B105 a body without a length is refused as soon as it is too long', async () => {
    const pieces = `3e8\r\n"${'x'.repeat(999)}\r\n3e8\r\n${'x'.repeat(1_000)}\r\n`;
    await refused(bench, chunked(pieces, 'Transfer-Encoding: chunked'), 413, 'request_too_large');
  });

  it('B35 chunk extensions of 20 KB are refused', async () => {
    await refused(bench, chunked(`1;${'a'.repeat(20_000)}\r\nx\r\n`, 'Transfer-Encoding: chunked'), 413);
  });

  it('B41 trailers of 20 KB are refused', async () => {
    const trailer = `X: ${'a'.repeat(20_000)}\r\n`;
    await refused(bench, chunked(`0\r\n${trailer}\r\n`, 'Transfer-Encoding: chunked'), 431);
  });
});

describe('framing that is fine is made anew', () => {
  it.each<Row>([
    ['B8 a length with a leading zero', post(`Content-Length: 0${BODY.length}`)],
    [
      'B19 chunks',
      chunked(`8\r\n${BODY.slice(0, 8)}\r\n8\r\n${BODY.slice(8)}\r\n0\r\n\r\n`, 'Transfer-Encoding: CHUNKED'),
    ],
    ['B34 chunk extensions', chunked(`10;a=b\r\n${BODY}\r\n0\r\n\r\n`, 'Transfer-Encoding: chunked')],
    ['B40 trailers', chunked(`10\r\n${BODY}\r\n0\r\nAuthorization: x\r\n\r\n`, 'Transfer-Encoding: chunked')],
    ['B31 look-alikes of framing fields', withLength('Content_Length: 5', 'Transfer_Encoding: chunked')],
    ['B74 hop-by-hop names of framing fields', withLength('Connection: close, content-length, host, content-type')],
    ['B75 hop-by-hop fields', withLength('Keep-Alive: 5', 'TE: gzip', 'Trailer: x', 'Proxy-Authorization: y')],
    ['B76 an upgrade', withLength('Connection: upgrade', 'Upgrade: h2c', 'HTTP2-Settings: AA')],
    ['B60 an absolute target', withLength().replace('/v1', 'http://other.example/v1')],
    ['B87 any content type', withLength('Content-Type: text/plain')],
    ['B89 ranges and conditions', withLength('Range: bytes=0-1', 'If-None-Match: x')],
    ['B84 odd header names', withLength('__proto__: 1', 'constructor: 2')],
    ['B80 an expectation in HTTP/1.0', withLength('Expect: 100-continue').replace('HTTP/1.1', 'HTTP/1.0')],
  ])('%s', async (_name, bytes) => {
    const answer = await rawRequest(bench.port, bytes);
    expect([answer.status, answer.body.toString()]).toEqual([200, '{"ok":true}']);
    const { headers, body, path } = bench.engine.last;
    expect([path, body.toString()]).toEqual(['/v1/chat/completions', BODY]);
    expect(headers.filter(([name]) => name === 'content-length')).toEqual([['content-length', String(BODY.length)]]);
    const names = headers.map(([name]) => name);
    for (const name of [
      'transfer-encoding',
      'content_length',
      'upgrade',
      'te',
      'trailer',
      'keep-alive',
      'expect',
      'range',
    ]) {
      expect(names).not.toContain(name);
    }
    expect(Object.fromEntries(headers)['host']).toBe(new URL(bench.engine.origin).host);
  });

  it('B39 what follows the last chunk is not taken for a second request', async () => {
    await rawRequest(
      bench.port,
      chunked(`10\r\n${BODY}\r\n0\r\nX:POST /v1/chat/completions HTTP/1.1\r\n\r\n`, 'Transfer-Encoding: chunked'),
    );
    expect(bench.engine.requests.length).toBe(1);
  });

  it('B42 nothing is taken after Connection: close', async () => {
    const two = withLength('Connection: close') + withLength();
    const answer = await rawRequest(bench.port, two, { enough: () => false });
    expect(answer.status).toBe(200);
    expect(bench.engine.requests.length).toBe(1);
  });

  it('B45 the body of a GET is thrown away', async () => {
    const answer = await rawRequest(
      bench.port,
      crlf('GET /v1/models HTTP/1.1', 'Host: x', 'Content-Length: 3', '', 'abc'),
    );
    expect(answer.status).toBe(200);
    expect(bench.engine.requests.length).toBe(0);
  });
});

describe('targets and hosts', () => {
  it.each<Row>([
    ['B50 HTTP/2.0 on the request line', get('/v1/models').replace('HTTP/1.1', 'HTTP/2.0')],
    ['B51 HTTP/1.2', get('/v1/models').replace('HTTP/1.1', 'HTTP/1.2')],
    ['B53 tabs', get('/v1/models').replace(/ /, '\t')],
    ['B54 an unknown method', get('/v1/models').replace('GET', 'get')],
    ['B57 no Host', crlf('GET /v1/models HTTP/1.1', '', '')],
    ['B58 two Hosts', get('/v1/models', 'Host: y')],
    ...['a@b', 'a:99999', 'a b', ''].map((host): Row => [
      `B59 a Host of "${host}"`,
      get('/v1/models').replace('Host: x', `Host: ${host}`),
    ]),
    ['B61 GET *', get('*')],
    ['B62 a fragment', get('/v1/models#x')],
    ['B65 a raw byte above ASCII', Buffer.from(get('/v1/models\u00ff'), 'latin1')],
    ['B67 a bad escape', get('/v1/models/%zz')],
    ['B67 an overlong escape', get('/v1/models/%c0%af')],
    ['B73 two content types', withLength('Content-Type: application/json', 'Content-Type: text/plain')],
    ['B73 two content encodings', withLength('Content-Encoding: identity', 'Content-Encoding: gzip')],
  ])('%s is a 400', async (_name, bytes) => {
    await refused(bench, bytes, 400);
  });

  it.each([
    '//v1/models',
    '/v1//models',
    '/./v1/models',
    '/v1/../metrics',
    '/v1/models%2F',
    '/%76%31/models',
    '/v1\\models',
    '/v1/models;x=1',
    '/v1/files',
  ])('B63 B64 B131 %s is no route', async (target) => {
    await refused(bench, get(target), 404, target === '/v1/models%2F' ? undefined : 'route_not_found');
  });

  it('B55 B132 other methods are told what is possible', async () => {
    for (const method of ['TRACE', 'PROPFIND', 'PURGE', 'DELETE', 'GET']) {
      bench.telemetry.records.length = 0;
      const answer = await refused(
        bench,
        get('/v1/chat/completions').replace('GET', method),
        405,
        'method_not_allowed',
      );
      expect(field(answer, 'allow')).toBe('POST');
    }
  });

  it('B56 CONNECT is refused', async () => {
    await refused(bench, crlf('CONNECT x:443 HTTP/1.1', 'Host: x', '', ''), 405);
  });

  it('B66 a very long target is refused', async () => {
    await refused(bench, get(`/${'a'.repeat(17_000)}`), 431, 'header_too_large');
  });

  it('B68 a query does not matter', async () => {
    const many = Array.from({ length: 1_000 }, (_, index) => `a${index}=1`).join('&');
    const answer = await rawRequest(bench.port, withLength().replace('completions', `completions?model=other&${many}`));
    expect(answer.status).toBe(200);
  });
});

describe('headers', () => {
  it('B69 a head of 17 KB is refused', async () => {
    await refused(bench, get('/v1/models', `X: ${'a'.repeat(17_000)}`), 431, 'header_too_large');
  });

  it('B70 B71 more than a hundred fields are refused, and none is overlooked', async () => {
    const fields = (count: number): string[] => Array.from({ length: count }, (_, index) => `x${index}: 1`);
    await refused(bench, get('/v1/models', ...fields(101)), 431);
    bench.telemetry.records.length = 0;
    const hidden = [...fields(1_100), 'Authorization: Bearer k', `Content-Length: ${BODY.length}`];
    await refused(bench, post(...hidden), 431);
    const answer = await rawRequest(bench.port, get('/v1/models', ...fields(98)));
    expect(answer.status).toBe(200);
  });

  it('B77 100 Continue comes after the head was accepted, and only then', async () => {
    const head = (path: string): string =>
      crlf(`POST ${path} HTTP/1.1`, 'Host: x', 'Expect: 100-continue', `Content-Length: ${BODY.length}`, '', '');
    const early = await rawRequest(bench.port, head('/v1/nothing'));
    expect(early.status).toBe(404);
    let sent = false;
    const answer = await rawRequest(bench.port, head('/v1/chat/completions'), {
      enough: (received, socket) => {
        if (!sent && received.includes('100 Continue\r\n\r\n')) {
          sent = true;
          socket.write(BODY);
        }
        return received.includes('{"ok":true}');
      },
    });
    expect(answer.status).toBe(100);
    expect(sent).toBe(true);
    expect(bench.engine.requests.length).toBe(1);
  });

  it.each(['y 100-continue', '100-Continue, foo', 'foo'])('B78 B79 the expectation %j cannot be met', async (value) => {
    const answer = await refused(bench, withLength(`Expect: ${value}`), 417, 'expectation_failed');
    expect(field(answer, 'connection')).toBe('close');
  });

  it.each(['../../x', 'a b', 'x'.repeat(129), ''])('B82 a request id of %j is replaced', async (id) => {
    const answer = await rawRequest(bench.port, withLength(`X-Request-Id: ${id}`));
    expect(field(answer, 'x-request-id')).toMatch(/^req-[\w-]+$/);
    expect(Object.fromEntries(bench.engine.last.headers)['x-request-id']).toBe(field(answer, 'x-request-id'));
  });

  it.each(['gzip', 'br', 'gzip, identity'])('B86 a body in %s is refused', async (coding) => {
    await refused(bench, withLength(`Content-Encoding: ${coding}`), 415, 'unsupported_media_type');
  });

  it('B87 a form on a JSON route is refused, and JSON on a form route', async () => {
    await refused(bench, withLength('Content-Type: multipart/form-data; boundary=x'), 415);
    bench.telemetry.records.length = 0;
    await refused(bench, withLength().replace('chat/completions', 'audio/transcriptions'), 400, 'invalid_body');
  });
});
