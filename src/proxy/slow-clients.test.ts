import { describe, expect, it } from 'vitest';
import { systemClock } from '../platform/clock.ts';
import type { Clock } from '../platform/platform.ts';
import { createProxyBench, proxyModel, proxySettings, realPlatform } from '../../test/support/proxy-bench.ts';
import { get, withLength } from '../../test/support/stranger.ts';

/** A clock whose monotonic time a test can move on; its timers run in real time. */
function shiftedClock(): Clock & { shift: number } {
  const clock = {
    ...systemClock,
    shift: 0,
    monotonic: () => systemClock.monotonic() + clock.shift,
  };
  return clock;
}

async function closed(socket: import('node:net').Socket): Promise<string> {
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString()));
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.on('close', resolve));
  return text;
}

/** Lets the event loop turn until the condition holds. */
async function turnsUntil(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe('a slow client', () => {
  it('that never ends its headers is told so and cut [F29] [item 142]', async () => {
    await using bench = await createProxyBench();
    const socket = bench.connect();
    socket.write('POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX: ');
    const text = await closed(socket);
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(text).toContain('"code":"request_timeout"');
    expect(bench.telemetry.last).toMatchObject({ status: 408, code: 'request_timeout' });
  }, 30_000);

  it('whose body trickles in is told so and cut, long before it holds a slot [item 142] [B106]', async () => {
    const clock = shiftedClock();
    await using bench = await createProxyBench({ over: { platform: { ...realPlatform(), clock } } });
    const socket = bench.connect();
    const text = closed(socket);
    socket.write(withLength().slice(0, -5));
    await turnsUntil(() => bench.proxy.stats().bufferedBytes > 0);
    clock.shift = 60_000;
    expect(await text).toMatch(/^HTTP\/1\.1 408 [^]*request_timeout/);
    expect(bench.gate.asks).toEqual([]);
    expect(bench.telemetry.last).toMatchObject({ status: 408, outcome: 'rejected' });
    expect(bench.proxy.stats().bufferedBytes).toBe(0);
  });

  it('that only sends empty lines between requests is cut', async () => {
    const clock = shiftedClock();
    await using bench = await createProxyBench({ over: { platform: { ...realPlatform(), clock } } });
    const socket = bench.connect();
    const text = closed(socket);
    socket.write(`${get('/v1/models')}\r\n`);
    await bench.telemetry.ended(1);
    socket.write('\r\n');
    clock.shift = 200_000;
    expect(await text).toMatch(/^HTTP\/1\.1 200 OK/);
  });

  it('that reads nothing for very long loses its place [F28]', async () => {
    const clock = shiftedClock();
    const timeouts = { connect: 1_000, firstByte: 0, betweenChunks: 0, total: Number.MAX_SAFE_INTEGER };
    await using bench = await createProxyBench({
      settings: proxySettings([proxyModel('tiny', { timeouts })]),
      over: { platform: { ...realPlatform(), clock } },
      script: (_request, upstream) => {
        const total = 64 * 1024 * 1024;
        upstream.write(`HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: ${total}\r\n\r\n`);
        upstream.write(Buffer.alloc(total));
      },
    });
    const socket = bench.connect();
    socket.on('error', () => undefined);
    socket.pause();
    socket.write(withLength());
    await bench.engine.until(() => bench.engine.requests.length === 1);
    const [lease] = bench.gate.leases;
    // The engine stands still once the client's and our buffers are full.
    let before = -1;
    while (lease !== undefined && before !== lease.touched) {
      before = lease.touched;
      for (let round = 0; round < 100; round++) await new Promise((resolve) => setImmediate(resolve));
    }
    await turnsUntil(() => {
      clock.shift += 1_000;
      return bench.telemetry.records.length > 0;
    });
    expect(bench.telemetry.last.outcome).toBe('client_closed');
    await bench.gate.until(() => bench.gate.openLeases === 0);
    socket.destroy();
  });

  it('that goes on sending after a refusal gets to read it, and no more than a bounded rest is read', async () => {
    await using bench = await createProxyBench();
    const socket = bench.connect();
    const text = closed(socket);
    const piece = Buffer.alloc(64 * 1024, 'x');
    let sent = 0;
    socket.write(`POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: ${1 << 30}\r\n\r\n`);
    const pump = (): void => {
      while (!socket.destroyed && sent < 1 << 30) {
        sent += piece.length;
        if (!socket.write(piece)) {
          socket.once('drain', pump);
          return;
        }
      }
    };
    pump();
    expect(await text).toMatch(/^HTTP\/1\.1 404 [^]*connection: close/i);
    expect(sent).toBeLessThan(256 * 1024 * 1024);
  });
});
