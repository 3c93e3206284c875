import { describe, expect, it } from 'vitest';
import { gatewayError } from '../errors.ts';
import { createProxyBench, proxyModel, proxySettings } from '../../test/support/proxy-bench.ts';
import { readBroken, readUntil } from '../../test/support/reading.ts';
import { chunk, LAST_CHUNK, plain, stream, STREAM_HEAD } from '../../test/support/rude-upstream.ts';

const CHAT = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }] };
const STREAMED = { ...CHAT, stream: true };
const EVENTS = ['data: {"choices":[]}\n\n', 'data: [DONE]\n\n'];

const BEATING = proxySettings([proxyModel('tiny', { keepalive: { after: 1, every: 1 } })]);

function timed(timeouts: Partial<ReturnType<typeof proxyModel>['timeouts']>) {
  return proxySettings([
    proxyModel('tiny', { timeouts: { connect: 1_000, firstByte: 0, betweenChunks: 0, total: 0, ...timeouts } }),
  ]);
}

describe('a stream that waits', () => {
  it('is kept alive by comments, under a head that says only what is known, and then answered [B154]', async () => {
    await using bench = await createProxyBench({
      settings: BEATING,
      script: (_request, socket) => socket.write(stream(...EVENTS)),
    });
    bench.gate.decide = () => 'wait';
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    expect(answer.status).toBe(200);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'x-vgw-model': 'tiny',
      'x-accel-buffering': 'no',
    });
    for (const name of ['x-vgw-replica', 'x-vgw-queue-ms', 'x-queue-depth'])
      expect(answer.headers.has(name)).toBe(false);
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    let text = '';
    while (text.split('\n\n').length < 3) text += Buffer.from((await reader.read()).value ?? []).toString();
    expect(text).toMatch(/^(?:: waiting\n\n)+$/);
    bench.gate.grantNext();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      text += Buffer.from(value).toString();
    }
    expect(text.endsWith(EVENTS.join(''))).toBe(true);
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({ outcome: 'completed', status: 200, replica: 'tiny-1' });
  });

  it('is told how far the start of its model is, in comments, and no more once it is waited for no longer', async () => {
    await using bench = await createProxyBench({
      settings: BEATING,
      script: (_request, socket) => socket.write(STREAM_HEAD),
    });
    bench.gate.decide = () => 'wait';
    bench.gate.coming = { stage: 'starting', phase: 'load', fraction: 0.43, left: 20_000, phaseLeft: null };
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    const reader = await readUntil(answer, ': starting tiny, loading weights 43 %, about 20 s\n\n');
    bench.gate.grantNext();
    let text = '';
    while (!text.includes(': waiting\n\n')) text += Buffer.from((await reader.read()).value ?? []).toString();
    await reader.cancel();
  });

  it('gets pings on the messages route, which its clients know', async () => {
    await using bench = await createProxyBench({ settings: BEATING });
    bench.gate.decide = () => 'wait';
    bench.gate.coming = { stage: 'starting', phase: 'load', fraction: 0.43, left: 20_000, phaseLeft: null };
    const answer = await bench.post('/v1/messages', STREAMED);
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    expect(Buffer.from((await reader.read()).value ?? []).toString()).toMatch(
      /^(?:event: ping\ndata: \{"type":"ping"\}\n\n)+$/,
    );
    expect(answer.headers.has('request-id')).toBe(true);
    await reader.cancel();
    await bench.gate.until(() => bench.gate.waiting[0]?.abandoned === true);
  });

  it('is told a refusal as one event once its head is out', async () => {
    await using bench = await createProxyBench({ settings: BEATING });
    bench.gate.decide = () => 'wait';
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    bench.gate.refuseNext(gatewayError('model_start_failed', 'Out of memory.', { cause: 'out_of_memory' }));
    const { text, whole } = await readBroken(answer);
    expect(whole).toBe(false);
    expect(JSON.parse(text.slice(text.indexOf('data: ') + 6))).toEqual({
      error: {
        message: 'Out of memory.',
        type: 'service_unavailable_error',
        param: null,
        code: 'model_start_failed',
        cause: 'out_of_memory',
      },
    });
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({ outcome: 'rejected', code: 'model_start_failed', status: 200 });
  });

  it('passes an engine’s error on as an event once its head is out', async () => {
    const body = '{"error":{"message":"too long","type":"BadRequestError","param":"input_tokens","code":400}}';
    await using bench = await createProxyBench({
      settings: BEATING,
      script: (_request, socket) => socket.write(plain(400, body)),
    });
    bench.gate.decide = () => 'wait';
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    bench.gate.grantNext();
    const { text, whole } = await readBroken(answer);
    expect(whole).toBe(false);
    expect(text.endsWith(`data: ${body}\n\n`)).toBe(true);
  });

  it('is kept alive during the engine’s silence before its first event too, and not after it', async () => {
    await using bench = await createProxyBench({
      settings: BEATING,
      script: (_request, socket) => socket.write(STREAM_HEAD),
    });
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    const { socket } = bench.engine.last;
    socket.write(chunk(EVENTS[0] ?? ''));
    const reader = await readUntil(answer, '"choices"');
    socket.write(Buffer.concat([chunk(EVENTS[1] ?? ''), Buffer.from(LAST_CHUNK)]));
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      rest += Buffer.from(value).toString();
    }
    expect(rest).toBe(EVENTS[1]);
  });

  it('gets no early head where nobody would understand a heartbeat', async () => {
    await using bench = await createProxyBench({ settings: BEATING });
    bench.gate.decide = () => 'wait';
    const pending = Promise.all([
      bench.post('/v1/audio/speech', { ...STREAMED, input: 'x' }),
      bench.post('/v1/chat/completions', CHAT),
    ]);
    await bench.gate.until(() => bench.gate.waiting.length === 2);
    // A stream that waits from now on is beating before these two have a head.
    await (await readUntil(await bench.post('/v1/chat/completions', STREAMED), ': waiting')).cancel();
    for (let count = 0; count < 2; count++) bench.gate.refuseNext(gatewayError('queue_timeout', 'Too long.'));
    expect((await pending).map(({ status }) => status)).toEqual([503, 503]);
  });

  it('tells the gate of its client’s patience only when no heartbeat will come', async () => {
    await using bench = await createProxyBench({
      settings: BEATING,
      script: (_request, socket) => socket.write(plain(200, '{}')),
    });
    const headers = { 'x-stainless-read-timeout': '600' };
    await (await bench.post('/v1/chat/completions', CHAT, headers)).text();
    await (await bench.post('/v1/chat/completions', { ...STREAMED }, headers)).text().catch(() => '');
    expect(bench.gate.asks.map(({ patience, stream: streams }) => [patience, streams])).toEqual([
      [595_000, false],
      [null, true],
    ]);
  });
});

