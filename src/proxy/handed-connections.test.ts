import { createServer } from 'node:http';
import { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { HandedConnections } from './handed-connections.ts';

it('whoever waits for the last connection to close is told, also when an end at once comes into an end in order', async () => {
  const handed = new HandedConnections();
  handed.attach(createServer());
  const socket = new Socket();
  handed.give(socket);
  const ends = [handed.detach(), handed.detach()];
  socket.destroy();
  expect(await Promise.all(ends)).toHaveLength(2);
});
