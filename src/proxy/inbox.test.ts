import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { readThroughInbox } from './inbox.ts';

const open: Disposable[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one[Symbol.dispose]();
});

/** Both ends of a connection, and what was read at one of them. */
async function pair(): Promise<{ near: Socket; far: Socket; chunks: Buffer[] }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const chunks: Buffer[] = [];
  const onread = readThroughInbox((chunk) => void chunks.push(chunk));
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const near = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, onread });
  const [far] = await accepted;
  await once(near, 'connect');
  open.push({ [Symbol.dispose]: () => void (near.destroy(), far.destroy(), server.close()) });
  return { near, far, chunks };
}

const length = (chunks: readonly Buffer[]): number => chunks.reduce((sum, chunk) => sum + chunk.length, 0);

describe('sockets that are read into one buffer', () => {
  it('keep what they read, whatever others read after them', async () => {
    const pairs = await Promise.all(Array.from({ length: 8 }, pair));
    for (let round = 0; round < 20; round++) {
      for (const [at, { far }] of pairs.entries()) far.write(Buffer.alloc(1 + round * 777, 0x41 + at));
      await expect.poll(() => pairs.every(({ chunks }) => length(chunks) === wanted(round))).toBe(true);
    }
    for (const [at, { chunks }] of pairs.entries()) {
      const all = Buffer.concat(chunks);
      expect(all.equals(Buffer.alloc(all.length, 0x41 + at))).toBe(true);
    }
  });

  it('see the end of a connection that nobody ever paused or resumed', async () => {
    const { near, far, chunks } = await pair();
    const ended = once(near, 'end');
    far.end('last');
    await ended;
    expect(String(Buffer.concat(chunks))).toBe('last');
  });

  it('stop and go on as they are told, and see the end', async () => {
    const { near, far, chunks } = await pair();
    near.pause();
    const sent = Buffer.alloc(1_000_000, 'abcdefg');
    far.end(sent);
    // What is sent on another connection meanwhile arrives.
    const other = await pair();
    other.far.write('here');
    await expect.poll(() => length(other.chunks)).toBe(4);
    expect(length(chunks)).toBe(0);
    const ended = once(near, 'end');
    near.resume();
    await ended;
    expect(Buffer.concat(chunks).equals(sent)).toBe(true);
  });
});

function wanted(round: number): number {
  let sum = 0;
  for (let one = 0; one <= round; one++) sum += 1 + one * 777;
  return sum;
}
