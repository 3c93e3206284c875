/** Bodies and names that strangers may send, and several requests on one connection. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createProxyBench, proxyModel, proxySettings, type ProxyBench } from '../../test/support/proxy-bench.ts';
import { rawRequest } from '../../test/support/raw-http.ts';
import { plain } from '../../test/support/rude-upstream.ts';
import { BODY, converse, get, refused, sized, withLength } from '../../test/support/stranger.ts';
import { MAX_PIPELINED } from './limits.ts';

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

describe('bodies and models', () => {
  it.each<readonly [string, string]>([
    ['', 'invalid_json'],
    ['{"model":"tiny"', 'invalid_json'],
    ['{"model":"tiny"}\n{"model":"tiny"}', 'invalid_json'],
    ['[]', 'invalid_body'],
    ['{}', 'model_missing'],
    ['{"model":1}', 'model_invalid'],
    ['{"model":""}', 'model_invalid'],
    ['{"model":"tiny","model":"tiny"}', 'model_ambiguous'],
  ])('B91–B114 %j is refused [item 26]', async (body, code) => {
    await refused(bench, sized(body), 400, code);
  });

  it.each([
    ...[
      'nope',
      'TINY',
      'tiny ',
      'tiny.',
      '../../etc/passwd',
      '..\\..',
      '/',
      'C:\\',
      'constructor',
      '__proto__',
      'toString',
    ],
    ...[
      'tiny:latest',
      'tiny@main',
      'tiny%2e',
      '$(reboot)',
      '; rm -rf',
      '--flag',
      'ti\u0000ny',
      'ti\u200bny',
      'ｔｉｎｙ',
      'x\r\ny: z',
    ],
  ])('B98 B115–B121 the model %j is unknown [item 26]', async (model) => {
    const answer = await refused(bench, sized(JSON.stringify({ model })), 404, 'model_not_found');
    expect(answer.headers.length).toBeLessThan(12);
    expect(bench.telemetry.last.model).toBe('unknown');
  });

  it('B116 a name with a slash is a name', async () => {
    expect((await rawRequest(bench.port, sized('{"model":"a/b"}'))).status).toBe(200);
  });

  it('B104 B106 a body may be as large as the limit and no larger', async () => {
    const body = (size: number): string => `{"model":"tiny","x":"${'y'.repeat(size - 23)}"}`;
    expect((await rawRequest(bench.port, sized(body(1_000)))).status).toBe(200);
    bench.engine.requests.length = 0;
    bench.telemetry.records.length = 0;
    await refused(bench, sized(body(1_001)), 413, 'request_too_large');
  });
});

describe('one connection', () => {
  it('B43 answers the request before it refuses the noise behind it', async () => {
    const text = await converse(bench.port, `${withLength()}noise noise\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK[^]*\{"ok":true\}HTTP\/1\.1 400 Bad Request/);
    expect(bench.engine.requests.length).toBe(1);
    await bench.telemetry.ended(2);
    expect(bench.telemetry.records.map(({ status }) => status)).toEqual([200, 400]);
  });

  it('B44 serves pipelined requests one after the other, in order', async () => {
    let open = 0;
    let most = 0;
    const { script } = bench.engine;
    bench.engine.script = (request, socket) => {
      most = Math.max(most, ++open);
      setImmediate(() => {
        open--;
        socket.write(plain(200, `{"n":${JSON.parse(request.body.toString()).n as number}}`));
      });
    };
    const bytes = Array.from({ length: 9 }, (_, n) => sized(JSON.stringify({ model: 'tiny', n }))).join('');
    const text = await converse(bench.port, bytes, (received) => received.includes('{"n":8}'));
    bench.engine.script = script;
    const order = [...text.matchAll(/\{"n":(\d)\}/g)].map(([, n]) => Number(n));
    expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(most).toBe(1);
  });

  it('B44 has what it sent ahead of its answers answered in part, and is told why no more', async () => {
    const text = await converse(bench.port, get('/v1/models').repeat(1_500));
    expect(text.match(/HTTP\/1\.1 200 OK/g)?.length).toBeGreaterThan(MAX_PIPELINED);
    expect(text).toMatch(/HTTP\/1\.1 400 Bad Request[^]*More than 16 requests were sent ahead of their answers/);
    expect(text).toMatch(/connection: close/);
    expect(bench.telemetry.records.at(-1)).toMatchObject({ status: 400, code: 'invalid_body' });
  });

  it('B44 is ended when it pipelines without measure', async () => {
    const gate = bench.gate.decide;
    bench.gate.decide = () => 'wait';
    await converse(bench.port, get('/v1/models') + withLength() + get('/v1/models').repeat(3_000));
    bench.gate.decide = gate;
    expect(bench.telemetry.records.length).toBeLessThan(20);
  });

  it('B164 of HTTP/1.0 ends with its answer', async () => {
    const text = await converse(bench.port, withLength().replace('HTTP/1.1', 'HTTP/1.0'));
    expect(text).toMatch(/^HTTP\/1\.1 200 OK[^]*connection: close[^]*\{"ok":true\}$/i);
  });

  it('is kept alive after a refusal that had a short body', async () => {
    const text = await converse(bench.port, sized('not json') + sized(BODY), (received) =>
      received.includes('{"ok":true}'),
    );
    expect(text).toMatch(/^HTTP\/1\.1 400 [^]*HTTP\/1\.1 200 OK/);
  });
});
