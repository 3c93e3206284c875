import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { expect, it, vi } from 'vitest';
import { silentLog } from '../../test/support/scripted-fleet.ts';
import { ConnectionHall } from './connection-hall.ts';
import type { WorkerHandle } from './worker-handle.ts';

/** Connections that are open, one by one, and the numbers of those that were closed. */
function clientsOf(port: number) {
  const ends: number[] = [];
  let count = 0;
  const open = async (): Promise<void> => {
    const number = count++;
    const socket = connect(port, '127.0.0.1');
    socket.resume().on('close', () => ends.push(number));
    await once(socket, 'connect');
  };
  return { ends, open };
}

it('keeps as many connections waiting as it may while no worker can take them, and closes those beyond', async () => {
  const workers: WorkerHandle[] = [];
  const limits = { limit: 10, limitOfWorker: 10, limitWaiting: 2 };
  const hall = new ConnectionHall({ workers: () => workers, log: silentLog, ...limits });
  const { port } = await hall.listen({ host: '127.0.0.1', port: 0 });
  const { ends, open } = clientsOf(port);
  for (let number = 0; number < 3; number += 1) await open();
  await vi.waitFor(() => expect(ends).toEqual([2]));
  hall.close();
  await vi.waitFor(() => expect(new Set(ends)).toEqual(new Set([0, 1, 2])));
});

it('counts those that a worker was handed and has not taken, which may stand still: they have descriptors here', async () => {
  const handed: Socket[] = [];
  const worker = {
    ...{ serves: true, connections: 0, travelling: 0 },
    hand(socket: Socket) {
      handed.push(socket);
      this.connections += 1;
      this.travelling += 1;
    },
  };
  const limits = { limit: 10, limitOfWorker: 10, limitWaiting: 2 };
  const hall = new ConnectionHall({ workers: () => [worker], log: silentLog, ...limits });
  const { port } = await hall.listen({ host: '127.0.0.1', port: 0 });
  const { ends, open } = clientsOf(port);
  for (let number = 0; number < 3; number += 1) await open();
  await vi.waitFor(() => expect(ends).toEqual([2]));
  expect(handed).toHaveLength(2);
  worker.travelling = 0;
  await open();
  await vi.waitFor(() => expect(handed).toHaveLength(3));
  expect(ends).toEqual([2]);
  hall.close();
  for (const socket of handed) socket.destroy();
});
