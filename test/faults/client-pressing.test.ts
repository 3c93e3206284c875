/** Clients that take too little or send too much: what the gateway holds for them is bounded, and others are served. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { engineStats, simulatedYaml } from '../support/simulated-fleet.ts';
import { chat, startClientBench, type ClientBench } from './client-bench.ts';

const KIB = 1_024;
const MIB = KIB * KIB;
/** Of one stream, in the gateway itself; what the system holds is its own affair. */
const BUFFERED = 256 * KIB;
const MAX_BODY_MIB = 8;
/** Half of the bytes of the list of models. */
const LISTED = 9_900;

let bench: ClientBench;

beforeAll(async () => {
  const description = `description: ${'d'.repeat(LISTED)}`;
  bench = await startClientBench({
    server: `  max_body_size: ${MAX_BODY_MIB}MiB\n`,
    yaml: `${simulatedYaml([{ name: 'one', keys: ['routes: [/v1/sound]', description] }])}
  two: { url: 'http://127.0.0.1:9', ${description} }`,
  });
  await bench.recovered(['one']);
});

afterEach(() => bench.recovered(['one']));

afterAll(async () => {
  await bench[Symbol.asyncDispose]();
  await noEngineLeft(bench.gateway.gateway.id);
});

/** More than the systems at both hops hold by themselves. */
const LONG = 64 * MIB;

