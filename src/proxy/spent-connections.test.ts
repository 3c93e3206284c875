import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { createProxyBench } from '../../test/support/proxy-bench.ts';
import { chunk, plain, STREAM_HEAD } from '../../test/support/rude-upstream.ts';

const request = (body: string): string =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const CHAT = request('{"model":"tiny"}');
const STREAMED = request('{"model":"tiny","stream":true}');

describe('a connection whose last answer is written', () => {
  it('serves nothing that was sent behind a stream that broke off', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk('data: {"n":1}\n\n')])),
    });
    const client = connect({ host: '127.0.0.1', port: bench.port, allowHalfOpen: true });
    let text = '';
    client.on('data', (piece: Buffer) => (text += piece.toString()));
    const ended = new Promise((resolve) => client.once('end', resolve));
    client.write(STREAMED + CHAT);
    await bench.engine.until(() => bench.engine.requests.length === 1);
    bench.engine.last.socket.resetAndDestroy();
    await ended;
    expect(text).toContain('"code":"upstream_lost"');
    // Still open from the client's side: neither what waits nor what comes now is run.
    client.write(CHAT);
    await bench.gate.until(() => bench.gate.openLeases === 0);
    // Answered behind it, so that what the client wrote has been read.
    await fetch(`${bench.url}/v1/models`);
    client.destroy();
    expect(bench.gate.asks.length).toBe(1);
    expect(bench.engine.requests.length).toBe(1);
  });

  it('serves nothing that was sent behind a refusal that ends it', async () => {
    let count = 0;
    await using bench = await createProxyBench({
      script: (_request, socket) => {
        if (++count > 1) socket.write(plain(200, '{}'));
      },
    });
    const client = bench.connect();
    let text = '';
    client.on('data', (piece: Buffer) => (text += piece.toString()));
    const closed = new Promise((resolve) => client.once('close', resolve));
    client.write(`${CHAT}GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n${CHAT}`);
    await bench.engine.until(() => bench.engine.requests.length === 1);
    bench.engine.last.socket.write(plain(200, '{}'));
    await closed;
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400']);
    expect(bench.gate.asks.length).toBe(1);
  });
});
