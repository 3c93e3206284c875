/** The load checks what it gets: an answer that is cut, mixed up or framed wrongly must not count as one. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { LoadClient, type Answered } from './client.ts';

const HEAD = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
const EVENT = 'data: {"content":"nonce:abc"}\n\n';
const LAST = 'e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n';
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
/** The second event in two chunks, as a relay may frame it anew. */
const STREAM = `${HEAD}${chunk(EVENT)}${chunk(EVENT.slice(0, 3))}${chunk(EVENT.slice(3))}${LAST}`;

/** One answer to one question, its pieces written one after another. */
async function answered(pieces: readonly string[], events: number | null): Promise<Answered> {
  const server = createServer((socket: Socket) => {
    socket.setNoDelay(true);
    socket.once('data', () => void write(socket, pieces));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const client = new LoadClient(typeof address === 'object' && address !== null ? address.port : 0, {});
  try {
    return await client.ask({ path: '/', body: [Buffer.from('{}')], nonce: 'abc', events });
  } finally {
    client.close();
    server.close();
  }
}

async function write(socket: Socket, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces)
    await new Promise<void>((resolve) => socket.write(piece, 'latin1', () => setImmediate(resolve)));
  if (pieces.at(-1) === '') socket.end();
}

const fault = async (text: string, events: number | null = 2): Promise<string | null> =>
  (await answered([text], events)).fault;

describe('a client of the load', () => {
  it('counts the events of a stream exactly, wherever it is split', async () => {
    const splits = Array.from({ length: STREAM.length - 1 }, (_, at) => [
      STREAM.slice(0, at + 1),
      STREAM.slice(at + 1),
    ]);
    const all = await Promise.all(splits.map((pieces) => answered(pieces, 2)));
    expect(new Set(all.map((one) => JSON.stringify(one)))).toEqual(
      new Set([JSON.stringify({ status: 200, fault: null, events: 2 })]),
    );
    expect((await answered(STREAM.split(''), 2)).fault).toBeNull();
  });

  it('takes another connection where the server ends one with its answer, as servers do after so many requests', async () => {
    let connections = 0;
    const server = createServer((socket: Socket) => {
      connections += 1;
      socket.once('data', () => {
        socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nnonce:abc');
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const client = new LoadClient(typeof address === 'object' && address !== null ? address.port : 0, {});
    const ask = { path: '/', body: [Buffer.from('{}')], nonce: 'abc', events: null };
    const faults = [await client.ask(ask), await client.ask(ask), await client.ask(ask)].map((one) => one.fault);
    client.close();
    server.close();
    expect([faults, connections]).toEqual([[null, null, null], 3]);
  });

  it('tells an event too few or too many, a missing end and a foreign answer', async () => {
    expect(await fault(STREAM, 3)).toBe('2 events of 3');
    expect(await fault(STREAM, 1)).toBe('2 events of 1');
    expect(await fault(`${HEAD}${chunk(EVENT)}${chunk(EVENT)}0\r\n\r\n`)).toBe('no last event');
    expect(await fault(STREAM.replaceAll('nonce:abc', 'nonce:abd'))).toBe('another answer than asked for');
    expect((await answered([STREAM.slice(0, -5), ''], 2)).fault).toBe('the connection was closed');
  });

  it('tells framing that is not as it has to be', async () => {
    expect(await fault(`${HEAD}${chunk(EVENT)}zz\r\n`)).toBe('a chunk without a length');
    expect(await fault(`${HEAD}5\r\n${EVENT}`)).toBe('a chunk of another length');
    expect(await fault(`${STREAM}x`)).toBe('bytes after the end');
    const sized = (length: number): string => `HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n"nonce:abc"`;
    expect(await fault(sized(11), null)).toBeNull();
    expect(await fault(sized(10), null)).toBe('1 bytes too many');
    expect(await fault('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n', null)).toBe('status 502');
  });
});
