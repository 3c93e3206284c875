import { describe, expect, it } from 'vitest';
import { createProxyBench, proxyModel, proxySettings, type ProxyBench } from '../../test/support/proxy-bench.ts';
import { readUntil } from '../../test/support/reading.ts';
import { chunk, LAST_CHUNK, plain, stream, STREAM_HEAD } from '../../test/support/rude-upstream.ts';

const CHAT = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }] };
const STREAMED = { ...CHAT, stream: true };
const EVENTS = ['data: {"model":"tiny","choices":[]}\n\n', 'data: [DONE]\n\n'];

function sent(bench: ProxyBench): string[] {
  return bench.engine.requests.map((request) => request.body.toString());
}

describe('the relay', () => {
  it('passes a JSON answer on as it came, with what is known about it in the head', async () => {
    const body =
      '{"id":"x","model":"tiny","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5}}';
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(plain(200, body)) });
    bench.gate.facts = { depth: 7, maxQueueSize: 200, maxConcurrent: 50 };
    const answer = await bench.post('/v1/chat/completions', CHAT, { 'x-request-id': 'mine-1' });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe(body);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'application/json',
      'content-length': String(body.length),
      'x-request-id': 'mine-1',
      'x-vgw-model': 'tiny',
      'x-vgw-replica': 'tiny-1',
      'x-vgw-queue-ms': '12',
      'x-vgw-cold-start-ms': '34',
      'x-vgw-attempts': '1',
      'x-queue-depth': '7',
      'x-max-concurrent': '50',
      'x-max-queue-size': '200',
      'x-queue-max-size': '200',
    });
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({
      id: 'mine-1',
      outcome: 'completed',
      route: 'chat_completions',
      status: 200,
      promptTokens: 3,
      completionTokens: 5,
      attempts: 1,
      bytesOut: body.length,
      queueMs: 12,
      coldStartMs: 34,
    });
    expect(bench.telemetry.last.addedMs).toBeGreaterThan(0);
    expect(bench.gate.leases[0]?.outcome).toBe('completed');
    expect(bench.proxy.stats().bufferedBytes).toBe(0);
  });

  it('sends the request on as it came: path, query, body and request id [items 41, 58]', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(plain(200, '{}')) });
    const body = '{ "model" : "tiny", "n": 9007199254740993, "x": "\\ud800" }';
    await bench.post('/v1/messages?beta=true', body, {
      'content-type': 'text/plain',
      'anthropic-version': '2023-06-01',
    });
    const { method, path, headers, body: received } = bench.engine.last;
    expect([method, path]).toEqual(['POST', '/v1/messages?beta=true']);
    expect(received.toString()).toBe(body);
    const fields = Object.fromEntries(headers);
    expect(fields).toMatchObject({
      'content-type': 'application/json',
      'content-length': String(body.length),
      authorization: 'Bearer engine-key',
      'anthropic-version': '2023-06-01',
    });
    expect(fields).not.toHaveProperty('accept-encoding');
    expect(fields).not.toHaveProperty('transfer-encoding');
    expect(fields['x-request-id']).toMatch(/^req-/);
  });

  it('serves every route with and without /v1, by the path of the table', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(plain(200, '{}')) });
    for (const [path, upstream] of [
      ['/completions', '/v1/completions'],
      ['/v1/embeddings', '/v1/embeddings'],
      ['/rerank', '/v1/rerank'],
      ['/v2/rerank', '/v2/rerank'],
      ['/pooling', '/pooling'],
      ['/messages/count_tokens', '/v1/messages/count_tokens'],
      ['/tokenize', '/tokenize'],
    ] as const) {
      expect((await bench.post(path, CHAT)).status).toBe(200);
      expect(bench.engine.last.path).toBe(upstream);
    }
  });

  it('serves a model’s own routes, for that model alone [item 54]', async () => {
    const settings = proxySettings([proxyModel('tiny', { routes: ['/v1/special'] }), proxyModel('other')]);
    await using bench = await createProxyBench({
      settings,
      script: (_request, socket) => socket.write(plain(200, '{}')),
    });
    expect((await bench.post('/v1/special', CHAT)).status).toBe(200);
    expect((await bench.post('/v1/special', { model: 'other' })).status).toBe(404);
    for (const path of [
      '/sleep',
      '/v1/load_lora_adapter',
      '/collective_rpc',
      '/metrics',
      '/v1/foo',
      '//v1/chat/completions',
    ]) {
      expect((await bench.post(path, CHAT)).status).toBe(404);
    }
    expect(bench.engine.requests.length).toBe(1);
  });

  it('inserts the defaults of the model and splices its name', async () => {
    const settings = proxySettings([
      proxyModel('tiny', {
        aliases: ['nick'],
        requestDefaults: new Map([
          ['top_k', '5'],
          ['n', '2'],
        ]),
      }),
    ]);
    await using bench = await createProxyBench({
      settings,
      script: (_request, socket) => socket.write(plain(200, '{}')),
    });
    await bench.post('/v1/completions', '{"n":1,"model":"nick","prompt":"x"}');
    expect(sent(bench)).toEqual(['{"top_k":5,"n":1,"model":"tiny","prompt":"x"}']);
  });

  it('shows the asked name in a plain answer [item 42]', async () => {
    const body = '{"id":"x","model":"tiny","choices":[{"model":"tiny"}]}';
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(plain(200, body)) });
    const answer = await bench.post('/v1/chat/completions', { ...CHAT, model: 'tiny-alias' });
    expect(await answer.text()).toBe('{"id":"x","model":"tiny-alias","choices":[{"model":"tiny"}]}');
    expect(answer.headers.get('x-vgw-model')).toBe('tiny');
    expect(sent(bench)[0]).toContain('"model":"tiny"');
  });

  it('shows the asked name in every event of a stream, however it is cut [item 42]', async () => {
    const event = 'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"tiny"}}\n\n';
    const bytes = Buffer.from(event);
    await using bench = await createProxyBench({
      script: (_request, socket) => {
        socket.write(STREAM_HEAD);
        for (const byte of bytes) socket.write(chunk(Buffer.from([byte])));
        socket.write(chunk('event: message_stop\ndata: {"type":"message_stop"}\n\n'));
        socket.write(LAST_CHUNK);
      },
    });
    const answer = await bench.post('/v1/messages', { ...STREAMED, model: 'tiny-alias' });
    expect(await answer.text()).toContain('"model":"tiny-alias"');
    expect(answer.headers.get('request-id')).toBe(answer.headers.get('x-request-id'));
  });

  it('passes binary answers and forms through [item 50]', async () => {
    const audio = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 256));
    await using bench = await createProxyBench({
      script: (_request, socket) =>
        socket.write(
          Buffer.concat([
            Buffer.from(
              `HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-disposition: attachment\r\ncontent-length: ${audio.length}\r\n\r\n`,
            ),
            audio,
          ]),
        ),
    });
    const speech = await bench.post('/v1/audio/speech', { model: 'tiny', input: 'x' });
    expect(Buffer.from(await speech.arrayBuffer()).equals(audio)).toBe(true);
    expect(speech.headers.get('content-disposition')).toBe('attachment');
    const form = new FormData();
    form.set('file', new Blob([audio]), 'a.wav');
    form.set('model', 'tiny-alias');
    const answer = await fetch(`${bench.url}/v1/audio/transcriptions`, { method: 'POST', body: form });
    expect(answer.status).toBe(200);
    await answer.arrayBuffer();
    const { body, headers } = bench.engine.last;
    expect(Object.fromEntries(headers)['content-type']).toMatch(/^multipart\/form-data; boundary=/);
    expect(body.includes(audio)).toBe(true);
    expect(body.includes('name="model"\r\n\r\ntiny\r\n')).toBe(true);
  });

  it('writes the first event when it comes, not later [item 46] [I-60]', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk('data: {"n":1}\n\n')])),
    });
    const answer = await bench.post('/v1/chat/completions', STREAMED);
    const reader = await readUntil(answer, '"n":1');
    expect(answer.headers.get('cache-control')).toBe('no-cache, no-transform');
    expect(answer.headers.get('x-accel-buffering')).toBe('no');
    await reader.cancel();
    await bench.gate.until(() => bench.gate.openLeases === 0);
    expect(bench.gate.leases[0]?.outcome).toBe('client_closed');
  });

  it('holds the head of a stream until its first event', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(STREAM_HEAD) });
    let answered = false;
    const pending = bench.post('/v1/chat/completions', STREAMED).then((answer) => {
      answered = true;
      return answer;
    });
    await bench.engine.until(() => bench.engine.requests.length === 1);
    // A second request that is answered shows that time has passed for the first one too.
    bench.engine.script = (_request, socket) => socket.write(plain(200, '{}'));
    await (await bench.post('/v1/chat/completions', CHAT)).text();
    expect(answered).toBe(false);
    bench.engine.requests[0]?.socket.write(
      Buffer.concat([...EVENTS.map((event) => chunk(event)), Buffer.from(LAST_CHUNK)]),
    );
    expect(await (await pending).text()).toBe(EVENTS.join(''));
  });

  it('keeps the connection of an engine for the next request', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(stream(...EVENTS)) });
    for (let count = 0; count < 20; count++) await (await bench.post('/v1/chat/completions', STREAMED)).text();
    expect(bench.engine.accepted).toBe(1);
    expect(bench.telemetry.upstream.map(({ reused }) => reused)).toEqual([false, ...Array<boolean>(19).fill(true)]);
    expect(bench.proxy.stats()).toMatchObject({ opened: 1, connections: [{ model: 'tiny', busy: 0, idle: 1 }] });
  });

  it('reuses no socket that has been idle for too long [item 48]', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(plain(200, '{}')),
      upstream: { idleLimit: 1 },
    });
    await (await bench.post('/v1/chat/completions', CHAT)).text();
    await bench.engine.until(() => bench.engine.sockets.size === 0);
    await (await bench.post('/v1/chat/completions', CHAT)).text();
    expect(bench.engine.accepted).toBe(2);
    expect(bench.telemetry.upstream.map(({ reused }) => reused)).toEqual([false, false]);
  });

  it('stops reading from the engine while the client does not read, and loses nothing [item 46]', async () => {
    const total = 48 * 1024 * 1024;
    let written = 0;
    let stalled = false;
    await using bench = await createProxyBench({
      script: (_request, socket) => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: ${total}\r\n\r\n`);
        const piece = Buffer.alloc(64 * 1024, 'x');
        const pump = (): void => {
          while (written < total) {
            written += piece.length;
            if (!socket.write(piece)) {
              stalled = true;
              socket.once('drain', pump);
              return;
            }
          }
        };
        pump();
      },
    });
    const client = bench.connect();
    client.pause();
    client.write('POST /v1/audio/speech HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{"model":"tiny"}');
    await bench.engine.until(() => bench.engine.requests.length === 1);
    // Kernel buffers take a few megabytes; after that the engine must stand still.
    let before = -1;
    while (before !== written) {
      before = written;
      for (let round = 0; round < 200; round++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(stalled).toBe(true);
    expect(written).toBeLessThan(total / 2);
    let received = 0;
    await new Promise<void>((resolve) => {
      client.on('data', (data: Buffer) => {
        received += data.length;
        if (received > total) resolve();
      });
      client.resume();
    });
    client.destroy();
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last.bytesOut).toBe(total);
    expect(bench.telemetry.last.outcome).toBe('completed');
  });
});
