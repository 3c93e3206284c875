/** What engines answer, and when: nothing, too late, errors, too much, or what is not HTTP at all. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { chunk, LAST_CHUNK, plain, STREAM_HEAD } from '../support/rude-upstream.ts';
import { statusOf } from '../support/simulated-fleet.ts';
import { codeOf, HOPS, startTwoHops, type HopName, type TwoHops } from './two-hops.ts';

const FIRST_BYTE_MS = 1_500;
const BETWEEN_MS = 800;
/** Deadlines are looked at four times a second, and this machine may be busy. */
const LATE_MS = 2_000;

let both: TwoHops;
const replicas = new Map<HopName, string>();

beforeAll(async () => {
  both = await startTwoHops({
    // Where tokens are counted, a first byte is waited for as long as they move.
    fault: 'no_counters',
    more: [
      'retry: { attempts: 3, delay: 20ms, factor: 1.5 }',
      `timeouts: { connect: 2s, first_byte: ${FIRST_BYTE_MS}ms, between_chunks: ${BETWEEN_MS}ms }`,
    ].join('\n'),
  });
  for (const hop of HOPS) replicas.set(hop, await both.replicaOf(hop));
});

// Whatever an engine answered, it was not ended for it.
afterEach(async () => {
  await both.recovered();
  for (const hop of HOPS) expect(await both.replicaOf(hop)).toBe(replicas.get(hop));
});

afterAll(async () => {
  await both[Symbol.asyncDispose]();
  await noEngineLeft(both.gateway.gateway.id);
});

it.each(HOPS)(
  '[F9] %s never begins to answer though it is well: 504 in time, no repetition, and others are served meanwhile',
  async (hop) => {
    const before = await both.served(hop);
    const hanging = both.ask(hop, { fake: { fault: 'hang' } });
    await eventually('it is with the engine', async () => (await both.served(hop)) === before + 1);
    expect(await both.ask(hop)).toMatchObject({ status: 200, whole: true });
    const seen = await hanging;
    expect([seen.status, codeOf(seen), seen.headers['x-should-retry']]).toEqual([504, 'upstream_timeout', 'false']);
    expect(seen.tookMs).toBeGreaterThanOrEqual(FIRST_BYTE_MS);
    expect(seen.tookMs).toBeLessThan(FIRST_BYTE_MS + LATE_MS);
    expect(await both.served(hop)).toBe(before + 2);
  },
);

it.each(HOPS)(
  '[F10] %s falls silent in the middle of a stream: one error event in time, and the engine’s work ends',
  async (hop) => {
    both.hops[hop].proxy.toxics = { down: { at: { byte: 1_200, does: 'stall' } } };
    const seen = await both.ask(hop, { stream: true, fake: { tokens: 10_000, token_ms: 10 } });
    expect([seen.status, seen.whole, codeOf(seen)]).toEqual([200, false, 'upstream_timeout']);
    expect(seen.text).not.toContain('[DONE]');
    expect(seen.tookMs).toBeGreaterThanOrEqual(BETWEEN_MS);
    expect(seen.tookMs).toBeLessThan(BETWEEN_MS + LATE_MS);
    await eventually('the engine was let go', () => both.hops[hop].proxy.open === 0);
  },
);

const MANY = 12;

// There is no breaker: an engine that answers is alive, and what it answers is the client's to judge.
it.each(HOPS)(
  '[F12] %s answers every request with 500: each is passed on as it came, none repeated, and the engine stays',
  async (hop) => {
    const body = '{"error":{"message":"odd","type":"InternalServerError","param":null,"code":500}}';
    const rude = await both.script(hop, (_request, socket) => socket.write(plain(500, body)));
    const before = await both.figures();
    for (let count = 0; count < MANY; count += 1) {
      expect(await both.ask(hop, { stream: count % 2 === 0 })).toMatchObject({ status: 500, text: body });
    }
    const after = await both.figures();
    expect(rude.requests).toHaveLength(MANY);
    const failed = { model: hop, outcome: 'upstream_failed' };
    expect(after('requests_total', failed) - before('requests_total', failed)).toBe(MANY);
    expect(after('retries_total') - before('retries_total')).toBe(0);
    expect(after('starts_total') - before('starts_total')).toBe(0);
  },
);

