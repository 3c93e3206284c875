/** Clients that send hardly anything, for ever: each is told or cut in its time, and none of them holds a slot. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noEngineLeft } from '../support/engine-processes.ts';
import { simulatedYaml, statusOf } from '../support/simulated-fleet.ts';
import { chat, startClientBench, type Client, type ClientBench } from './client-bench.ts';

/** Of the gateway's own clock. Heads are timed by Node's, in real time. */
const SPEED = 5;
const HEAD_MS = 10_000;
const BODY_MS = 30_000 / SPEED;
/** Nothing between two requests for as long as connections are kept, and a head is waited for. */
const IDLE_MS = 75_000 / SPEED;
/** Looks once a second, and a busy machine. */
const LATE_MS = 4_000;
const DRIP_MS = 100;

let bench: ClientBench;

beforeAll(async () => {
  bench = await startClientBench({ yaml: simulatedYaml([{ name: 'one' }]), speed: SPEED });
  await bench.recovered(['one']);
});

afterAll(async () => {
  await bench.recovered(['one']);
  await bench[Symbol.asyncDispose]();
  await noEngineLeft(bench.gateway.gateway.id);
});

interface Ended {
  readonly heard: string;
  readonly tookMs: number;
}

/** Sends a piece now and then until the gateway ends it. */
async function dripping(client: Client, piece: string): Promise<Ended> {
  const began = performance.now();
  const drip = setInterval(() => client.socket.write(piece), DRIP_MS);
  const heard = await client.end;
  clearInterval(drip);
  return { heard, tookMs: performance.now() - began };
}

function inTime({ tookMs }: Ended, limit: number): void {
  expect(tookMs).toBeGreaterThan(limit * 0.9);
  expect(tookMs).toBeLessThan(limit + LATE_MS);
}

const timedOut = /^HTTP\/1\.1 408 [^]*"code":"request_timeout"/;

describe.concurrent('all at once', () => {
  it('[F29] a head that trickles in is refused after ten seconds', async () => {
    const ended = await dripping(
      bench.client('POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: '),
      'x',
    );
    expect(ended.heard).toMatch(timedOut);
    inTime(ended, HEAD_MS);
  });

  it('[F29] a connection on which nothing comes is refused after ten seconds', async () => {
    const client = bench.client();
    const began = performance.now();
    expect(await client.end).toMatch(timedOut);
    inTime({ heard: '', tookMs: performance.now() - began }, HEAD_MS);
  });

  it('[F29] one on which empty lines come before any request is refused after ten seconds', async () => {
    const ended = await dripping(bench.client(), '\r\n');
    expect(ended.heard).toMatch(timedOut);
    inTime(ended, HEAD_MS);
  });

  it('[F29] a body that trickles in is refused after thirty seconds, and holds no slot until then', async () => {
    const asked = performance.now();
    const ending = dripping(bench.client(chat('one', { user: 'x'.repeat(5_000) }).slice(0, -4_000)), 'x');
    const held: number[] = [];
    const watching = ending.then(() => false);
    while (await Promise.race([watching, new Promise<boolean>((resolve) => setTimeout(resolve, DRIP_MS, true))])) {
      const { models } = await statusOf(bench.gateway);
      held.push((models['one']?.in_flight ?? 0) + (models['one']?.queued ?? 0));
    }
    const ended = await ending;
    expect(ended.heard).toMatch(timedOut);
    inTime({ ...ended, tookMs: performance.now() - asked }, BODY_MS);
    expect(held.length).toBeGreaterThan(3);
    expect(held.every((count) => count === 0)).toBe(true);
  });

  it('[F30] empty lines between two requests do not keep a connection beyond its time', async () => {
    const client = bench.client('GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await client.hears('"object":"list"');
    const ended = await dripping(client, '\r\n');
    expect(ended.heard).toMatch(/^HTTP\/1\.1 200 [^]*\}$/);
    inTime(ended, IDLE_MS);
  });

  it('[F30] a connection that is used now and then stays, empty lines before its requests or not', async () => {
    const client = bench.client();
    const until = performance.now() + IDLE_MS + 1_000;
    let count = 0;
    while (performance.now() < until) {
      count += 1;
      client.socket.write(`\r\nGET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: used-${count}\r\n\r\n`);
      await client.hears(`x-request-id: used-${count}\r\n`);
      await new Promise((resolve) => setTimeout(resolve, IDLE_MS / 5));
    }
    expect(count).toBeGreaterThan(5);
  });
});
