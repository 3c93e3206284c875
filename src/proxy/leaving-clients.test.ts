import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { createProxyBench } from '../../test/support/proxy-bench.ts';
import { rawRequest } from '../../test/support/raw-http.ts';
import { readUntil } from '../../test/support/reading.ts';
import { chunk, stream, STREAM_HEAD } from '../../test/support/rude-upstream.ts';

const CHAT = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }] };
const STREAMED = { ...CHAT, stream: true };
const EVENTS = ['data: {"model":"tiny","choices":[]}\n\n', 'data: [DONE]\n\n'];

describe('a client that leaves', () => {
  it('while it waits is taken out of the queue and never reaches an engine [F23] [items 31, 32]', async () => {
    await using bench = await createProxyBench();
    bench.gate.decide = () => 'wait';
    const client = bench.connect();
    client.write('POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{"model":"tiny"}');
    await bench.gate.until(() => bench.gate.waiting.length === 1);
    client.destroy();
    await bench.gate.until(() => bench.gate.waiting[0]?.abandoned === true);
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({ outcome: 'client_closed', status: 0, attempts: 0 });
    expect(bench.engine.accepted).toBe(0);
  });

  it('before its answer begins ends the engine’s work, and only then the lease [F26] [item 33]', async () => {
    await using bench = await createProxyBench();
    const client = bench.connect();
    client.write('POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{"model":"tiny"}');
    await bench.engine.until(() => bench.engine.requests.length === 1);
    client.destroy();
    await bench.engine.until(() => bench.engine.sockets.size === 0);
    await bench.gate.until(() => bench.gate.openLeases === 0);
    expect(bench.gate.leases[0]?.outcome).toBe('client_closed');
    expect(bench.telemetry.last).toMatchObject({ outcome: 'client_closed', code: '' });
  });

  it('in the middle of a stream ends the engine’s work [item 34]', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk('data: {"n":1}\n\n')])),
    });
    const abort = new AbortController();
    const answer = await fetch(`${bench.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify(STREAMED),
      signal: abort.signal,
    });
    await readUntil(answer, '"n":1');
    abort.abort();
    await bench.engine.until(() => bench.engine.sockets.size === 0);
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({ outcome: 'client_closed', status: 200 });
    expect(bench.proxy.stats().connections).toEqual([]);
  });

  it('by closing only its sending side counts as gone [F35] [I-83]', async () => {
    await using bench = await createProxyBench();
    const answer = rawRequest(
      bench.port,
      'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{"model":"tiny"}',
      { halfClose: true },
    );
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last.outcome).toBe('client_closed');
    expect((await answer).status).toBe(0);
  });

  it('in the middle of its body, however short, has its connection ended, not kept for another request', async () => {
    await using bench = await createProxyBench();
    const half = 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\n\r\n{"model":';
    const client = connect({ port: bench.port, host: '127.0.0.1', allowHalfOpen: true });
    let answer = '';
    client.on('data', (data: Buffer) => (answer += data.toString('latin1')));
    client.end(half);
    await once(client, 'end');
    expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*\r\nconnection: close\r\n/i);
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({ outcome: 'rejected', code: 'invalid_body' });
  });

  it('hundreds of times leaves nothing behind [item 35]', async () => {
    await using bench = await createProxyBench({
      script: (request, socket) => {
        if (request.body.includes('"whole"')) socket.write(stream(...EVENTS));
        else if (request.body.includes('"open"'))
          socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk(EVENTS[0] ?? '')]));
      },
      upstream: { connections: 400 },
    });
    const one = async (index: number): Promise<void> => {
      const kind = ['whole', 'open', 'silent'][index % 3] ?? '';
      const abort = new AbortController();
      const request = fetch(`${bench.url}/v1/chat/completions`, {
        method: 'POST',
        body: JSON.stringify({ ...STREAMED, user: kind }),
        signal: abort.signal,
      });
      if (kind === 'whole') {
        await (await request).text();
      } else if (kind === 'open') {
        await readUntil(await request, 'choices');
        abort.abort();
      } else {
        await bench.engine.until(() => bench.engine.requests.length > index / 3);
        abort.abort();
        await request.catch(() => undefined);
      }
    };
    for (let round = 0; round < 6; round++) {
      await Promise.all(Array.from({ length: 50 }, (_, index) => one(round * 50 + index)));
    }
    await bench.gate.until(() => bench.gate.openLeases === 0);
    const { bufferedBytes, connections } = bench.proxy.stats();
    expect(bufferedBytes).toBe(0);
    expect(connections.every(({ busy }) => busy === 0)).toBe(true);
    for (const { outcome } of bench.telemetry.records) expect(['completed', 'client_closed']).toContain(outcome);
  });
});