describe('a deadline', () => {
  it('without a first byte ends in a 504 that says not to try again [item 49]', async () => {
    await using bench = await createProxyBench({ settings: timed({ firstByte: 1 }) });
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(504);
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(await answer.text()).toContain('"code":"upstream_timeout"');
    await bench.engine.until(() => bench.engine.sockets.size === 0);
    await bench.gate.until(() => bench.gate.leases[0]?.outcome === 'deadline');
    expect(bench.telemetry.last).toMatchObject({ outcome: 'deadline', code: 'upstream_timeout' });
  });

  it('for the first byte waits while the engine’s counters move', async () => {
    let asked = 0;
    await using bench = await createProxyBench({
      settings: timed({ firstByte: 1 }),
      over: { countersMoving: () => ++asked > 0 },
    });
    const pending = bench.post('/v1/chat/completions', CHAT);
    await bench.engine.until(() => bench.engine.requests.length === 1);
    // A second request that times out in another way shows that ticks have passed for the first.
    bench.settings = timed({ total: 1 });
    expect((await bench.post('/v1/chat/completions', CHAT)).status).toBe(504);
    expect(asked).toBeGreaterThan(0);
    bench.engine.requests[0]?.socket.write(plain(200, '{}'));
    expect((await pending).status).toBe(200);
  });

  it('between two pieces ends a stream with an error event', async () => {
    await using bench = await createProxyBench({
      settings: timed({ betweenChunks: 1 }),
      script: (_request, socket) => socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk(EVENTS[0] ?? '')])),
    });
    const { text, whole } = await readBroken(await bench.post('/v1/chat/completions', STREAMED));
    expect(whole).toBe(false);
    expect(text).toContain('"code":"upstream_timeout"');
    await bench.gate.until(() => bench.gate.leases[0]?.outcome === 'deadline');
  });

  it('never ends a stream that flows [item 56]', async () => {
    await using bench = await createProxyBench({
      settings: timed({ firstByte: 400, betweenChunks: 400 }),
      script: (_request, socket) => {
        socket.write(STREAM_HEAD);
        let left = 30;
        const timer = setInterval(() => {
          socket.write(chunk(EVENTS[0] ?? ''));
          if (--left > 0) return;
          clearInterval(timer);
          socket.write(Buffer.concat([chunk(EVENTS[1] ?? ''), Buffer.from(LAST_CHUNK)]));
        }, 50);
      },
    });
    const { whole, text } = await readBroken(await bench.post('/v1/chat/completions', STREAMED));
    expect(whole).toBe(true);
    expect(text).toBe((EVENTS[0] ?? '').repeat(30) + EVENTS[1]);
  });
});
