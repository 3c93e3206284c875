/** What the controller's process knows of connections that it has handed over. */
import { Duplex } from 'node:stream';
import { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { createTelemetry } from '../telemetry/create-telemetry.ts';
import { FakeGate } from '../../test/support/fake-gate.ts';
import { createTestPlatform } from '../../test/support/test-platform.ts';
import type { FromWorker, Parcel } from './protocol.ts';
import { WorkerHandle } from './worker-handle.ts';

const UPSTREAM = {
  ...{ id: 'm-1', origin: 'http://127.0.0.1:20001', pathPrefix: '', headers: {}, servedName: 'm' },
  ...{ connections: 8, idleLimit: 4_000, external: false },
};

function handedWorker() {
  const { clock } = createTestPlatform();
  const lines: string[] = [];
  const output = { write: (line: string) => void lines.push(line) };
  const telemetry = createTelemetry({
    ...{ level: 'info', format: 'json', output, clock, isModel: () => true, processMetrics: false },
  });
  const link = new Duplex({ read: () => undefined, write: (_, __, done) => done() });
  let die: (exit: { code: null; signal: string }) => void = () => undefined;
  const parcels: Parcel[] = [];
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
      exited: new Promise((resolve) => {
        die = resolve;
      }),
      link,
      send: (parcel) => void parcels.push(parcel as Parcel),
      kill: () => undefined,
    },
    changed: () => void (changes += 1),
  });
  return {
    worker,
    parcels,
    lines,
    changes: () => changes,
    say: async (message: FromWorker) => {
      link.push(`${JSON.stringify(message)}\n`);
      await new Promise((resolve) => setImmediate(resolve));
    },
    die: () => {
      link.destroy();
      die({ code: null, signal: 'SIGKILL' });
      return worker.ended;
    },
    [Symbol.dispose]: () => telemetry[Symbol.dispose](),
  };
}

it('a connection that never reached its worker is not counted once a later one has, nor once the next ping is answered', async () => {
  using bench = handedWorker();
  const { worker } = bench;
  const sockets = Array.from({ length: 4 }, () => new Socket());
  for (const socket of sockets) worker.hand(socket);
  await bench.say({ kind: 'taken', number: 1 });
  expect(worker.connections).toBe(4);
  await bench.say({ kind: 'taken', number: 3 });
  expect([worker.connections, bench.changes()]).toEqual([3, 1]);
  // Sent behind the last of them, on the way that connections have.
  expect(bench.parcels.filter(({ kind }) => kind === 'passed')).toEqual([]);
  worker.ping();
  expect(bench.parcels.at(-1)).toEqual({ kind: 'passed', number: 4 });
  worker.hand(new Socket());
  await bench.say({ kind: 'passed', number: 4 });
  expect([worker.connections, bench.changes()]).toEqual([3, 2]);
  await bench.say({ kind: 'taken', number: 5 });
  await bench.say({ kind: 'closed', connections: 3 });
  expect(worker.connections).toBe(0);
  worker.ping();
  expect(bench.parcels.at(-1)).toMatchObject({ kind: 'connection' });
  expect(bench.lines.map((line) => JSON.parse(line) as object)).toMatchObject(
    Array.from({ length: 2 }, () => ({ level: 'error', worker: 1, pid: 4711, connections: 1 })),
  );
});

it('a connection is closed here once its worker has taken it, or is dead', async () => {
  using bench = handedWorker();
  const sockets = Array.from({ length: 3 }, () => new Socket());
  for (const socket of sockets) bench.worker.hand(socket);
  await bench.say({ kind: 'taken', number: 2 });
  expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, true, false]);
  expect(await bench.die()).toMatchObject({ connections: 2 });
  expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, true, true]);
});
