import { describe, expect, it } from 'vitest';
import { gatewayError } from '../errors.ts';
import { createProxyBench, type ProxyBench } from '../../test/support/proxy-bench.ts';
import { readBroken } from '../../test/support/reading.ts';
import { chunk, LAST_CHUNK, stream, STREAM_HEAD } from '../../test/support/rude-upstream.ts';

const CHAT = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }] };
const STREAMED = { ...CHAT, stream: true };
const EVENTS = ['data: {"model":"tiny","choices":[]}\n\n', 'data: [DONE]\n\n'];

describe('an answer that breaks off', () => {
  const cases: readonly [string, (bench: ProxyBench) => void][] = [
    ['closed', (bench) => bench.engine.last.socket.end()],
    ['reset', (bench) => bench.engine.last.socket.resetAndDestroy()],
    ['malformed', (bench) => bench.engine.last.socket.write('zz\r\n')],
  ];
  it.each(cases)(
    'in a stream that is %s ends with one error event and without the end of a whole answer',
    async (_name, cut) => {
      await using bench = await createProxyBench({
        script: (_request, socket) =>
          socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk('data: {"n":1}\n\n')])),
      });
      const answer = await bench.post('/v1/chat/completions', STREAMED);
      // The rest of the head's packet has been read when the engine cuts.
      cut(bench);
      const { text, whole } = await readBroken(answer);
      expect(whole).toBe(false);
      const events = text.trimEnd().split('\n\n');
      expect(events[0]).toBe('data: {"n":1}');
      expect(JSON.parse(events[1]?.slice(6) ?? '')).toMatchObject({
        error: { code: 'upstream_lost', type: 'server_error' },
      });
      expect(events.length).toBe(2);
      await bench.telemetry.ended(1);
      expect(bench.telemetry.last).toMatchObject({ outcome: 'upstream_failed', code: 'upstream_lost', status: 200 });
      await bench.gate.until(() => bench.gate.leases[0]?.outcome === 'upstream_failed');
    },
  );

  it('speaks the dialect of its route', async () => {
    const script = (request: { path: string }, socket: { end(data: Buffer): void }): void => {
      const first = request.path.endsWith('messages')
        ? 'event: message_start\ndata: {"type":"message_start"}\n\n'
        : 'event: response.created\ndata: {"type":"response.created","sequence_number":6}\n\n';
      socket.end(Buffer.concat([Buffer.from(STREAM_HEAD), chunk(first)]));
    };
    await using bench = await createProxyBench({ script });
    const messages = (await readBroken(await bench.post('/v1/messages', STREAMED))).text;
    expect(messages).toMatch(
      /\n\nevent: error\ndata: \{"type":"error","error":\{"type":"api_error",.*"code":"upstream_lost"/,
    );
    const responses = (await readBroken(await bench.post('/v1/responses', STREAMED))).text;
    const data = /event: error\ndata: (.*)\n\n$/.exec(responses)?.[1] ?? '';
    expect(JSON.parse(data)).toMatchObject({
      type: 'error',
      code: 'upstream_lost',
      sequence_number: 7,
      error: { code: 'upstream_lost' },
    });
  });

  it('in the middle of an event drops that event and tells the error', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) =>
        socket.end(Buffer.concat([Buffer.from(STREAM_HEAD), chunk('data: {"n":1}\n\ndata: {"n":2,"tex')])),
    });
    const { text, whole } = await readBroken(await bench.post('/v1/chat/completions', STREAMED));
    expect(whole).toBe(false);
    expect(text).not.toContain('"n":2');
    expect(text).toMatch(/^data: \{"n":1\}\n\ndata: \{"error":.*\n\n$/);
  });

  it.each([
    [
      'chunked, without its last event',
      Buffer.concat([Buffer.from(STREAM_HEAD), chunk(EVENTS[0] ?? ''), Buffer.from(LAST_CHUNK)]),
    ],
    [
      'without a length and without its last event',
      Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n${EVENTS[0]}`),
    ],
  ])('quietly, %s, does not look complete [F8]', async (_name, bytes) => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.end(bytes) });
    const { text, whole } = await readBroken(await bench.post('/v1/chat/completions', STREAMED));
    expect(whole).toBe(false);
    expect(text).toContain('upstream_lost');
  });

  it('without a length but with its last event is complete', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) =>
        socket.end(`HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n${EVENTS.join('')}`),
    });
    expect(await readBroken(await bench.post('/v1/chat/completions', STREAMED))).toEqual({
      text: EVENTS.join(''),
      whole: true,
    });
  });

  it.each([
    ['JSON that is whole', 'application/json', '{"a":[1]}', true],
    ['JSON that is cut', 'application/json', '{"a":[1]', false],
    ['audio', 'audio/wav', 'xxxx', false],
  ])('without a length: %s', async (_name, type, body, complete) => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.end(`HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\n\r\n${body}`),
    });
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(await readBroken(answer)).toEqual({ text: body, whole: complete });
  });

  it('in a plain body cuts the connection', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) =>
        socket.end('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"a":'),
    });
    expect((await readBroken(await bench.post('/v1/chat/completions', CHAT))).whole).toBe(false);
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({ outcome: 'upstream_failed', code: 'upstream_lost' });
  });

  it('because the lease was cut says so', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk('data: {"n":1}\n\n')])),
    });
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    bench.gate.cut(gatewayError('drain_timeout', 'The turn is over.'));
    const { text, whole } = await readBroken(answer);
    expect(whole).toBe(false);
    expect(text).toContain('"code":"drain_timeout"');
    await bench.gate.until(() => bench.gate.openLeases === 0);
    expect(bench.gate.leases[0]?.outcome).toBe('deadline');
    expect(bench.telemetry.last).toMatchObject({ outcome: 'deadline', code: 'drain_timeout' });
  });

  it('by an engine’s own error event passes through and counts as failed [B156]', async () => {
    const events = ['data: {"choices":[]}\n\n', 'data: {"error":{"message":"x","code":500}}\n\n', 'data: [DONE]\n\n'];
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(stream(...events)) });
    expect(await (await bench.post('/v1/chat/completions', STREAMED)).text()).toBe(events.join(''));
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({ outcome: 'upstream_failed', code: '' });
    expect(bench.gate.leases[0]?.outcome).toBe('upstream_failed');
  });
});
