import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clients, closedLoop, closing, plainAsk, streamAsk } from '../../tools/bench/asks.ts';
import { startGateway } from '../../tools/bench/gateway-target.ts';
import { cpuSeconds } from '../../tools/bench/machine.ts';
import { startEngine, type Running } from '../../tools/bench/targets.ts';
import { builtProgram } from '../support/built-program.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CHUNKS = 200;
const WARM_UP = 2_500;
const ROUNDS = 5;

/**
 * The most that the predecessor carried in a second, with its one event loop at its limit: by what is at once, requests, and
 * streams of 200 chunks. What one process can carry at most is one second by the processor time that each takes, and that
 * says the same on a busy machine.
 */
const PREDECESSOR = { one: 320, many: 150, streams: 55 };

const started: Running[] = [];
let engine: Running;
let gateway: Running;

beforeAll(async () => {
  builtProgram();
  engine = await startEngine();
  started.push(engine);
  gateway = await startGateway({ root: ROOT, name: 'the gateway' });
  started.push(gateway);
});
afterAll(() => Promise.all(started.map((one) => one.stop())));

interface Cost {
  /** Requests that one second of the gateway's processor time carries. */
  readonly perSecond: number;
  /** Milliseconds. */
  readonly median: number;
}

async function load(target: Running, atOnce: number, count: number, streams: boolean): Promise<Cost> {
  const all = clients(target, atOnce);
  const before = cpuSeconds(target.pids());
  const make = (): ReturnType<typeof plainAsk> => (streams ? streamAsk(CHUNKS, 0) : plainAsk(200));
  const { done, delays, statuses } = await closing(all, () => closedLoop(all, make, (asked) => asked >= count));
  expect([...statuses]).toEqual([[200, count]]);
  const sorted = delays.toSorted((one, other) => one - other);
  return {
    perSecond: done / (cpuSeconds(target.pids()) - before),
    median: sorted[Math.floor(sorted.length / 2)] ?? Number.NaN,
  };
}

describe('what the gateway costs beside the engine alone [item 150]', () => {
  it('is ten times less than it was with 50 and 150 requests at once, and less with one, each answered rightly', async () => {
    await load(gateway, 50, WARM_UP, false);
    expect((await load(gateway, 1, 300, false)).perSecond).toBeGreaterThan(PREDECESSOR.one);
    for (const atOnce of [50, 150]) {
      const { perSecond } = await load(gateway, atOnce, 900, false);
      expect(perSecond, `${atOnce} at once`).toBeGreaterThan(10 * PREDECESSOR.many);
    }
  });

  it('is three times less than it was with 1, 50 and 150 streams at once, each with all of its chunks', async () => {
    await load(gateway, 50, 100, true);
    for (const atOnce of [1, 50, 150]) {
      const { perSecond } = await load(gateway, atOnce, atOnce === 1 ? 20 : 150, true);
      expect(perSecond, `${atOnce} at once`).toBeGreaterThan(3 * PREDECESSOR.streams);
    }
  });

  it('is at most a millisecond of delay, or as much as asking the engine itself takes on a busy machine', async () => {
    const added: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const alone = await load(engine, 1, 100, false);
      const through = await load(gateway, 1, 100, false);
      added.push(through.median - alone.median - Math.max(0, alone.median - 1));
    }
    expect(Math.min(...added)).toBeLessThan(1);
  });
});
