import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemMachine } from './machine.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vgw-machine-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function listening(name: string, handle: RequestListener): Promise<{ socket: string } & AsyncDisposable> {
  const socket = join(folder, name);
  const server = createServer(handle).listen(socket);
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return { socket, [Symbol.asyncDispose]: close };
}

describe('the machine', () => {
  it('reads the space of a folder that is still to be made', async () => {
    expect(await systemMachine.nearest(join(folder, 'a/b/c'))).toBe(folder);
    const space = await systemMachine.space(join(folder, 'a/b/c'));
    expect(space.totalBytes).toBeGreaterThan(0);
    expect(space.freeBytes).toBeLessThanOrEqual(space.totalBytes);
  });

  it('finds commands that can be run, by name and by path', async () => {
    const tool = join(folder, 'tool');
    await writeFile(tool, '#!/bin/sh\n', { mode: 0o644 });
    expect(await systemMachine.findCommand('tool', folder)).toBeNull();
    await chmod(tool, 0o755);
    expect(await systemMachine.findCommand('tool', `/nowhere:${folder}`)).toBe(tool);
    expect(await systemMachine.findCommand(tool, '')).toBe(tool);
    expect(await systemMachine.findCommand('absent', folder)).toBeNull();
  });

  it('asks over a socket, and gives up on whoever trickles', async () => {
    await using good = await listening('good.sock', (request, response) => response.end(`asked for ${request.url}`));
    expect(await systemMachine.getOverSocket(good.socket, '/version', 5_000)).toEqual({
      ...{ status: 200, body: 'asked for /version' },
    });
    await using slow = await listening('slow.sock', (_request, response) => void response.write('a little'));
    await expect(systemMachine.getOverSocket(slow.socket, '/version', 100)).rejects.toMatchObject({
      code: 'ETIMEDOUT',
    });
    await expect(systemMachine.getOverSocket(join(folder, 'no.sock'), '/', 100)).rejects.toMatchObject({
      code: 'ENOENT',
    });
  });

  it('removes a temporary folder with all that is in it', async () => {
    const made = await systemMachine.temporaryFolder('vgw-test');
    await writeFile(join(made.path, 'file'), 'text');
    await made[Symbol.asyncDispose]();
    expect(existsSync(made.path)).toBe(false);
  });
});
