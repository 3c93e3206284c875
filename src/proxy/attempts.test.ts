import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { gatewayError } from '../errors.ts';
import type { Clock } from '../platform/platform.ts';
import { createProxyBench, proxyModel, proxySettings, realPlatform } from '../../test/support/proxy-bench.ts';
import { readBroken } from '../../test/support/reading.ts';
import { chunk, plain, stream, STREAM_HEAD, type Script } from '../../test/support/rude-upstream.ts';

const CHAT = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }] };
const STREAMED = { ...CHAT, stream: true };
const EVENTS = ['data: {"choices":[]}\n\n', 'data: [DONE]\n\n'];

interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string; readonly type: string };
}

async function codeOf(answer: Response): Promise<string> {
  return ((await answer.json()) as ErrorBody).error.code;
}

function standStill(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** A port where nothing listens. */
async function deadOrigin(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

describe('an engine that cannot be reached', () => {
  it('is tried as often as configured, then the client is told without an address [S4] [scenario C] [items 47, 49]', async () => {
    const origin = await deadOrigin();
    await using bench = await createProxyBench({ upstream: { origin } });
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(answer.headers.get('x-vgw-attempts')).toBe('3');
    const text = await answer.text();
    expect(text).toContain('upstream_unreachable');
    expect(text).not.toMatch(/127\.0\.0\.1|ECONNREFUSED/);
    expect(bench.telemetry.retries).toEqual(['connect', 'connect']);
    expect(bench.telemetry.last).toMatchObject({
      outcome: 'upstream_failed',
      code: 'upstream_unreachable',
      attempts: 3,
    });
    expect(bench.gate.leases[0]?.outcome).toBe('upstream_failed');
    expect(bench.gate.leases[0]?.retriesAsked).toBe(2);
  });

  it.each([false, true])(
    'is not one whose connection was made while the loop stood still (external: %s)',
    async (external) => {
      const script: Script = (_request, socket) => void socket.write(stream(...EVENTS));
      const connect = 47;
      const model = proxyModel('tiny', { timeouts: { connect, firstByte: 0, betweenChunks: 0, total: 0 } });
      const real = realPlatform();
      const after: Clock['after'] = (delay, run) => {
        // As soon as it waits for its connection.
        if (delay === connect) process.nextTick(standStill, 3 * connect);
        return real.clock.after(delay, run);
      };
      await using bench = await createProxyBench({
        script,
        settings: proxySettings([model]),
        upstream: { external },
        over: { platform: { ...real, clock: { ...real.clock, after } } },
      });
      const answer = await bench.post('/v1/chat/completions', STREAMED);
      expect([answer.status, answer.headers.get('x-vgw-attempts')]).toEqual([200, '1']);
      expect(await answer.text()).toBe(EVENTS.join(''));
    },
  );

  it('is served when a later attempt connects [scenario B] [item 45]', async () => {
    const origin = await deadOrigin();
    await using bench = await createProxyBench({ upstream: { origin } });
    await using alive = await createProxyBench({ script: (_request, socket) => socket.write(stream(...EVENTS)) });
    const { upstream } = bench.gate;
    // The engine comes up between the attempts: same replica, the pool is asked anew.
    Object.defineProperty(upstream, 'origin', {
      get: () => (bench.telemetry.retries.length === 0 ? origin : alive.engine.origin),
    });
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe(EVENTS.join(''));
    expect(answer.headers.get('x-vgw-attempts')).toBe('2');
  });

  it('is not tried again when the budget is spent', async () => {
    await using bench = await createProxyBench({ upstream: { origin: await deadOrigin() } });
    bench.gate.retryBudget = 0;
    expect((await bench.post('/v1/chat/completions', CHAT)).headers.get('x-vgw-attempts')).toBe('1');
  });

  it('is not tried again for a client that has left', async () => {
    const settings = proxySettings([proxyModel('tiny')], {
      retry: { attempts: 3, delay: 60_000, factor: 1, engineDown: true },
    });
    await using bench = await createProxyBench({ settings, upstream: { origin: await deadOrigin() } });
    const client = bench.connect();
    client.write('POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{"model":"tiny"}');
    await bench.gate.until(() => bench.gate.leases.length === 1);
    client.destroy();
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({ outcome: 'client_closed', attempts: 1 });
    await bench.gate.until(() => bench.gate.leases[0]?.outcome === 'client_closed');
  });

  it('and whose exit is known gives the request back to the queue, once', async () => {
    await using bench = await createProxyBench({ upstream: { origin: await deadOrigin() } });
    await using alive = await createProxyBench({
      script: (_request, socket) => socket.write(plain(200, '{"ok":true}')),
    });
    bench.gate.alive = false;
    const pending = bench.post('/v1/chat/completions', CHAT);
    await bench.gate.until(() => bench.gate.waiting.length === 1);
    expect(bench.gate.leases[0]?.outcome).toBe('returned');
    bench.gate.alive = true;
    bench.gate.upstream = { ...bench.gate.upstream, id: 'tiny-2', origin: alive.engine.origin };
    bench.gate.grantNext();
    const answer = await pending;
    expect(await answer.json()).toEqual({ ok: true });
    expect(answer.headers.get('x-vgw-replica')).toBe('tiny-2');
    expect(answer.headers.get('x-vgw-attempts')).toBe('2');
    expect(bench.telemetry.retries).toEqual(['engine_down']);
  });
});

describe('a connection that ends without an answer', () => {
  it('is not tried again on a fresh socket: the engine may have worked', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.resetAndDestroy() });
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(502);
    expect(await codeOf(answer)).toBe('upstream_lost');
    expect(bench.engine.requests.length).toBe(1);
    expect(bench.telemetry.retries).toEqual([]);
  });

  it('is replayed once when the socket had served before [item 48]', async () => {
    await using bench = await createProxyBench({
      script: (request, socket) => {
        if (request.nth > 1) socket.resetAndDestroy();
        else socket.write(plain(200, '{"ok":1}'));
      },
    });
    await (await bench.post('/v1/chat/completions', CHAT)).text();
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(await answer.json()).toEqual({ ok: 1 });
    expect(answer.headers.get('x-vgw-attempts')).toBe('2');
    expect(bench.telemetry.retries).toEqual(['reused_connection']);
    expect(bench.engine.accepted).toBe(2);
  });

  it('is not replayed twice', async () => {
    let requests = 0;
    await using bench = await createProxyBench({
      script: (_request, socket) => {
        if (++requests > 1) socket.resetAndDestroy();
        else socket.write(plain(200, '{}'));
      },
    });
    await (await bench.post('/v1/chat/completions', CHAT)).text();
    expect((await bench.post('/v1/chat/completions', CHAT)).status).toBe(502);
    expect(requests).toBe(3);
  });

  it('is not replayed once a byte of an answer has come', async () => {
    await using bench = await createProxyBench({
      script: (request, socket) => {
        if (request.nth > 1) socket.end('HTTP/1.1 2');
        else socket.write(plain(200, '{}'));
      },
    });
    await (await bench.post('/v1/chat/completions', CHAT)).text();
    expect((await bench.post('/v1/chat/completions', CHAT)).status).toBe(502);
    expect(bench.engine.requests.length).toBe(2);
  });

  it('because the engine exits a moment later goes back to the queue', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => {
        socket.destroy();
        setImmediate(() => (bench.gate.alive = false));
      },
    });
    const pending = bench.post('/v1/chat/completions', CHAT);
    await bench.gate.until(() => bench.gate.waiting.length === 1);
    bench.gate.alive = true;
    bench.engine.script = (_request, socket) => socket.write(plain(200, '{}'));
    bench.gate.grantNext();
    expect((await pending).status).toBe(200);
  });

  it('stays lost where engine_down is off', async () => {
    const settings = proxySettings([proxyModel('tiny')], {
      retry: { attempts: 3, delay: 1, factor: 1, engineDown: false },
    });
    await using bench = await createProxyBench({ settings, script: (_request, socket) => socket.destroy() });
    bench.gate.alive = false;
    expect(await codeOf(await bench.post('/v1/chat/completions', CHAT))).toBe('upstream_lost');
  });
});