/** Answers with LONG bytes, as fast as they are taken. */
class Fountain implements AsyncDisposable {
  readonly hash = createHash('sha256');
  sent = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor() {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      // Rejects when the connection breaks: then nobody wants it any more.
      socket.once('data', () => void this.#pour(socket).catch(() => undefined));
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  async #pour(socket: Socket): Promise<void> {
    socket.write(`HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: ${LONG}\r\n\r\n`);
    for (let piece = 0; this.sent < LONG && !socket.destroyed; piece += 1) {
      const bytes = Buffer.alloc(64 * KIB, piece % 251);
      this.hash.update(bytes);
      this.sent += bytes.length;
      if (!socket.write(bytes)) await once(socket, 'drain');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

it('[F28] one that reads a byte now and then has its engine wait: little is held for it, and nothing is lost', async () => {
  await using fountain = new Fountain();
  for (const socket of bench.dialled) socket.destroy();
  bench.detour = await fountain.listen();
  const client = bench.client();
  const { socket } = client;
  socket.removeAllListeners('data').pause();
  const hash = createHash('sha256');
  let head: Buffer | null = Buffer.alloc(0);
  let body = 0;
  const take = (data: Buffer): void => {
    let piece = data;
    if (head !== null) {
      head = Buffer.concat([head, data]);
      const end = head.indexOf('\r\n\r\n');
      if (end === -1) return;
      piece = head.subarray(end + 4);
      head = null;
    }
    hash.update(piece);
    body += piece.length;
  };
  socket.write(chat('one').replace('/v1/chat/completions', '/v1/sound'));
  let before = -1;
  await eventually('everything stands still', async () => {
    const byte = socket.read(1) as Buffer | null;
    if (byte !== null) take(byte);
    const still = before === fountain.sent && before > 0;
    before = fountain.sent;
    await new Promise((resolve) => setTimeout(resolve, 100));
    return still;
  });
  expect(fountain.sent).toBeLessThan(LONG);
  expect((await bench.acceptedOf(client)).writableLength).toBeLessThanOrEqual(BUFFERED);
  expect(bench.dialled.at(-1)?.readableLength).toBeLessThanOrEqual(BUFFERED);
  expect(await bench.metric('buffered_bytes')).toBe(0);
  // Others are served by the same model meanwhile.
  bench.detour = null;
  await bench.client(chat('one')).hears('chat.completion');
  socket.on('data', take);
  socket.resume();
  await eventually('all of it came', () => body >= LONG);
  expect([body, hash.digest('hex')]).toEqual([LONG, fountain.hash.digest('hex')]);
});

const PIPELINED = 3_000;
/** One that runs, and those that wait behind it. */
const TAKEN = 17;

it('[F31] one that pipelines thousands of requests has one run at a time, and its connection closed', async () => {
  const before = (await engineStats(bench.gateway, 'one')).inference_requests;
  const client = bench.client(chat('one').repeat(PIPELINED));
  const heard = await client.end;
  expect(heard.match(/HTTP\/1\.1 200/g)?.length ?? 0).toBeLessThanOrEqual(TAKEN);
  await eventually('nothing runs', async () => (await engineStats(bench.gateway, 'one')).running === 0);
  const { inference_requests: asked, max_running: most } = await engineStats(bench.gateway, 'one');
  expect(asked - before).toBeLessThanOrEqual(TAKEN);
  expect(most).toBe(1);
});

it.each([
  ['as many as it may', TAKEN],
  ['without measure', PIPELINED],
])(
  '[F31] one that asks %s and reads slowly: answers come in order, and none is written before those before it are read',
  async (_what, count) => {
    const warnings: string[] = [];
    const warned = (warning: Error): void => void warnings.push(warning.message);
    process.on('warning', warned);
    const ids = Array.from({ length: count }, (_, index) => `pipelined-${index}`);
    const client = bench.client();
    client.socket.pause();
    client.socket.write(
      ids.map((id) => `GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: ${id}\r\n\r\n`).join(''),
    );
    const accepted = await bench.acceptedOf(client);
    let most = 0;
    const write = accepted.write.bind(accepted) as (...all: unknown[]) => boolean;
    accepted.write = (...all: unknown[]) => {
      const ready = write(...all);
      most = Math.max(most, accepted.writableLength);
      return ready;
    };
    client.socket.resume();
    await eventually('it is answered or closed', () => {
      return accepted.destroyed || client.heard.includes(`x-request-id: ${ids.at(-1)}\r\n`);
    });
    process.off('warning', warned);
    const answered = [...client.heard.matchAll(/x-request-id: (\S+)\r\n/g)].map((match) => match[1]);
    expect(answered).toEqual(ids.slice(0, answered.length));
    if (count === TAKEN) expect(answered).toHaveLength(count);
    expect(most).toBeLessThanOrEqual(BUFFERED);
    expect(warnings).toEqual([]);
  },
);

/** What is sent behind a refusal is read for so long, less when it is much. */
const LINGER_MS = 1_000;
const SLACK_MS = 1_000;
const GIB = MIB * KIB;

it.each([
  ['is too large', '/v1/chat/completions', `Content-Length: ${GIB}`, 413],
  ['has nowhere to go', '/v1/nowhere', `Content-Length: ${GIB}`, 404],
  ['never ends', '/v1/nowhere', 'Transfer-Encoding: chunked', 404],
])(
  '[F33] one whose upload %s is told at once and can read it, and little more of it is read',
  async (_what, path, framing, status) => {
    const client = bench.client(`POST ${path} HTTP/1.1\r\nHost: localhost\r\n${framing}\r\n\r\n`);
    await client.hears('"error"');
    expect(client.heard).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(client.heard.toLowerCase()).toContain('connection: close');
    const accepted = await bench.acceptedOf(client);
    const refusedAt = performance.now();
    const piece = framing.startsWith('T') ? `10000\r\n${'x'.repeat(65_536)}\r\n` : 'x'.repeat(65_536);
    let sent = 0;
    const pump = (): void => {
      while (client.socket.writable && sent < GIB) {
        sent += piece.length;
        if (!client.socket.write(piece)) {
          client.socket.once('drain', pump);
          return;
        }
      }
    };
    pump();
    await eventually('the connection is closed', () => accepted.destroyed);
    expect(performance.now() - refusedAt).toBeLessThan(LINGER_MS + SLACK_MS);
    expect(accepted.bytesRead).toBeLessThan(GIB / 8);
    expect(bench.lines().at(-1)).toMatchObject({ status, outcome: 'rejected' });
  },
);

it('[F33] one that is refused and then sends a byte now and then is let go after a second', async () => {
  const client = bench.client(`POST /v1/nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${GIB}\r\n\r\n`);
  await client.hears('"error"');
  const accepted = await bench.acceptedOf(client);
  const refusedAt = performance.now();
  const drip = setInterval(() => client.socket.write('x'), 50);
  await eventually('the connection is closed', () => accepted.destroyed);
  clearInterval(drip);
  const took = performance.now() - refusedAt;
  expect(took).toBeGreaterThan(LINGER_MS / 2);
  expect(took).toBeLessThan(LINGER_MS + SLACK_MS);
});

const LIMIT = 1_500;

it('[F32] idle connections up to the limit hold up nobody; one more is closed at once, the other listener goes on, and room comes back', async () => {
  await using crowded = await startClientBench({
    maxConnections: LIMIT,
    server: '  admin_listen: 127.0.0.1:0\n',
    yaml: 'models:\n  outside: { url: "http://127.0.0.1:9/v1", repo: outside }',
  });
  const idle = Array.from({ length: LIMIT - 1 }, () => crowded.client());
  await eventually('all are accepted', () => crowded.accepted.length === LIMIT - 1);
  const served = crowded.client('GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await served.hears('"outside"');
  const beyond = crowded.client('GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n');
  expect(await beyond.end).toBe('');
  const answer = await fetch(`${crowded.gateway.adminUrl}/gateway/status`);
  expect(answer.status).toBe(200);
  served.socket.write('GET /v1/models/outside HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await served.hears('"object":"model"');
  expect(crowded.accepted.filter(({ destroyed }) => destroyed)).toEqual([]);
  for (const { socket } of idle.slice(0, 10)) socket.destroy();
  await eventually('they are gone', () => crowded.accepted.filter(({ destroyed }) => destroyed).length === 10);
  const later = crowded.client('GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await later.hears('"outside"');
});