it.each(HOPS)(
  '[F13] %s says 429 or 503: passed on with its own time to come back, or with one of ours; its slots stay as many',
  async (hop) => {
    const slots = (await statusOf(both.gateway)).models[hop]?.max_concurrent;
    for (const status of [429, 503]) {
      const body = `{"error":{"message":"busy","type":"X","param":null,"code":${status}}}`;
      const rude = await both.script(hop, (_request, socket) => socket.write(plain(status, body, ['retry-after: 17'])));
      expect(await both.ask(hop)).toMatchObject({ status, text: body, headers: { 'retry-after': '17' } });
      rude.script = (_request, socket) => socket.write(plain(status, body));
      const own = await both.ask(hop);
      expect([own.status, own.text]).toEqual([status, body]);
      expect(Number(own.headers['retry-after'])).toBeGreaterThanOrEqual(1);
      expect(Number(own.headers['retry-after-ms'])).toBeGreaterThanOrEqual(1_000);
      expect(rude.requests).toHaveLength(2);
    }
    expect((await statusOf(both.gateway)).models[hop]?.max_concurrent).toBe(slots);
  },
);

const OK = 'HTTP/1.1 200 OK\r\n';
const JSON_OF_TWO = 'content-type: application/json\r\ncontent-length: 2\r\n\r\n{}';

