import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { announce, isAnnounced } from './presence.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vgw-presence-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('a sign of life', () => {
  it('is seen until it is ended', async () => {
    const path = join(folder, 'a.alive');
    expect(await isAnnounced(path)).toBe(false);
    const sign = await announce(path);
    expect(await isAnnounced(path)).toBe(true);
    await sign?.[Symbol.asyncDispose]();
    expect(await isAnnounced(path)).toBe(false);
  });

  it('has room in a folder of any depth', async () => {
    const deep = join(folder, 'x'.repeat(90), 'y'.repeat(90));
    mkdirSync(deep, { recursive: true });
    await using sign = await announce(join(deep, 'a.alive'));
    expect(sign).not.toBeNull();
    expect(await isAnnounced(join(deep, 'a.alive'))).toBe(true);
  });

  it('is none where a file lies, or where there is no folder', async () => {
    writeFileSync(join(folder, 'a.alive'), '');
    expect(await isAnnounced(join(folder, 'a.alive'))).toBe(false);
    expect(await announce(join(folder, 'a.alive'))).toBeNull();
    expect(await announce(join(folder, 'nowhere', 'a.alive'))).toBeNull();
  });

  it('ends with its process, however that ends', async () => {
    const path = join(folder, 'a.alive');
    const program = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.send(1))`;
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
    await new Promise((resolve) => child.once('message', resolve));
    expect(await isAnnounced(path)).toBe(true);
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    expect(await isAnnounced(path)).toBe(false);
  });

  it('is not taken for gone by a process that may open no more files', async () => {
    const path = join(folder, 'a.alive');
    await using sign = await announce(path);
    expect(sign).not.toBeNull();
    const program = `
      import { openSync } from 'node:fs';
      import { announce, isAnnounced } from ${JSON.stringify(join(import.meta.dirname, 'presence.ts'))};
      const isAlive = await isAnnounced(${JSON.stringify(path)});
      try { for (;;) openSync('/dev/null', 'r'); } catch {}
      const ends = [];
      for (const ask of [isAnnounced, announce]) {
        ends.push(await ask(${JSON.stringify(path)}).catch((error) => error.code));
      }
      process.stdout.write([isAlive, ...ends].join());`;
    const shell = ['-c', 'ulimit -n 64 && exec "$@"', 'sh', process.execPath, '--import', 'tsx'];
    const { stdout } = await promisify(execFile)('sh', [...shell, '--input-type=module', '-e', program]);
    expect(stdout).toBe('true,EMFILE,EMFILE');
  });
});
