/** Classes U and E: what an engine may answer, byte for byte. A client sees an answer of its own, whole, or an honest error. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { codeOf, MODELS, startBench, type Bench, type Model } from './bench.ts';
import { fieldOf, readAnswers, talk, type Answer } from './client.ts';
import type { Recorded } from './recorder.ts';
import { sized } from './write-bytes.ts';

let bench: Bench;
beforeAll(async () => {
  bench = await startBench();
});
afterAll(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.recorder.behave());

type Ending = 'open' | 'ends' | 'resets';
type Pieces = string | Buffer | readonly (string | Buffer)[];
type Row = readonly [title: string, pieces: Pieces, ending?: Ending | undefined];

const OK = 'HTTP/1.1 200 OK\r\n';
const JSON_TYPE = 'content-type: application/json\r\n';
const plain = (body: string, ...lines: readonly string[]): string =>
  `${OK}${JSON_TYPE}${lines.map((line) => `${line}\r\n`).join('')}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const SSE = `${OK}content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n`;
const chunk = (piece: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${Buffer.byteLength(piece).toString(16)}\r\n`), Buffer.from(piece), Buffer.from('\r\n')]);
const events = (...pieces: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat([Buffer.from(SSE), ...pieces.map(chunk), Buffer.from('0\r\n\r\n')]);

/** As the runner of tests wants them. */
const named = (rows: readonly Row[]): { title: string; row: Row }[] => rows.map((row) => ({ title: row[0], row }));

const bytesOf = (piece: string | Buffer): Buffer => Buffer.from(piece);

/** The engine answers whatever comes so. */
function answerWith(pieces: Pieces, ending: Ending): void {
  const all = typeof pieces === 'string' || Buffer.isBuffer(pieces) ? [Buffer.from(pieces)] : pieces.map(bytesOf);
  bench.recorder.script = ({ socket }: Recorded): void => {
    const write = (at: number): void => {
      const piece = all[at];
      if (piece !== undefined) {
        socket.write(piece);
        setImmediate(() => write(at + 1));
      } else if (ending === 'ends') socket.end();
      else if (ending === 'resets') socket.resetAndDestroy();
    };
    write(0);
  };
}

interface Told {
  readonly answer: Answer | undefined;
  readonly rest: Buffer;
  readonly end: 'open' | 'closed';
}

/** One request while the engine answers so; then one while it works, which must get its own answer. */
async function ask(model: Model, row: Row, more = ''): Promise<Told> {
  bench.takeLines();
  answerWith(row[1], row[2] ?? 'open');
  const bytes = sized(`{"model":"${model}"${more}}`);
  const { answers, rest, end } = await talk({
    port: bench.port,
    pieces: [bytes],
    next: (all) => (all.length > 0 ? 'enough' : 'wait'),
  });
  bench.recorder.behave();
  const good = bench.goodRequest(model);
  const next = await talk({
    port: bench.port,
    pieces: [good.bytes],
    next: (all) => (all.length > 0 ? 'enough' : 'wait'),
  });
  expect(next.answers.map((answer) => good.isAnswer(answer))).toEqual([true]);
  await eventually('both requests have their line', () =>
    bench.gateway.lines.some((line) => line.includes('"msg":"request"')),
  );
  expect(bench.takeLines().length).toBe(2);
  await bench.idle();
  return { answer: answers[0], rest, end };
}