/** 502 each, whatever hop; told before anything of it reached the client. */
const NO_ANSWERS: readonly (readonly [row: string, what: string, bytes: string])[] = [
  ['F14', 'a head of 20 KB', `${OK}x: ${'y'.repeat(20_000)}\r\n${JSON_OF_TWO}`],
  ['F14', 'three hundred fields of a hundred bytes', `${OK}${`x-a: ${'y'.repeat(93)}\r\n`.repeat(300)}${JSON_OF_TWO}`],
  ['F14', 'a head without an end', `${OK}${'x: y\r\n'.repeat(20_000)}`],
  ['F15', 'a banner', 'SSH-2.0-OpenSSH_9.6\r\n\r\n'],
  ['F15', 'half a megabyte of noise', 'z'.repeat(500_000)],
  ['F15', 'a status below 100', 'HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n'],
  ['F15', 'a status of 999', 'HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n'],
  ['F15', 'a length and chunks', `${OK}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['F15', 'two lengths', `${OK}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`],
  ['F15', 'a negative length', `${OK}content-length: -2\r\n\r\n{}`],
  ['F15', 'a field without a name', `${OK}: odd\r\n${JSON_OF_TWO}`],
  ['F15', 'a zero byte in a field', `${OK}x: a\0b\r\n${JSON_OF_TWO}`],
  ['F15', 'a compressed answer', `${OK}content-encoding: gzip\r\n${JSON_OF_TWO}`],
  ['F17', 'a switch of protocols', 'HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'],
  ['F17', 'a 100 that nobody asked for', `HTTP/1.1 100 Continue\r\n\r\n${OK}${JSON_OF_TWO}`],
  ['F17', 'two thousand hints', `${'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n'.repeat(2_000)}${OK}${JSON_OF_TWO}`],
];

it.each(HOPS.flatMap((hop) => NO_ANSWERS.map(([row, what, bytes]) => [row, hop, what, bytes] as const)))(
  '[%s] %s sends %s: 502, once, and the connection is not used again',
  async (_row, hop, _what, bytes) => {
    const rude = await both.script(hop, (_request, socket) => socket.write(Buffer.from(bytes, 'latin1')));
    const seen = await both.ask(hop);
    expect([seen.status, codeOf(seen)]).toEqual([502, 'upstream_protocol_error']);
    await rude.until(() => rude.sockets.size === 0);
    expect(rude.requests).toHaveLength(1);
  },
);

it.each(HOPS)(
  '[F15] %s garbles the chunks of its answer: 502 while nothing is told, then one error event; the connection is not used again',
  async (hop) => {
    const garbled = `${OK}content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n`;
    const rude = await both.script(hop, (_request, socket) => socket.write(garbled));
    const atOnce = await both.ask(hop, { stream: true });
    expect([atOnce.status, codeOf(atOnce)]).toEqual([502, expect.stringMatching(/^upstream_(protocol_error|lost)$/)]);
    await rude.until(() => rude.sockets.size === 0);
    const first = 'data: {"choices":[]}\n\n';
    rude.script = (_request, socket) => socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk(first)]));
    const answer = await both.clients.open(hop, { stream: true });
    let text = '';
    const reading = (async () => {
      for await (const piece of answer.body) {
        if (text === '') rude.last.socket.write('zz\r\n');
        text += String(piece);
      }
    })();
    await expect(reading).rejects.toThrow();
    expect(text.startsWith(first)).toBe(true);
    expect(codeOf({ ...answer, text })).toBe('upstream_lost');
    await rude.until(() => rude.sockets.size === 0);
    expect(rude.requests).toHaveLength(2);
  },
);

it.each(HOPS)(
  '[F16] %s sends more than its answer: nothing of it reaches the next client, and the connection is gone',
  async (hop) => {
    const chunked = Buffer.concat([
      Buffer.from(`${OK}transfer-encoding: chunked\r\n\r\n`),
      chunk('{"n":2}'),
      Buffer.from(LAST_CHUNK),
    ]);
    const sound = [plain(200, '{"n":1}'), chunked, plain(200, '{"n":3}')];
    let count = 0;
    const rude = await both.script(hop, (_request, socket) => {
      const answer = sound[count] ?? Buffer.alloc(0);
      count += 1;
      socket.write(count < sound.length ? Buffer.concat([answer, plain(200, '{"stolen":true}')]) : answer);
    });
    for (const n of [1, 2, 3]) {
      const seen = await both.ask(hop);
      // Whoever frames its answer badly may lose it, but never to another client.
      if (seen.status === 200) expect(seen.text).toBe(`{"n":${n}}`);
      else expect([seen.status, codeOf(seen)]).toEqual([502, 'upstream_protocol_error']);
      expect(seen.text).not.toContain('stolen');
    }
    expect(new Set(rude.requests.map(({ connection }) => connection)).size).toBe(3);
  },
);

/** More than the systems of both ends hold for them. */
const LARGE = 'x'.repeat(16 * 1024 * 1024);

it.each(HOPS)('[F18] %s stops to read a request: 504 in time, and nothing of the body is held', async (hop) => {
  both.hops[hop].proxy.toxics = { up: { at: { byte: 50_000, does: 'stall' } } };
  const seen = await both.ask(hop, { body: { messages: [{ role: 'user', content: LARGE }] } });
  expect([seen.status, codeOf(seen), seen.headers['x-should-retry']]).toEqual([504, 'upstream_timeout', 'false']);
  expect(seen.tookMs).toBeGreaterThanOrEqual(FIRST_BYTE_MS);
  expect((await statusOf(both.gateway)).limits.buffered_bytes).toBe(0);
  expect(await both.metric('upstream_connections', { model: hop })).toBe(0);
});

/** Answers as soon as a request begins, and reads no further. */
class HastyServer implements AsyncDisposable {
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  constructor(answer: Buffer) {
    this.#server = createServer({ pauseOnConnect: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('readable', () => {
        socket.read(100);
        socket.write(answer);
      });
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

it.each(HOPS)(
  '[F19] %s answers before it has read the request: the answer is passed on, and the connection is not used again',
  async (hop) => {
    const body = '{"error":{"message":"too large","type":"BadRequestError","param":null,"code":413}}';
    await using server = new HastyServer(plain(413, body));
    const port = await server.listen();
    await both.script(hop, () => undefined);
    const { proxy } = both.hops[hop];
    proxy.target = port;
    const before = proxy.accepted;
    for (let count = 1; count <= 2; count += 1) {
      const seen = await both.ask(hop, { body: { messages: [{ role: 'user', content: LARGE }] } });
      expect([seen.status, seen.text]).toEqual([413, body]);
      expect(proxy.accepted).toBe(before + count);
    }
  },
);