describe('an engine that says that it goes down', () => {
  const FAREWELL =
    '{"error":{"message":"EngineCore encountered an issue. See stack trace (above) for the root cause.","type":"InternalServerError","param":null,"code":500}}';
  const LATE =
    '{"error":{"message":"cannot schedule new futures after shutdown","type":"InternalServerError","param":null,"code":500}}';

  it.each([
    ['by a status', plain(500, FAREWELL)],
    ['by the other status', plain(500, LATE)],
    ['by its first event', stream(`data: ${FAREWELL}\n\n`, 'data: [DONE]\n\n')],
  ])('%s is asked again elsewhere', async (_name, bytes) => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(bytes) });
    const pending = bench.post('/v1/chat/completions', STREAMED);
    await bench.gate.until(() => bench.gate.waiting.length === 1);
    bench.engine.script = (_request, socket) => socket.write(stream(...EVENTS));
    bench.gate.grantNext();
    expect(await (await pending).text()).toBe(EVENTS.join(''));
  });

  it('twice has its answer passed on', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(plain(500, FAREWELL)) });
    bench.gate.onGiveBack = () => ({ kind: 'refused', error: gatewayError('upstream_lost', 'once is enough') });
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(500);
    expect(await answer.text()).toBe(FAREWELL);
  });

  it('in the middle of a stream is only passed on', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(stream(EVENTS[0] ?? '', `data: ${FAREWELL}\n\n`, 'data: [DONE]\n\n')),
    });
    expect(await (await bench.post('/v1/chat/completions', STREAMED)).text()).toContain('EngineCore encountered');
    expect(bench.gate.waiting.length).toBe(0);
  });
});

