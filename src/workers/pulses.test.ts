/** Both ends of a link, one of which may stand still: what it is told then waits. */
import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createTelemetry } from '../telemetry/create-telemetry.ts';
import { SECOND } from '../units.ts';
import { FakeGate } from '../../test/support/fake-gate.ts';
import { createTestPlatform } from '../../test/support/test-platform.ts';
import { watchPulses } from './pulses.ts';
import { WorkerHandle } from './worker-handle.ts';
import { runWorker } from './worker.ts';

const PING_EVERY = 5 * SECOND;
const UPSTREAM = {
  ...{ id: 'm-1', origin: 'http://127.0.0.1:20001', pathPrefix: '', headers: {}, servedName: 'm' },
  ...{ connections: 8, idleLimit: 4_000, external: false },
};

/** What is written to one is read from the other. */
function linkEnds(): readonly [Duplex, Duplex] {
  const end = (other: () => Duplex): Duplex =>
    new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _, done) => {
        other().push(chunk);
        done();
      },
    });
  const here: Duplex = end(() => there);
  const there: Duplex = end(() => here);
  return [here, there];
}

function watchedWorker() {
  const platform = createTestPlatform();
  const { clock } = platform;
  const lines: string[] = [];
  const output = { write: (line: string) => void lines.push(line) };
  const telemetry = createTelemetry({
    level: 'info',
    format: 'json',
    output,
    clock,
    isModel: () => true,
    processMetrics: false,
  });
  const [ours, its] = linkEnds();
  const side = { link: its, onParcel: () => undefined, onOrphaned: () => undefined };
  runWorker({ side, platform, controlOwns: () => () => false, exit: () => undefined });
  let kills = 0;
  let changes = 0;
  const worker = new WorkerHandle({
    ...{
      number: 1,
      workers: 1,
      gate: new FakeGate(UPSTREAM),
      telemetry,
      clock,
      countersMoving: () => false,
      saidDepth: () => undefined,
    },
    process: {
      pid: 4711,
      exited: new Promise(() => undefined),
      link: ours,
      send: () => undefined,
      kill: () => void (kills += 1),
    },
    changed: () => void (changes += 1),
  });
  worker.configured = 1;
  const watch = watchPulses(clock, telemetry.log, () => [worker]);
  return {
    worker,
    its,
    lines,
    kills: () => kills,
    changes: () => changes,
    next: async () => {
      clock.advance(PING_EVERY);
      await new Promise((resolve) => setImmediate(resolve));
    },
    [Symbol.dispose]: () => {
      watch[Symbol.dispose]();
      telemetry[Symbol.dispose]();
    },
  };
}

describe('a worker', () => {
  it('is left alone as long as it answers', async () => {
    using bench = watchedWorker();
    for (let pings = 0; pings < 10; pings += 1) {
      await bench.next();
      expect(bench.worker.unanswered).toBe(0);
    }
    expect([bench.kills(), bench.changes()]).toEqual([0, 0]);
  });

  it('that stands still is given no connections after two pings, and is ended after three', async () => {
    using bench = watchedWorker();
    bench.its.pause();
    const silent = [];
    for (let pings = 0; pings < 3; pings += 1) {
      await bench.next();
      silent.push(bench.worker.silent);
    }
    expect(silent).toEqual([false, true, true]);
    expect(bench.kills()).toBe(0);
    await bench.next();
    expect(bench.kills()).toBe(1);
    expect(bench.lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { level: 'error', worker: 1, pid: 4711, msg: 'a worker of the data plane does not answer: it is ended' },
    ]);
  });

  it('has a minute to begin with', async () => {
    using bench = watchedWorker();
    bench.worker.configured = 0;
    bench.its.pause();
    for (let pings = 0; pings < 12; pings += 1) await bench.next();
    expect(bench.kills()).toBe(0);
    await bench.next();
    expect(bench.kills()).toBe(1);
  });

  it('that stood still for a while is given connections again', async () => {
    using bench = watchedWorker();
    bench.its.pause();
    await bench.next();
    await bench.next();
    expect(bench.worker.silent).toBe(true);
    bench.its.resume();
    await bench.next();
    expect([bench.worker.unanswered, bench.changes(), bench.kills()]).toEqual([0, 1, 0]);
  });
});
