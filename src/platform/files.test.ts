import {
  appendFileSync,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
  constants,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemFiles as files } from './files.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vgw-files-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('files', () => {
  it('tells an absent file from an empty one', async () => {
    const path = join(folder, 'a');
    expect(await files.readText(path)).toBeUndefined();
    await files.writeAtomic(path, '');
    expect(await files.readText(path)).toBe('');
  });

  it('lets one of many create a file, whole, and leaves no temporary file', async () => {
    const path = join(folder, 'lock');
    const texts = Array.from({ length: 20 }, (_, index) => `${index}`.repeat(1_000));
    const made = await Promise.all(texts.map((text) => files.createExclusive(path, text)));
    expect(made.filter(Boolean)).toHaveLength(1);
    expect(await files.readText(path)).toBe(texts[made.indexOf(true)]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await files.list(folder)).toEqual(['lock']);
  });

  it('[B195] writes with the asked mode and leaves no temporary file', async () => {
    await files.writeAtomic(join(folder, 'secret'), 'x', 0o600);
    await files.writeAtomic(join(folder, 'secret'), 'y', 0o600);
    expect(statSync(join(folder, 'secret')).mode & 0o777).toBe(0o600);
    expect(await files.list(folder)).toEqual(['secret']);
    expect(await files.readText(join(folder, 'secret'))).toBe('y');
  });

  it('leaves the old content and no temporary file when a write fails [I-89]', async () => {
    await files.makeFolder(join(folder, 'taken'));
    await expect(files.writeAtomic(join(folder, 'taken'), 'x')).rejects.toMatchObject({ code: 'EISDIR' });
    expect(await files.list(folder)).toEqual(['taken']);
  });

  it('makes folders in folders, takes one that is there, and refuses what cannot be one', async () => {
    const deep = join(folder, 'one', 'two', 'three');
    await files.makeFolder(deep, 0o700);
    await files.makeFolder(deep, 0o700);
    expect(statSync(deep).mode & 0o777).toBe(0o700);
    await files.writeAtomic(join(folder, 'file'), 'x');
    await expect(files.makeFolder(join(folder, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(files.makeFolder(join(folder, 'file', 'two'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it.runIf(process.platform === 'linux')('refuses a folder where the file system takes none', async () => {
    await expect(files.makeFolder('/proc/none/of/these')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('lists an absent folder as empty and removes an absent file without complaint', async () => {
    expect(await files.list(join(folder, 'none'))).toEqual([]);
    await files.remove(join(folder, 'none'));
    expect(await files.stat(join(folder, 'none'))).toBeUndefined();
    expect(await files.stat(folder)).toMatchObject({ kind: 'folder' });
  });

  it('reads a range and stops at the end of the file', async () => {
    await files.writeAtomic(join(folder, 'a'), 'hello world');
    expect(new TextDecoder().decode(await files.readBytes(join(folder, 'a'), 6, 100))).toBe('world');
    expect((await files.readBytes(join(folder, 'a'), 50, 10)).length).toBe(0);
  });

  it('opens for appending so that writers go on at the end, whoever else writes', async () => {
    const path = join(folder, 'log');
    const descriptor = await files.openAppend(path);
    writeSync(descriptor, 'one\n');
    appendFileSync(path, 'two\n');
    writeSync(descriptor, 'three\n');
    await files.closeDescriptor(descriptor);
    expect(readFileSync(path, 'utf8')).toBe('one\ntwo\nthree\n');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('rotates by copy and truncate under a writer that never stops, and loses nothing', async () => {
    const path = join(folder, 'log');
    const writer = openSync(path, constants.O_APPEND | constants.O_CREAT | constants.O_WRONLY);
    let next = 0;
    let stopped = false;
    const line = (): void => {
      for (let burst = 0; burst < 500; burst += 1) writeSync(writer, `line ${next++} ${'x'.repeat(100)}\n`);
    };
    for (let round = 0; round < 20; round += 1) line();
    const writing = (async () => {
      while (!stopped) {
        line();
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    await files.copyTruncate(path, `${path}.1`);
    stopped = true;
    await writing;
    closeSync(writer);
    const lines = (readFileSync(`${path}.1`, 'utf8') + readFileSync(path, 'utf8')).trimEnd().split('\n');
    expect(lines.map((text) => Number(text.split(' ')[1]))).toEqual(Array.from({ length: next }, (_, index) => index));
    expect(await files.list(folder)).toEqual(['log', 'log.1']);
  });
});