describe('an engine’s status', () => {
  it.each([400, 404, 422, 429, 500, 501, 503])(
    '%d is passed on and never retried [scenario D] [items 43, 44] [I-63] [I-75]',
    async (status) => {
      const body = `{"error":{"message":"m","type":"X","param":null,"code":${status}}}`;
      await using bench = await createProxyBench({
        script: (_request, socket) => socket.write(plain(status, body, ['server: uvicorn'])),
      });
      const answer = await bench.post('/v1/chat/completions', STREAMED);
      expect(answer.status).toBe(status);
      expect(await answer.text()).toBe(body);
      expect(answer.headers.has('server')).toBe(false);
      expect(answer.headers.has('retry-after')).toBe(status === 429 || status === 503);
      expect(bench.engine.requests.length).toBe(1);
      await bench.telemetry.ended(1);
      expect(bench.telemetry.last).toMatchObject({
        status,
        outcome: status < 500 ? 'completed' : 'upstream_failed',
        code: '',
      });
    },
  );

  it('keeps the engine’s own time to come back', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(plain(503, '{"error":{"message":"m"}}', ['retry-after: 17'])),
    });
    expect((await bench.post('/v1/chat/completions', CHAT)).headers.get('retry-after')).toBe('17');
  });

  it('as the first event of a stream becomes an ordinary answer', async () => {
    const busy =
      '{"error":{"message":"The engine is currently busy","type":"Service Unavailable","param":null,"code":503}}';
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(stream(`data: ${busy}\n\n`, 'data: [DONE]\n\n')),
    });
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    expect(answer.status).toBe(503);
    expect(answer.headers.get('content-type')).toBe('application/json');
    expect(answer.headers.get('retry-after')).not.toBe(null);
    expect(await answer.text()).toBe(busy);
    await bench.gate.until(() => bench.gate.openLeases === 0);
    expect(bench.gate.leases[0]?.outcome).toBe('upstream_failed');
  });

  it('is wrapped where it lacks the shape of the route, in the names that the client knows', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(plain(404, '{"detail":"tiny: Not Found"}')),
    });
    const answer = await bench.post('/v1/messages', { ...CHAT, model: 'tiny-alias' });
    expect(answer.status).toBe(404);
    expect(await answer.json()).toEqual({
      type: 'error',
      error: { type: 'not_found_error', message: 'tiny-alias: Not Found' },
      request_id: answer.headers.get('request-id'),
    });
  });
});

