import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { eventually } from './eventually.ts';
import { FaultProxy } from './fault-proxy.ts';

/** Says back what it hears, and ends when it has heard the end. */
let echo: Server;
let proxy: FaultProxy;
let ends: string[] = [];

beforeAll(async () => {
  echo = createServer((socket) => {
    socket.on('data', (data) => socket.write(data));
    socket.on('error', (error) => ends.push(String((error as NodeJS.ErrnoException).code)));
    socket.on('end', () => ends.push('fin'));
  }).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  const address = echo.address();
  proxy = await FaultProxy.listen(typeof address === 'object' && address !== null ? address.port : 0);
});

afterEach(async () => {
  await proxy.restore();
  proxy.endAll('reset');
  await eventually('no connection is open', () => proxy.open === 0);
  ends = [];
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  echo.close();
});

interface Talk {
  readonly socket: Socket;
  /** So far. */
  heard(): string;
  /** `fin`, or the code of the error. */
  readonly end: Promise<string>;
}

function talk(text = ''): Talk {
  const socket = connect(proxy.port, '127.0.0.1');
  let heard = '';
  socket.on('data', (data: Buffer) => (heard += data.toString('latin1')));
  const end = new Promise<string>((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
    socket.on('end', () => resolve('fin'));
  });
  if (text !== '') socket.write(text);
  return { socket, heard: () => heard, end };
}

it('passes bytes and ends on as they are', async () => {
  const { socket, heard, end } = talk('hello');
  await eventually('the echo came', () => heard() === 'hello');
  socket.end();
  expect([await end, ends]).toEqual(['fin', ['fin']]);
  await eventually('both ends are closed', () => proxy.open === 0);
  const other = talk('x');
  await eventually('the echo came', () => other.heard() === 'x');
  other.socket.resetAndDestroy();
  await eventually('the reset came through', () => ends.includes('ECONNRESET'));
});

it.each([
  ['cut', 'hel', 'fin'],
  ['half-close', 'hel', 'fin'],
  ['reset', 'hel', 'ECONNRESET'],
] as const)('strikes by %s after so many bytes, counted from when it was told', async (does, passed, how) => {
  const { socket, heard, end } = talk('before ');
  await eventually('the echo came', () => heard() === 'before ');
  proxy.toxics = { down: { at: { byte: 3, does } } };
  socket.write('hello');
  expect([await end, heard()]).toEqual([how, `before ${passed}`]);
});

it('stalls without an end, and lets go of who leaves', async () => {
  proxy.toxics = { down: { at: { byte: 2, does: 'stall' } } };
  const { socket, heard } = talk('hello');
  await eventually('some came', () => heard() === 'he');
  socket.write('more');
  await eventually('it went up', () => proxy.passed.up >= 9);
  expect(heard()).toBe('he');
  socket.end();
  await eventually('both ends are closed', () => proxy.open === 0);
});

it('corrupts one byte, on one connection alone when told so', async () => {
  proxy.toxics = { up: { at: { byte: 1, does: 'corrupt', once: true } } };
  const first = talk('abc');
  await eventually('the echo came', () => first.heard().length === 3);
  expect(first.heard()).toBe(`a${String.fromCharCode(0x62 ^ 0xff)}c`);
  const second = talk('abc');
  await eventually('the echo came', () => second.heard() === 'abc');
});

it('delays, throttles and slices', async () => {
  proxy.toxics = { up: { latency: 30, jitter: 10 }, down: { bandwidth: 1_000, slice: 10 } };
  const began = performance.now();
  const { socket, heard } = talk('x'.repeat(100));
  const sizes: number[] = [];
  socket.on('data', (data: Buffer) => sizes.push(data.length));
  await eventually('the echo came', () => heard().length === 100);
  expect(performance.now() - began).toBeGreaterThan(125);
  expect(sizes.length).toBeGreaterThan(1);
});

it('refuses, resets or ignores new connections, and leaves open ones alone', async () => {
  const old = talk('1');
  await eventually('the echo came', () => old.heard() === '1');
  await proxy.refuse();
  expect(await talk().end).toBe('ECONNREFUSED');
  await proxy.listenAgain();
  proxy.accepting = 'reset';
  expect(await talk('x').end).toBe('ECONNRESET');
  proxy.accepting = 'ignore';
  const ignored = talk('x');
  await eventually('it is connected', () => !ignored.socket.connecting);
  old.socket.write('2');
  await eventually('the echo came', () => old.heard() === '12');
  expect(ignored.heard()).toBe('');
});

it('parts the ends from each other, and everything arrives when it heals', async () => {
  const leaving = talk('a');
  const staying = talk('b');
  await eventually('the echoes came', () => leaving.heard() + staying.heard() === 'ab');
  proxy.partition();
  leaving.socket.end();
  staying.socket.write('c');
  const late = talk('d');
  await eventually('it is connected', () => !late.socket.connecting);
  expect([ends, staying.heard(), late.heard()]).toEqual([[], 'b', '']);
  proxy.heal();
  await eventually('the echoes came', () => staying.heard() + late.heard() === 'bcd');
  await eventually('the end came', () => ends.includes('fin'));
});

it('closes what is idle for long', async () => {
  proxy.toxics = { closeIdle: 60 };
  const { heard, end } = talk('hello');
  expect([await end, heard()]).toEqual(['fin', 'hello']);
  await eventually('both ends are closed', () => proxy.open === 0);
});
