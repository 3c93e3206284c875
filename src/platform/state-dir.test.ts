import { describe, expect, it } from 'vitest';
import { createTestPlatform, type TestPlatform } from '../../test/support/test-platform.ts';
import { openStateDir, StateDirHeld } from './state-dir.ts';

const FOLDER = '/state';

/** Writes of pins that end only when they are let go, in any order. */
function slowPins(platform: TestPlatform): (() => void)[] {
  const writes: (() => void)[] = [];
  const write = platform.files.writeAtomic.bind(platform.files);
  platform.files.writeAtomic = async (path, text, mode) => {
    if (path.endsWith('pins.json')) await new Promise<void>((resolve) => writes.push(resolve));
    await write(path, text, mode);
  };
  return writes;
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

describe('pins', () => {
  it('are those of the last change, however long the writes before it take', async () => {
    const platform = createTestPlatform();
    const state = await openStateDir(platform, FOLDER, 10);
    const writes = slowPins(platform);
    const changes = [state.writePins(['a']), state.writePins(['a', 'b']), state.writePins(['a', 'b', 'c'])];
    for (let round = 0; round < 5; round += 1) {
      await turns();
      writes
        .splice(0)
        .toReversed()
        .forEach((letGo) => letGo());
    }
    await Promise.all(changes);
    expect(await state.readPins()).toEqual(['a', 'b', 'c']);
  });

  it('are written down before the lock is given back', async () => {
    const platform = createTestPlatform();
    const state = await openStateDir(platform, FOLDER, 10);
    const writes = slowPins(platform);
    void state.writePins(['a']);
    const released = state.release();
    await turns();
    writes.splice(0).forEach((letGo) => letGo());
    await released;
    expect(await state.readPins()).toEqual(['a']);
    expect(await platform.files.readText(`${FOLDER}/gateway.lock`)).toBeUndefined();
  });

  it('are never fewer on disk while they are restored one after the other', async () => {
    const platform = createTestPlatform();
    const state = await openStateDir(platform, FOLDER, 10);
    const seen: string[] = [];
    const write = platform.files.writeAtomic.bind(platform.files);
    platform.files.writeAtomic = (path, text, mode) => {
      seen.push(text.trim());
      return write(path, text, mode);
    };
    await Promise.all([state.writePins(['a']), state.writePins(['a', 'b'])]);
    expect(seen).toEqual(['["a","b"]']);
  });

  it('are written again after a write failed', async () => {
    const platform = createTestPlatform();
    const state = await openStateDir(platform, FOLDER, 10);
    const write = platform.files.writeAtomic.bind(platform.files);
    platform.files.writeAtomic = async () => {
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    };
    await expect(state.writePins(['a'])).rejects.toThrow('no space left');
    platform.files.writeAtomic = write;
    await state.writePins(['a', 'b']);
    expect(await state.readPins()).toEqual(['a', 'b']);
    await state.release();
  });
});

describe('what an earlier run left in the middle of a write', () => {
  it('[F86] is removed, and nothing else is', async () => {
    const platform = createTestPlatform();
    const kept = ['pins.json', 'notes.tmp.md', 'replicas/a-1.1.json', 'logs/a-1.1.log'];
    const strays = ['pins.json.0123456789ab.tmp', 'replicas/a-1.1.json.0123456789ab.tmp', 'logs/a-1.1.log.1.tmp'];
    for (const name of [...kept, ...strays]) await platform.files.writeAtomic(`/state/${name}`, '[]');
    const state = await openStateDir(platform, '/state', 77);
    for (const name of kept) expect(await platform.files.readText(`/state/${name}`)).toBe('[]');
    for (const name of strays) expect(await platform.files.readText(`/state/${name}`)).toBeUndefined();
    await state.release();
  });
});

describe('the file of pins', () => {
  it.each(['', '{"version":9}', '["one"', '\0\0'])('[F87] is put aside when it says nothing: %j', async (text) => {
    const platform = createTestPlatform();
    await platform.files.writeAtomic('/state/pins.json', text);
    const state = await openStateDir(platform, '/state', 77);
    const told: string[] = [];
    expect(await state.readPins((aside) => told.push(aside))).toEqual([]);
    expect(told).toEqual([expect.stringMatching(/^\/state\/pins\.json\.bad-\d+$/)]);
    expect(await platform.files.readText(told[0] ?? '')).toBe(text);
    expect(await state.readPins(() => expect.unreachable('told twice'))).toEqual([]);
    await state.release();
  });
});

describe('the lock', () => {
  const lockOf = (platform: TestPlatform): Promise<string | undefined> =>
    platform.files.readText(`${FOLDER}/gateway.lock`);

  /** Only these processes live; each started at its pid times ten. */
  function living(...pids: readonly number[]): TestPlatform {
    const platform = createTestPlatform();
    platform.subprocess.inspect = async (pid) =>
      pids.includes(pid) ? { pid, parent: 1, group: pid, startTime: pid * 10, state: 'S', command: 'node' } : undefined;
    return platform;
  }

  async function openBoth(platform: TestPlatform): Promise<void> {
    const opened = await Promise.allSettled([openStateDir(platform, FOLDER, 10), openStateDir(platform, FOLDER, 11)]);
    expect(opened.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    const refused = opened.find((result) => result.status === 'rejected');
    expect(refused?.reason).toBeInstanceOf(StateDirHeld);
  }

  it('goes to one of two gateways that start in the same moment', async () => {
    await openBoth(living(10, 11));
  });

  it('goes to one of two gateways that find the lock of a dead one in the same moment', async () => {
    const platform = living(10, 11);
    await platform.files.writeAtomic(`${FOLDER}/gateway.lock`, '{"pid":9,"startTime":90}');
    await openBoth(platform);
    const sign = expect.stringMatching(/^gateway-[0-9a-f]{8}\.alive$/);
    expect(await platform.files.list(FOLDER)).toEqual([sign, 'gateway.id', 'gateway.lock']);
  });

  it('is taken over from a process that is gone, and from another one with its pid', async () => {
    for (const text of ['{"pid":9,"startTime":90}', '{"pid":11,"startTime":7}', 'no lock at all']) {
      const platform = living(10, 11);
      await platform.files.writeAtomic(`${FOLDER}/gateway.lock`, text);
      const state = await openStateDir(platform, FOLDER, 10);
      expect(JSON.parse((await lockOf(platform)) ?? '')).toMatchObject({ pid: 10, startTime: 100 });
      await state.release();
      expect(await lockOf(platform)).toBeUndefined();
    }
  });

  it('of a gateway in another container is seen, although its pid is ours or nobody s here [F74]', async () => {
    for (const pid of [10, 77]) {
      const platform = living(10);
      const first = await openStateDir(platform, FOLDER, pid);
      await expect(openStateDir(platform, FOLDER, 10)).rejects.toThrow(`held by another gateway (pid ${pid})`);
      await first.release();
      await (await openStateDir(platform, FOLDER, 10)).release();
      expect(await platform.files.list(FOLDER)).toEqual(['gateway.id']);
    }
  });

  it('is followed by the end of signs that a gateway left which was killed before it had the lock', async () => {
    const platform = living(10, 11);
    const sign = (digits: string): string => `${FOLDER}/gateway-${digits}.alive`;
    await platform.files.writeAtomic(sign('00000001'), '');
    await using other = await platform.files.announce(sign('00000002'));
    expect(other).not.toBeNull();
    const state = await openStateDir(platform, FOLDER, 10);
    const signs = (await platform.files.list(FOLDER)).filter((name) => name.endsWith('.alive'));
    expect(signs).toHaveLength(2);
    expect(signs).toContain('gateway-00000002.alive');
    await state.release();
  });

  it('that names no sign of life, as older ones, is judged by its pid', async () => {
    const platform = living(10, 11);
    await platform.files.writeAtomic(`${FOLDER}/gateway.lock`, '{"pid":11,"startTime":110,"alive":"../../etc/passwd"}');
    await expect(openStateDir(platform, FOLDER, 10)).rejects.toThrow('held by another gateway (pid 11)');
  });

  it('of a gateway that lives is seen when somebody has removed its sign of life', async () => {
    const platform = living(10, 11);
    await openStateDir(platform, FOLDER, 11);
    for (const name of await platform.files.list(FOLDER)) {
      if (name.endsWith('.alive')) await platform.files.remove(`${FOLDER}/${name}`);
    }
    await expect(openStateDir(platform, FOLDER, 10)).rejects.toThrow('held by another gateway (pid 11)');
  });

  it('of a gateway that lives is left alone', async () => {
    const platform = living(10, 11);
    await openStateDir(platform, FOLDER, 11);
    const before = await lockOf(platform);
    await expect(openStateDir(platform, FOLDER, 10)).rejects.toThrow('held by another gateway (pid 11)');
    expect(await lockOf(platform)).toBe(before);
  });
});