describe('what is not an answer', () => {
  it.each([
    ['a banner', 'SSH-2.0-OpenSSH_9.6\r\n\r\n'],
    ['an interim answer nobody asked for', 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'],
    ['a switch of protocols', 'HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'],
    ['a flood of hints', 'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n'.repeat(2_000)],
    ['a status below 100', 'HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n'],
    ['a status of 999', 'HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n'],
    ['a length and chunks', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello'],
    ['headers of 20 KB', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`],
    ['a folded header', 'HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n'],
    ['a redirect', 'HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n'],
    ['a compressed answer', 'HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n'],
    ['a refusal of the gateway’s key', 'HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n'],
  ])('%s becomes a clean 502', async (_name, bytes) => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(bytes) });
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(502);
    expect(await codeOf(answer)).toBe('upstream_protocol_error');
    await bench.engine.until(() => bench.engine.sockets.size === 0);
    expect(bench.gate.openLeases).toBe(0);
  });

  it('a few hints before the answer are left out', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) =>
        socket.write(Buffer.concat([Buffer.from('HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n'), plain(200, '{}')])),
    });
    expect(await (await bench.post('/v1/chat/completions', CHAT)).text()).toBe('{}');
  });

  it('bytes behind an answer never reach the next client', async () => {
    let count = 0;
    await using bench = await createProxyBench({
      script: (_request, socket) => {
        const answer = plain(200, `{"n":${++count}}`);
        socket.write(count === 1 ? Buffer.concat([answer, plain(200, '{"stolen":true}')]) : answer);
      },
    });
    expect(await (await bench.post('/v1/chat/completions', CHAT)).text()).toBe('{"n":1}');
    expect(await (await bench.post('/v1/chat/completions', CHAT)).text()).toBe('{"n":2}');
    expect(bench.engine.accepted).toBe(2);
  });

  it('a stream without a single event becomes a 502', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(stream()) });
    expect((await bench.post('/v1/chat/completions', STREAMED)).status).toBe(502);
  });

  it('a lease without a connection is our fault: no retry, told and counted [S5]', async () => {
    await using bench = await createProxyBench({ upstream: { connections: 1 } });
    const first = bench.post('/v1/chat/completions', CHAT);
    await bench.engine.until(() => bench.engine.requests.length === 1);
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(503);
    expect(await codeOf(answer)).toBe('pool_exhausted');
    expect(bench.telemetry.violations).toEqual(['pool_exhausted']);
    expect(bench.telemetry.retries).toEqual([]);
    bench.engine.requests[0]?.socket.write(plain(200, '{}'));
    expect((await first).status).toBe(200);
  });

  it('a fault of ours ends one request, told as ours, and nothing else', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(plain(200, '{}')) });
    bench.gate.decide = () => 'wait';
    const { queueFacts } = bench.gate;
    const pending = bench.post('/v1/chat/completions', CHAT).catch((error: unknown) => error);
    await bench.gate.until(() => bench.gate.waiting.length === 1);
    bench.gate.queueFacts = () => {
      throw new Error('planted');
    };
    bench.gate.refuseNext(gatewayError('queue_timeout', 'Too long.'));
    expect(await pending).toBeInstanceOf(Error);
    expect(bench.telemetry.last).toMatchObject({ outcome: 'internal', code: 'internal_error' });
    bench.gate.queueFacts = queueFacts;
    bench.gate.decide = () => 'grant';
    expect((await bench.post('/v1/chat/completions', CHAT)).status).toBe(200);
    expect(bench.gate.openLeases).toBe(0);
  });

  it('the destruction of a replica’s pool ends its requests', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk(EVENTS[0] ?? '')])),
    });
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    bench.proxy.pools.destroy('tiny-1');
    expect((await readBroken(answer)).whole).toBe(false);
    await bench.gate.until(() => bench.gate.openLeases === 0);
    expect(bench.proxy.stats().connections).toEqual([]);
  });
});