const BROKEN: readonly Row[] = [
  [
    '[B135] a length and chunks',
    `${OK}${JSON_TYPE}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
  ],
  ['[B135] two lengths', plain('{}', 'content-length: 3')],
  ['[B135] the same length twice', plain('{}', 'content-length: 2')],
  ['[B135] a length that is none', `${OK}${JSON_TYPE}content-length: 2x\r\n\r\n{}`],
  ['[B138] the banner of another protocol', 'SSH-2.0-OpenSSH_9.6\r\n'],
  ['[B138] a page without a head', '<html>no</html>\r\n\r\n'],
  ['[B139] a folded field', plain('{}', 'x: a', ' b')],
  ['[B139] a line feed alone', plain('{}').replace('\r\n', '\n')],
  ['[B139] a space before a colon', plain('{}', 'x : a')],
  ['[B139] a NUL in a value', plain('{}', 'x: a\u0000b')],
  ['[B139] a carriage return in the reason', plain('{}').replace('OK', 'O\rK')],
  ['[B141] 100 Continue, which nobody asked for', `HTTP/1.1 100 Continue\r\n\r\n${plain('{}')}`],
  ['[B142] a status below 100', plain('{}').replace('200', '099')],
  ['[B142] a status of two digits', plain('{}').replace('200', '20')],
  ['[B142] a status beyond 599', plain('{}').replace('200', '999')],
  [
    '[B143] interim answers without end [F17]',
    `${'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'.repeat(2_000)}${plain('{}')}`,
  ],
  [
    '[B144] another protocol, which nobody asked for [F17]',
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
  ],
  ['[B145] a head of 20 KB [F14]', plain('{}', `x: ${'a'.repeat(20_000)}`)],
  [
    '[B149] a redirect to an address of the cloud',
    'HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n',
  ],
  [
    '[B149] a redirect that would send the body again',
    'HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n',
  ],
  ['[B140] 304 to a request that has no condition', 'HTTP/1.1 304 Not Modified\r\n\r\n'],
  ['[B150] a compressed answer', plain('{}', 'content-encoding: gzip')],
  ['[B150] a compressed stream', `${OK}content-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n`, 'ends'],
];

const LOST: readonly Row[] = [
  ['[B137] nothing at all', '', 'ends'],
  ['[B137] a reset', '', 'resets'],
  ['[B137] half a status line', 'HTTP/1.1 20', 'ends'],
  ['[B137] half a head', `${OK}${JSON_TYPE}`, 'ends'],
  ['[B160] a stream without an event', events(), 'ends'],
  ['[B160] a stream that ends in its first event', `${SSE}6\r\ndata: \r\n`, 'ends'],
];

describe.each(MODELS)('an answer of %s that is no HTTP', (model) => {
  it.each(named(BROKEN))('$title: 502 upstream_protocol_error', async ({ row }) => {
    const { answer } = await ask(model, row);
    expect([answer?.status, codeOf(answer)]).toEqual([502, 'upstream_protocol_error']);
  });

  it.each(named(LOST))('$title: 502 upstream_lost', async ({ row }) => {
    const { answer } = await ask(model, row);
    expect([answer?.status, codeOf(answer)]).toEqual([502, 'upstream_lost']);
  });

  it('[B136] a chunk size that is none, in front: 502', async () => {
    const { answer } = await ask(model, ['', `${OK}${JSON_TYPE}transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n`]);
    // Servers of others are read by a client that tells of the head before it looks at the body.
    const code = model === 'near' ? 'upstream_protocol_error' : 'upstream_lost';
    expect([answer?.status, codeOf(answer)]).toEqual([502, code]);
  });

  it('[B136] a chunk size that is none, when the client has the first of it: its connection ends in the middle', async () => {
    let engine: Recorded | undefined;
    bench.recorder.script = (request) => {
      engine = request;
      request.socket.write(`${OK}${JSON_TYPE}transfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n`);
    };
    const { answers, rest, end } = await talk({
      port: bench.port,
      pieces: [sized(`{"model":"${model}"}`)],
      next: (_all, soFar) => {
        if (soFar.includes('{"a":')) engine?.socket.write('zz\r\n1}\r\n');
        return 'wait';
      },
    });
    expect([answers.length, end]).toEqual([0, 'closed']);
    expect(rest.toString()).not.toContain('0\r\n\r\n');
  });
});

describe.each(MODELS)('an answer of %s with something behind or beside it', (model) => {
  const SOUND: readonly Row[] = [
    ['[B146] another answer behind it', plain('{"mine":1}') + plain('{"evil":1}')],
    ['[B146] noise behind it', `${plain('{"mine":1}')}noise`],
    ['[B146] another answer behind it, a moment later', [plain('{"mine":1}'), plain('{"evil":1}')]],
    ['[B143] a few interim answers before it', `${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(3)}${plain('{"mine":1}')}`],
  ];

  it.each(named(SOUND))('$title: the client gets its own alone', async ({ row }) => {
    const { answer, rest } = await ask(model, row);
    expect([answer?.status, answer?.body.toString(), rest.length]).toEqual([200, '{"mine":1}', 0]);
  });

  it('[B140] a body where there can be none: it is no answer to anybody [I-69]', async () => {
    const { answer, rest } = await ask(model, ['', 'HTTP/1.1 204 No Content\r\n\r\n{"evil":1}']);
    expect([answer?.status, answer?.body.length, rest.length]).toEqual([204, 0, 0]);
  });

  it('[B147] [B148] fields that are not for clients are taken off', async () => {
    const own = [
      'set-cookie: a=1',
      'server: uvicorn',
      'via: 1.1 x',
      'access-control-allow-origin: *',
      'x-powered-by: x',
    ];
    const { answer } = await ask(model, [
      '',
      plain('{}', ...own, 'connection: x-secret', 'x-secret: v', 'keep-alive: timeout=5', 'openai-version: 1'),
    ]);
    const names = answer?.fields.map(([name]) => name) ?? [];
    for (const name of ['set-cookie', 'server', 'via', 'access-control-allow-origin', 'x-powered-by', 'x-secret'])
      expect(names).not.toContain(name);
    expect(fieldOf(answer, 'openai-version')).toBe('1');
  });
});

const FIRST = 'data: {"choices":[{"delta":{"content":"é😀"}}]}\n\n';
const DONE = 'data: [DONE]\n\n';
const STREAMS: readonly { readonly title: string; readonly pieces: readonly (string | Buffer)[] }[] = (
  [
    [
      '[B151] in chunks of one byte, characters cut',
      ...Array.from(Buffer.from(FIRST + DONE), (byte) => Buffer.from([byte])),
    ],
    ['[B152] with CRLF', FIRST.replaceAll('\n', '\r\n'), DONE.replaceAll('\n', '\r\n')],
    ['[B152] with CR alone', FIRST.replaceAll('\n', '\r'), DONE.replaceAll('\n', '\r')],
    [
      '[B152] with all line ends, and a CR at the end of a chunk',
      'data: {"a":1}\r',
      '\n\r',
      `\ndata: {"b":1}\n\r\n${DONE}`,
    ],
    ['[B153] with comments and pings', ': hello\n\n', 'event: ping\ndata: {}\n\n', FIRST, ':\n\n', DONE],
    ['[B155] with a line of a megabyte', `data: {"x":"${'y'.repeat(1_000_000)}"}\n\n`, DONE],
    ['[B155] with ten megabytes that no line end divides', `data: {"x":"${'y'.repeat(10_000_000)}"}\n\n`, DONE],
    ['[B157] with its end said twice', FIRST, DONE, DONE],
    ['[B157] with blanks around its end', FIRST, 'data:  [DONE] \n\n', DONE],
    ['[B157] with an event behind its end', FIRST, DONE, 'data: {"late":1}\n\n'],
    ['[B161] with a byte order mark in front', '\ufeff', FIRST, DONE],
  ] as readonly (readonly [title: string, ...pieces: readonly (string | Buffer)[]])[]
).map(([title, ...pieces]) => ({ title, pieces }));

describe.each(MODELS)('a stream of %s', (model) => {
  it.each(STREAMS)('$title goes on byte for byte', async ({ title, pieces }) => {
    const { answer } = await ask(model, [title, events(...pieces)], ',"stream":true');
    expect(answer?.body.equals(Buffer.concat(pieces.map(bytesOf)))).toBe(true);
  });

  it('[B151] that arrives byte by byte goes on byte for byte', async () => {
    const bytes = Array.from(events(FIRST, DONE), (byte) => Buffer.from([byte]));
    const { answer } = await ask(model, ['', bytes], ',"stream":true');
    expect(answer?.body.toString()).toBe(FIRST + DONE);
  });

  it('[B157] that lacks its end does not look whole', async () => {
    const { answer, rest, end } = await ask(model, ['', events(FIRST), 'ends'], ',"stream":true');
    expect([answer, end]).toEqual([undefined, 'closed']);
    expect(rest.toString()).toMatch(/é😀[^]*"code":"upstream_lost"/);
    expect(rest.toString()).not.toContain('[DONE]');
  });

  it('[B158] that was asked for, answered with an error: the error with its status', async () => {
    const body = '{"error":{"message":"no","type":"x","param":null,"code":400}}';
    const { answer } = await ask(model, ['', plain(body).replace('200 OK', '400 Bad Request')], ',"stream":true');
    expect([answer?.status, answer?.body.toString()]).toEqual([400, body]);
  });

  it('[B158] that was asked for, answered with a plain body: the plain body', async () => {
    const { answer } = await ask(model, ['', plain('{"a":1}')], ',"stream":true');
    expect([answer?.body.toString(), fieldOf(answer, 'content-type')]).toEqual(['{"a":1}', 'application/json']);
  });

  it('[B159] [B162] that nobody asked for goes on too, under the head of a stream', async () => {
    const { answer } = await ask(model, ['', events(FIRST, DONE)]);
    expect(answer?.body.toString()).toBe(FIRST + DONE);
    const fields = Object.fromEntries(answer?.fields ?? []);
    expect(fields).toMatchObject({
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      'transfer-encoding': 'chunked',
    });
    expect(fields['content-length']).toBeUndefined();
  });

  it('[B164] for a client of HTTP/1.0 ends with its connection, and has no chunks', async () => {
    answerWith(events(FIRST, DONE), 'open');
    const bytes = Buffer.from(sized(`{"model":"${model}","stream":true}`).toString().replace('HTTP/1.1', 'HTTP/1.0'));
    const { rest, end } = await talk({ port: bench.port, pieces: [bytes], next: () => 'wait' });
    expect(end).toBe('closed');
    expect(rest.toString()).toMatch(/\r\nconnection: close\r\n/);
    expect(rest.toString()).not.toContain('transfer-encoding');
    expect(rest.toString().split('\r\n\r\n')[1]).toBe(FIRST + DONE);
    expect(readAnswers(rest).answers.length).toBe(0);
  });
});
