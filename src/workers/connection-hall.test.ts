import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { expect, it, vi } from 'vitest';
import { silentLog } from '../../test/support/scripted-fleet.ts';
import { ConnectionHall } from './connection-hall.ts';
import type { WorkerHandle } from './worker-handle.ts';

it('keeps as many connections waiting as it may while no worker can take them, and closes those beyond', async () => {
  const workers: WorkerHandle[] = [];
  const limits = { limit: 10, limitOfWorker: 10, limitWaiting: 2 };
  const hall = new ConnectionHall({ workers: () => workers, log: silentLog, ...limits });
  const { port } = await hall.listen({ host: '127.0.0.1', port: 0 });
  const sockets: Socket[] = [];
  const ends: number[] = [];
  for (let number = 0; number < 3; number += 1) {
    const socket = connect(port, '127.0.0.1');
    socket.resume().on('close', () => ends.push(number));
    await once(socket, 'connect');
    sockets.push(socket);
  }
  await vi.waitFor(() => expect(ends).toEqual([2]));
  hall.close();
  await vi.waitFor(() => expect(new Set(ends)).toEqual(new Set([0, 1, 2])));
});
