/**
 * A Docker daemon hands out GPUs when it finds NVIDIA's hook in its path: it writes the wanted devices into a container's
 * environment, and the hook would mount them. This one has nothing to mount.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { startDaemon, type DockerDaemon } from './docker-daemon.ts';

export async function startDaemonWithGpus(): Promise<DockerDaemon> {
  const bin = mkdtempSync(join(tmpdir(), 'vgw-hook-'));
  writeFileSync(join(bin, 'nvidia-container-runtime-hook'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
  const path = process.env['PATH'] ?? '';
  process.env['PATH'] = `${bin}${delimiter}${path}`;
  try {
    const daemon = await startDaemon();
    return {
      ...daemon,
      socket: daemon.socket,
      folder: daemon.folder,
      loadFakeVllmImage: (tag) => daemon.loadFakeVllmImage(tag),
      kill: () => daemon.kill(),
      terminate: () => daemon.terminate(),
      start: () => daemon.start(),
      restart: () => daemon.restart(),
      stop: async () => {
        await daemon.stop();
        rmSync(bin, { recursive: true, force: true });
      },
    };
  } finally {
    process.env['PATH'] = path;
  }
}
