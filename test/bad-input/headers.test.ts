/** Class H: header fields, expectations, upgrades; and several requests on one connection. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBench, type Bench } from './bench.ts';
import { fieldOf, talk, type Answer } from './client.ts';
import { othersAgree } from './others-agree.ts';
import { accepts, refuses, replay, type Accepted, type Case } from './replay.ts';
import type { StrictRequest } from './strict-request.ts';
import { readUnambiguous } from './unambiguous.ts';
import { BODY, get, latin1, ONE_CHUNK, post, sized, withLength } from './write-bytes.ts';

let bench: Bench;
beforeAll(async () => {
  bench = await startBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

const many = (count: number): string[] => Array.from({ length: count }, (_, index) => `x${index}: 1`);
const sent = ({ fields }: StrictRequest, name: string): string | undefined =>
  fields.find(([field]) => field === name)?.[1];

const BOUNDS: readonly Case[] = [
  refuses('[B69] a head of 17 KB', withLength(`X: ${'a'.repeat(17_000)}`), 431, 'header_too_large'),
  refuses('[B69] a name of 17 KB', withLength(`${'a'.repeat(17_000)}: 1`), 431, 'header_too_large'),
  refuses('[B70] 101 fields', get('/v1/models', ...many(100)), 431, 'header_too_large'),
  refuses(
    '[B71] fields that a default would hide behind 1 100 others',
    post([...many(1_100), 'Authorization: Bearer k', `Content-Length: ${BODY.length}`]),
    431,
    'header_too_large',
  ),
  accepts('[B70] exactly a hundred fields', withLength(...many(98))),
];

const REFUSED: readonly Case[] = [
  refuses(
    '[B73] two content types',
    withLength('Content-Type: application/json', 'Content-Type: text/plain'),
    400,
    'invalid_body',
  ),
  refuses(
    '[B73] the same content type twice',
    withLength('Content-Type: application/json', 'content-type: application/json'),
    400,
    'invalid_body',
  ),
  refuses(
    '[B73] two content encodings',
    withLength('Content-Encoding: identity', 'Content-Encoding: gzip'),
    400,
    'invalid_body',
  ),
  ...['y 100-continue', '100-Continue, foo', '100-continue, 100-continue', '100-continue;x=1', '100-continue x'].map(
    (value) =>
      refuses(
        `[B78] the expectation ${JSON.stringify(value)}`,
        withLength(`Expect: ${value}`),
        417,
        'expectation_failed',
      ),
  ),
  refuses('[B79] an expectation that nobody knows', withLength('Expect: foo'), 417, 'expectation_failed'),
  ...['gzip', 'br', 'deflate', 'gzip, identity', 'x-gzip', 'zstd'].map((coding) =>
    refuses(`[B86] a body in ${coding}`, withLength(`Content-Encoding: ${coding}`), 415, 'unsupported_media_type', {
      fate: 'stays',
    }),
  ),
  refuses(
    '[B87] a form on a JSON route',
    withLength('Content-Type: multipart/form-data; boundary=x'),
    415,
    'unsupported_media_type',
    { fate: 'stays' },
  ),
  refuses(
    '[B87] JSON on a form route',
    sized(BODY, '/v1/audio/transcriptions', 'Content-Type: application/json'),
    400,
    'invalid_body',
    { fate: 'stays' },
  ),
  refuses(
    '[B87] JSON in UTF-16, whatever is said of it',
    sized(Buffer.from(BODY, 'utf16le'), undefined, 'Content-Type: application/json; charset=utf-16'),
    400,
    'invalid_json',
    { fate: 'stays' },
  ),
];

const gone = (title: string, names: readonly string[], ...lines: readonly string[]): Accepted =>
  accepts(title, latin1(withLength(...lines)), {
    check: (forwarded) => {
      for (const name of names) expect(sent(forwarded, name), name).toBeUndefined();
    },
  });

const OWN_FRAMING = { check: (forwarded: StrictRequest): void => expect(sent(forwarded, 'content-length')).toBe('16') };

const FORWARDED: readonly Case[] = [
  accepts(
    '[B74] Connection names the framing',
    withLength('Connection: close, content-length, transfer-encoding, host'),
    { fate: 'closes', ...OWN_FRAMING },
  ),
  accepts(
    '[B74] Connection names what the gateway adds',
    withLength('Connection: authorization, x-request-id, content-type, via, host'),
    {
      check: (forwarded) => {
        expect(sent(forwarded, 'content-type')).toBe('application/json');
        expect(sent(forwarded, 'x-request-id')).toMatch(/^req-/);
        expect(sent(forwarded, 'via')).toBe('1.1 vllm-gateway');
      },
    },
  ),
  gone(
    '[B74] Connection names a field of the client',
    ['x-secret', 'x-other'],
    'Connection: x-secret ,\tX-Other',
    'X-Secret: 1',
    'X-Other: 2',
  ),
  gone(
    '[B74] Connection is said twice',
    ['x-secret', 'x-other'],
    'Connection: x-secret',
    'Connection: x-other',
    'X-Secret: 1',
    'X-Other: 2',
  ),
  gone(
    '[B75] fields of one hop',
    ['keep-alive', 'te', 'trailer', 'upgrade'],
    'Keep-Alive: timeout=5',
    'TE: gzip',
    'Trailer: x',
    'Proxy-Connection: keep-alive',
    'Proxy-Authorization: Basic eA==',
    'Upgrade: x',
  ),
  gone(
    '[B76] an upgrade to WebSocket',
    ['upgrade'],
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Key: x',
    'Sec-WebSocket-Version: 13',
  ),
  gone(
    '[B76] an upgrade to HTTP/2',
    ['upgrade', 'http2-settings'],
    'Connection: Upgrade, HTTP2-Settings',
    'Upgrade: h2c',
    'HTTP2-Settings: AAMAAABkAAQAAP__',
  ),
  accepts('[B80] an expectation in HTTP/1.0', withLength('Expect: 100-continue').replace('HTTP/1.1', 'HTTP/1.0'), {
    fate: 'closes',
  }),
  gone(
    '[B81] who came before us',
    ['x-real-ip', 'forwarded'],
    'X-Forwarded-For: 127.0.0.1',
    'X-Forwarded-Proto: https',
    'X-Forwarded-Host: evil',
    'Forwarded: for=127.0.0.1',
    'X-Real-IP: 10.0.0.1',
  ),
  accepts('[B81] Via of others, and our own', withLength('Via: 1.1 vllm-gateway', 'Via: 1.0 proxy'), {
    check: ({ fields }) => expect(fields.filter(([name]) => name === 'via')).toEqual([['via', '1.1 vllm-gateway']]),
  }),
  gone(
    '[B82] fields that only the gateway may set',
    ['x-vllm-priority', 'x-data-parallel-rank'],
    'X-VGW-Model: afar',
    'X-Queue-Depth: 0',
    'X-Vllm-Priority: 1',
    'X-Data-Parallel-Rank: 3',
  ),
  ...['../../x', 'a b', 'x'.repeat(129), '', '%0d%0ax', '{}', 'a,b'].map((id) =>
    accepts(`[B82] the request id ${JSON.stringify(id.slice(0, 12))} is replaced`, withLength(`X-Request-Id: ${id}`), {
      check: ownId,
    }),
  ),
  accepts('[B82] two request ids are replaced', withLength('X-Request-Id: a', 'X-Request-Id: b'), { check: ownId }),
  accepts('[B83] bytes above ASCII in a value', latin1(withLength('X-Name: caf\u00e9 \u00ff')), {
    check: (forwarded) => expect(sent(forwarded, 'x-name')).toBe('caf\u00e9 \u00ff'),
  }),
  accepts(
    '[B84] names that every object has',
    withLength('__proto__: 1', 'constructor: 2', 'hasOwnProperty: 3', 'toString: 4'),
    {
      check: (forwarded) => expect(sent(forwarded, 'constructor')).toBe('2'),
    },
  ),
  gone('[B85] Accept-Encoding', ['accept-encoding'], 'Accept-Encoding: br, gzip'),
  ...['text/plain', 'application/x-www-form-urlencoded', 'application/json; charset=utf-8', 'nonsense', ''].map(
    (type) =>
      accepts(`[B87] a content type of "${type}"`, withLength(`Content-Type: ${type}`), {
        check: (forwarded) => expect(sent(forwarded, 'content-type')).toBe('application/json'),
      }),
  ),
  accepts('[B86] a body that says it is as it is', withLength('Content-Encoding: identity')),
  gone(
    '[B89] ranges and conditions',
    ['range', 'if-none-match', 'if-match', 'cache-control'],
    'Range: bytes=0-1',
    'If-None-Match: "x"',
    'If-Match: *',
    'Cache-Control: no-store',
    'Max-Forwards: 0',
  ),
  gone('[B90] cookies', ['cookie', 'cookie2'], 'Cookie: session=1', 'Cookie2: x'),
  gone(
    '[B72] two credentials, where none is asked for',
    ['x-api-key', 'api-key'],
    'Authorization: Bearer one',
    'Authorization: Bearer two',
    'X-Api-Key: three',
    'Api-Key: four',
  ),
  gone('[B163] the place where a stream broke off', ['last-event-id'], 'Last-Event-ID: 7'),
  gone(
    '[B31] look-alikes of fields that the gateway sets',
    [],
    'X_Request_Id: 1',
    'Content_Type: text/plain',
    'Authorization_: 1',
    'X_Api_Key: k',
    'Transfer_Encoding: chunked',
  ),
];

function ownId(forwarded: StrictRequest, answer: Answer): void {
  expect(sent(forwarded, 'x-request-id')).toMatch(/^req-[\w-]+$/);
  expect(fieldOf(answer, 'x-request-id')).toBe(sent(forwarded, 'x-request-id'));
}

describe('a head beyond its bounds is refused, and no field of it is overlooked', () => {
  it.each(BOUNDS)('$title', (row) => replay(bench, row));
});

describe('what a head must not say is refused', () => {
  it.each(REFUSED)('$title', (row) => replay(bench, row));
});

describe('a head is made anew for the engine [I-64]', () => {
  it.each(FORWARDED)('$title', (row) => replay(bench, row));
});

describe('100 Continue', () => {
  const head = (path: string, ...lines: readonly string[]): Buffer =>
    Buffer.from(
      sized('', path, 'Expect: 100-continue', ...lines)
        .toString()
        .replace('Content-Length: 0', `Content-Length: ${BODY.length}`),
    );

  it.each([
    ['[B77] is not sent for a path that is no route', '/v1/nothing', [], 404],
    ['[B77] is not sent for a body that is compressed', '/v1/chat/completions', ['Content-Encoding: gzip'], 415],
    ['[B77] is not sent to a page of another site', '/v1/chat/completions', ['Origin: https://evil.example'], 403],
  ] as const)('%s, and the connection ends, since the body may come or not', async (_title, path, lines, status) => {
    const { answers, end } = await talk({ port: bench.port, pieces: [head(path, ...lines)], next: () => 'wait' });
    expect([answers.map((answer) => answer.status), end]).toEqual([[status], 'closed']);
    await bench.settle({ upstream: 0, lines: 1 });
  });

  it('[B77] comes once the head is accepted, and the body is read after it', async () => {
    const { answers } = await talk({
      port: bench.port,
      pieces: [head('/v1/chat/completions')],
      next: (soFar) => (soFar.length === 0 ? 'wait' : soFar.length === 1 ? Buffer.from(BODY) : 'enough'),
    });
    expect(answers.map(({ status }) => status)).toEqual([100, 200]);
    await bench.settle({ upstream: 1, lines: 1 });
  });

  it('[B77] does not confuse a client that sends its body at once, and another request behind it', async () => {
    const good = bench.goodRequest();
    const pieces = [Buffer.concat([head('/v1/chat/completions'), Buffer.from(BODY), good.bytes])];
    const { answers } = await talk({
      port: bench.port,
      pieces,
      next: (soFar) => (soFar.length === 3 ? 'enough' : 'wait'),
    });
    expect(answers.map(({ status }) => status)).toEqual([100, 200, 200]);
    expect(answers[2] && good.isAnswer(answers[2])).toBe(true);
    await bench.settle({ upstream: 2, lines: 2 });
  });
});

describe('requests of one connection', () => {
  it('[B43] are answered before the noise behind them is refused', async () => {
    const good = bench.goodRequest();
    const noise = Buffer.from(`${withLength()}${get('/v1/models')}noise noise\r\n\r\n`);
    for (const pieces of [[Buffer.concat([good.bytes, noise])], [good.bytes, noise]]) {
      const { answers, end } = await talk({ port: bench.port, pieces, next: () => 'wait' });
      expect([answers.map(({ status }) => status), end]).toEqual([[200, 200, 200, 400], 'closed']);
      expect(answers[0] && good.isAnswer(answers[0])).toBe(true);
      await bench.settle({ upstream: 2, lines: 4 });
    }
  });

  it('[B43] are answered before one of them whose body breaks off in bad framing', async () => {
    const good = bench.goodRequest();
    const broken = Buffer.from(post(['Transfer-Encoding: chunked'], `${ONE_CHUNK}zz\r\n`));
    const { answers, end } = await talk({
      port: bench.port,
      pieces: [Buffer.concat([good.bytes, broken])],
      next: () => 'wait',
    });
    expect([answers.map(({ status }) => status), end]).toEqual([[200, 400], 'closed']);
    await bench.settle({ upstream: 1, lines: 2 });
  });

  it('[B44] run one after the other and are answered in their order', async () => {
    let open = 0;
    let most = 0;
    const goods = Array.from({ length: 12 }, (_, index) => bench.goodRequest(index % 2 === 0 ? 'near' : 'afar'));
    bench.recorder.script = (request) => {
      most = Math.max(most, ++open);
      setImmediate(() => {
        open--;
        bench.recorder.echo(request);
      });
    };
    const pieces = [Buffer.concat(goods.map(({ bytes }) => bytes))];
    const { answers } = await talk({
      port: bench.port,
      pieces,
      next: (soFar) => (soFar.length === 12 ? 'enough' : 'wait'),
    });
    bench.recorder.behave();
    expect(answers.map((answer, index) => goods[index]?.isAnswer(answer))).toEqual(goods.map(() => true));
    expect(most).toBe(1);
    await bench.settle({ upstream: 12, lines: 12 });
  });

  it('[B44] beyond sixteen that wait end it, and nothing of them is left', async () => {
    const held: (() => void)[] = [];
    bench.recorder.script = (request) => held.push(() => bench.recorder.echo(request));
    const { answers, end } = await talk({
      port: bench.port,
      pieces: [Buffer.from(withLength().repeat(40))],
      next: () => 'wait',
    });
    expect([answers.length, end]).toEqual([0, 'closed']);
    bench.recorder.behave();
    for (const request of bench.recorder.take()) expect(readUnambiguous(request.raw).body.toString()).toBe(BODY);
    for (const answer of held) answer();
    await bench.idle();
    bench.takeLines();
    await bench.settle({ upstream: 0, lines: 0 });
  });
});

othersAgree(() => bench, 10);
