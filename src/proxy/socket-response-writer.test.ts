import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { createProxyBench, type ProxyBench } from '../../test/support/proxy-bench.ts';
import { plain, stream, STREAM_HEAD, chunk } from '../../test/support/rude-upstream.ts';
import { systemClock } from '../platform/clock.ts';
import { socketWriterWorks } from './response-writer-check.ts';

const CHAT = '{"model":"tiny","messages":[]}';
const STREAMED = '{"model":"tiny","messages":[],"stream":true}';
const EVENTS = ['data: {"n":1}\n\n', 'data: [DONE]\n\n'];

const post = (body: string, more = '', version = '1.1'): string =>
  `POST /v1/chat/completions HTTP/${version}\r\nhost: localhost\r\n${more}content-length: ${body.length}\r\n\r\n${body}`;

/** Sends these bytes and gives everything that comes back until the connection ends. */
function talk(bench: ProxyBench, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = connect(bench.port, '127.0.0.1', () => socket.write(text, 'latin1'));
    socket.on('data', (data: Buffer) => {
      received += data.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
  });
}

const answers = (received: string): string[] => received.split(/(?=HTTP\/1\.1 \d)/);
const streaming = (body: Buffer): boolean => body.toString().includes('"stream":true');

describe('answers written straight to the socket', () => {
  it('are possible on this version of Node', async () => {
    expect(await socketWriterWorks(systemClock)).toBe(true);
  });

  it('keep the order of pipelined requests, whatever their kind', async () => {
    await using bench = await createProxyBench({
      script: (request, socket) => socket.write(streaming(request.body) ? stream(...EVENTS) : plain(200, '{"id":"x"}')),
    });
    const missing = 'GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n';
    const models = 'GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n';
    const all = [post(CHAT), missing, post(STREAMED), models, post(STREAMED), post(CHAT, 'connection: close\r\n')];
    const heads = answers(await talk(bench, all.join(''))).map((answer) => answer.slice(0, 12));
    expect(heads).toEqual(['200', '404', '200', '200', '200', '200'].map((status) => `HTTP/1.1 ${status}`));
  });

  it('answer hundreds of requests on one connection, each whole', async () => {
    await using bench = await createProxyBench({
      script: (request, socket) => socket.write(streaming(request.body) ? stream(...EVENTS) : plain(200, '{"id":"x"}')),
    });
    for (let round = 0; round < 30; round++) {
      const some = Array.from({ length: 10 }, (_, index) => post(index % 2 === 0 ? CHAT : STREAMED));
      const received = answers(await talk(bench, [...some, post(CHAT, 'connection: close\r\n')].join('')));
      expect(received.length).toBe(11);
      for (const answer of received) expect(answer).toMatch(/\{"id":"x"\}$|\[DONE\]\n\n\r\n0\r\n\r\n$/);
    }
  });

  it('tell an HTTP/1.0 client the end of a stream by the end of the connection, without chunks', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(stream(...EVENTS)) });
    const received = await talk(bench, post(STREAMED, '', '1.0'));
    expect(received).toContain('connection: close\r\n');
    expect(received).not.toContain('transfer-encoding');
    expect(received.endsWith(`\r\n\r\n${EVENTS.join('')}`)).toBe(true);
  });

  it('are not written into by Node when what follows the request is not HTTP', async () => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(Buffer.concat([Buffer.from(STREAM_HEAD), chunk(EVENTS[0] ?? '')])),
    });
    const socket = connect(bench.port, '127.0.0.1');
    let received = '';
    const closed = new Promise((resolve) => socket.on('close', resolve));
    const begun = new Promise<void>((resolve) => {
      socket.on('data', (data: Buffer) => {
        received += data.toString('latin1');
        if (received.includes('"n":1')) resolve();
      });
    });
    socket.write(post(STREAMED));
    await begun;
    socket.write('garbage that is not HTTP\r\n\r\n');
    await bench.engine.until(() => bench.engine.requests.length === 1);
    bench.engine.last.socket.write(Buffer.concat([chunk(EVENTS[1] ?? ''), Buffer.from('0\r\n\r\n')]));
    await closed;
    const [stream200, after = ''] = answers(received);
    expect(stream200).toMatch(/^HTTP\/1\.1 200 [^]*data: \[DONE\]\n\n\r\n0\r\n\r\n$/);
    expect(after).toMatch(/^HTTP\/1\.1 400 /);
  });

  it('carry a date, say how long the connection is kept, and never a second content-length', async () => {
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(plain(200, '{}')) });
    const received = await talk(bench, `${post(CHAT)}${post(CHAT, 'connection: close\r\n')}`);
    const [first = '', last = ''] = answers(received);
    expect(first).toMatch(/\r\ndate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n/);
    expect(first).toContain('connection: keep-alive\r\nkeep-alive: timeout=65\r\n');
    expect(last).toContain('connection: close\r\n');
    expect(first.match(/content-length/g)?.length).toBe(1);
  });
});
