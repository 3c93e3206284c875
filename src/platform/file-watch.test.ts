import { mkdir, mkdtemp, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import { createTestPlatform } from '../../test/support/test-platform.ts';
import { FileWatch, type FileWatchOptions } from './file-watch.ts';
import type { FolderWatch } from './platform.ts';
import { createPlatform } from './system.ts';

const system = createPlatform();
const { clock } = system;
/** Where nothing depends on how long a step takes. */
const hurried = {
  ...system,
  clock: {
    ...clock,
    monotonic: () => clock.monotonic() * 8,
    after: (delay: number, run: () => void) => clock.after(delay / 8, run),
  },
};
let folder = '';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vgw-watch-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Follows these names below the folder, and counts what it tells. */
class Watched implements AsyncDisposable {
  told = 0;
  readonly #watch: FileWatch;

  constructor(names: readonly string[], platform: FileWatchOptions['platform']) {
    this.#watch = new FileWatch({ platform, changed: () => void (this.told += 1) });
    this.#watch.follow(names.map((name) => join(folder, name)));
  }

  /** What is there when it begins is told, too. */
  static async of(...names: readonly string[]): Promise<Watched> {
    return Watched.on(system, names);
  }

  static async on(platform: FileWatchOptions['platform'], names: readonly string[]): Promise<Watched> {
    const watched = new Watched(names, platform);
    await eventually('the first look', () => watched.told === 1);
    return watched;
  }

  async tells(times: number): Promise<void> {
    await eventually(`${times} changes are told`, () => this.told >= times);
    await this.#watch.settled();
    expect(this.told).toBe(times);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watch[Symbol.dispose]();
    await this.#watch.settled();
  }
}

const write = (name: string, text: string): Promise<void> => writeFile(join(folder, name), text);

describe('a watched file', () => {
  it('is told when it was written, replaced by a rename, removed, and when it is there again', async () => {
    await write('a.yaml', 'one');
    await using watched = await Watched.on(hurried, ['a.yaml']);
    await write('a.yaml', 'two');
    await watched.tells(2);
    await write('.a.yaml.swp', 'three');
    await rename(join(folder, '.a.yaml.swp'), join(folder, 'a.yaml'));
    await watched.tells(3);
    await rm(join(folder, 'a.yaml'));
    await watched.tells(4);
    await write('a.yaml', 'three');
    await watched.tells(5);
  });

  it('is told once when it is written in many small steps', async () => {
    await write('a.yaml', 'one');
    await using watched = await Watched.of('a.yaml');
    for (let length = 0; length < 500; length += 1) await write('a.yaml', 'x'.repeat(length));
    await write('a.yaml', 'whole');
    await watched.tells(2);
  });

  it('is not told when it was only touched, written again as it was, or when others in its folder change', async () => {
    await write('a.yaml', 'one');
    await using watched = await Watched.of('a.yaml');
    await utimes(join(folder, 'a.yaml'), 1, 1);
    await write('a.yaml', 'one');
    for (let count = 0; count < 200; count += 1) await write(`other-${count % 7}`, String(count));
    // What is told next is the change, and nothing was told before it.
    await write('a.yaml', 'two');
    await watched.tells(2);
  });

  it('is told in the middle of a storm that never ends', async () => {
    await write('a.yaml', 'one');
    await using watched = await Watched.of('a.yaml');
    let storming = true;
    const storm = (async () => {
      for (let count = 0; storming; count += 1) {
        await write('other', String(count));
        await new Promise(setImmediate);
      }
    })();
    await write('a.yaml', 'two');
    await watched.tells(2);
    storming = false;
    await storm;
  });

  it('is told when a link above it is swapped, as Kubernetes does, and when its target is written', async () => {
    for (const version of ['v1', 'v2']) {
      await mkdir(join(folder, version));
      await write(`${version}/a.yaml`, version);
    }
    await mkdir(join(folder, 'mount'));
    await symlink('../v1', join(folder, 'mount/..data'));
    await symlink('..data/a.yaml', join(folder, 'mount/a.yaml'));
    await using watched = await Watched.on(hurried, ['mount/a.yaml']);
    await symlink('../v2', join(folder, 'mount/..data_tmp'));
    await rename(join(folder, 'mount/..data_tmp'), join(folder, 'mount/..data'));
    await watched.tells(2);
    await write('v2/a.yaml', 'written in place');
    await watched.tells(3);
  });

  it('is waited for where its folder is not there yet, and found again when its folder was replaced', async () => {
    await using watched = await Watched.on(hurried, ['later/a.yaml']);
    await mkdir(join(folder, 'later'));
    await write('later/a.yaml', 'one');
    await watched.tells(2);
    await rename(join(folder, 'later'), join(folder, 'gone'));
    await mkdir(join(folder, 'later'));
    await write('later/a.yaml', 'two');
    await watched.tells(3);
    await write('gone/a.yaml', 'nobody looks here');
    await write('later/a.yaml', 'three');
    await watched.tells(4);
  });
});

/** Follows a file of a machine that does not exist. `folders`: how changes are told there. */
async function imagined(folders?: FolderWatch) {
  const { clock: ticks, files, sha256 } = createTestPlatform();
  await files.writeAtomic('/etc/a.yaml', 'one');
  const seen = { told: 0 };
  const platform = { clock: ticks, files, sha256, ...(folders && { folders }) };
  const watch = new FileWatch({ platform, changed: () => void (seen.told += 1) });
  watch.follow(['/etc/a.yaml']);
  const pass = async (ms: number): Promise<void> => {
    ticks.advance(ms);
    await watch.settled();
  };
  await pass(250);
  expect(seen.told).toBe(1);
  const replace = (text: string): Promise<void> => files.writeAtomic('/etc/a.yaml', text);
  return { seen, pass, replace, [Symbol.dispose]: () => watch[Symbol.dispose]() };
}

describe('a file that is written in steps', () => {
  it('that take less than a second each is told once, when it is whole [F92]', async () => {
    let stirred = (): void => undefined;
    using file = await imagined({
      foldersOf: async (path) => [{ path, identity: '1' }],
      watch: (_, changed) => {
        stirred = changed;
        return { [Symbol.dispose]: () => undefined };
      },
    });
    const { seen, pass } = file;
    for (const text of ['', 'half', 'whole']) {
      await file.replace(text);
      stirred();
      await pass(250);
      await pass(745);
      expect(seen.told).toBe(1);
    }
    await pass(250);
    await pass(5);
    expect(seen.told).toBe(2);
    // Cut to nothing and put back as it was: nothing is different.
    for (const text of ['', 'whole']) {
      await file.replace(text);
      stirred();
      await pass(250);
    }
    for (let second = 0; second < 12; second += 1) await pass(1_000);
    expect(seen.told).toBe(2);
  });
});

describe('where nobody tells of changes', () => {
  const blind: readonly (readonly [string, FolderWatch | undefined])[] = [
    ['there is nothing like inotify', undefined],
    [
      'there are no watches left',
      {
        foldersOf: async (path) => [{ path, identity: '1' }],
        watch: () => {
          throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
        },
      },
    ],
  ];

  it.each(blind)('(%s) files are looked at each second, and a change counts when it stays', async (_, folders) => {
    using file = await imagined(folders);
    const { seen, pass } = file;
    for (const text of ['half', 'whole']) {
      await file.replace(text);
      await pass(1_000);
      expect(seen.told).toBe(1);
    }
    await pass(1_000);
    expect(seen.told).toBe(2);
    for (let second = 0; second < 3; second += 1) await pass(1_000);
    expect(seen.told).toBe(2);
  });
});
