import { beforeEach, describe, expect, it } from 'vitest';
import { createTestPlatform, type ScriptedProcess, type TestPlatform } from '../../../test/support/test-platform.ts';
import type { StopOptions } from '../driver.ts';
import { membersOf, stopTree, type ProcessTree } from './stop-tree.ts';

const MARK = 'gateway/replica/1';
const env = { VGW_PROCESS: MARK };

let platform: TestPlatform;
let leader: ScriptedProcess;
let tree: ProcessTree;

beforeEach(() => {
  platform = createTestPlatform();
  leader = platform.subprocess.add({ argv: ['vllm'], env });
  tree = { leader: { pid: leader.pid, startTime: leader.startTime }, mark: MARK };
});

interface Result {
  readonly took: number;
  readonly cutAt: readonly number[];
  readonly error: unknown;
}

async function stop(more: Partial<StopOptions> = {}, of: ProcessTree = tree): Promise<Result> {
  const { clock } = platform;
  const began = clock.monotonic();
  const cutAt: number[] = [];
  let error: unknown;
  let over = false;
  const options = {
    timeout: 30_000,
    starting: false,
    cutConnections: () => cutAt.push(clock.monotonic() - began),
    ...more,
  };
  stopTree(platform, of, options)
    .catch((failure: unknown) => {
      error = failure;
    })
    .finally(() => {
      over = true;
    });
  await clock.runUntil(() => over);
  return { took: clock.monotonic() - began, cutAt, error };
}

const ignore = (process: ScriptedProcess): ScriptedProcess => {
  process.onSignal = () => {};
  return process;
};

describe('stopping a process tree', () => {
  it('asks first, and is done as soon as nothing is left', async () => {
    expect(await stop()).toMatchObject({ took: 0, cutAt: [], error: undefined });
    expect(leader.signals).toEqual(['SIGTERM']);
  });

  it('has nothing to do when nothing is left', async () => {
    leader.exit(0);
    expect(await stop()).toMatchObject({ took: 0, cutAt: [], error: undefined });
    expect(leader.signals).toEqual([]);
  });

  it('[F97] takes nobody for gone while there is no descriptor to look through, and goes on when there is one', async () => {
    const { clock, subprocess } = platform;
    const inspect = subprocess.inspect.bind(subprocess);
    const blind = (): Promise<never> => Promise.reject(Object.assign(new Error('EMFILE'), { code: 'EMFILE' }));
    subprocess.inspect = blind;
    clock.after(3_000, () => {
      subprocess.inspect = inspect;
    });
    const result = await stop();
    expect(result.error).toBeUndefined();
    expect(result.took).toBeGreaterThanOrEqual(3_000);
    expect(leader.signals).toEqual(['SIGTERM']);
    leader = platform.subprocess.add({ argv: ['vllm'], env });
    subprocess.inspect = blind;
    const never = await stop({ timeout: 2_000 }, { ...tree, leader: { pid: leader.pid, startTime: leader.startTime } });
    expect(never.error).toMatchObject({ code: 'EMFILE' });
    expect(leader.alive).toBe(true);
  });

  it('cuts connections after 2 s, which is what a server that waits for its clients waits for', async () => {
    leader.onSignal = () => {};
    const { clock } = platform;
    const cut = (): void => {
      clock.after(300, () => leader.exit(0));
    };
    const result = await stop({ cutConnections: cut });
    expect(result.took).toBeGreaterThanOrEqual(2_300);
    expect(result.took).toBeLessThan(2_500);
    expect(leader.signals).toEqual(['SIGTERM']);
  });

  it.each([
    ['ready', { timeout: 60_000 }, 2_000, 10_000],
    ['with less time', { timeout: 9_000 }, 2_000, 3_000],
    ['with very little time', { timeout: 3_000 }, 1_000, 1_000],
    ['starting', { timeout: 60_000, starting: true }, 2_000, 2_000],
  ])('kills what ignores the signal: %s', async (_name, options, cutAt, killedAt) => {
    ignore(leader);
    const result = await stop(options);
    expect(leader.signals).toEqual(['SIGTERM', 'SIGKILL']);
    expect(result.error).toBeUndefined();
    expect(result.cutAt).toHaveLength(1);
    expect(result.cutAt[0]).toBeGreaterThanOrEqual(cutAt);
    expect(result.cutAt[0]).toBeLessThan(cutAt + 100);
    expect(result.took).toBeGreaterThanOrEqual(killedAt);
    expect(result.took).toBeLessThan(killedAt + 200);
  });

  it('ends an engine core that outlived its leader, soon, and one that left the group', async () => {
    const core = ignore(platform.subprocess.add({ argv: ['VLLM::EngineCore'], group: leader.pid }));
    const escaped = ignore(platform.subprocess.add({ argv: ['worker'], env }));
    const result = await stop();
    expect(core.alive).toBe(false);
    expect(escaped.alive).toBe(false);
    expect(escaped.signals).toEqual(['SIGTERM', 'SIGKILL']);
    expect(result.took).toBeLessThan(2_300);
  });

  it('[F50] does not count zombies as alive', async () => {
    leader.state = 'Z';
    const child = platform.subprocess.add({ group: leader.pid });
    child.state = 'Z';
    expect(await stop()).toMatchObject({ took: 0, error: undefined });
  });

  it('rejects and names what even SIGKILL does not end, when the timeout is over', async () => {
    const stuck = ignore(platform.subprocess.add({ argv: ['VLLM::Worker'], group: leader.pid }));
    stuck.state = 'D';
    const { took, error } = await stop({ timeout: 15_000 });
    expect(String(error)).toContain(`VLLM::Worker (pid ${stuck.pid}, state D)`);
    expect(took).toBeGreaterThanOrEqual(15_000);
    expect(took).toBeLessThan(15_200);
  });

  it('kills again what was forked while it killed', async () => {
    ignore(leader);
    platform.clock.after(10_100, () => ignore(platform.subprocess.add({ argv: ['late'], env })));
    const stuck = ignore(platform.subprocess.add({ group: leader.pid, argv: ['slow'] }));
    stuck.state = 'D';
    platform.clock.after(11_000, () => {
      stuck.state = 'S';
    });
    const { took, error } = await stop();
    expect(error).toBeUndefined();
    expect(took).toBeLessThan(12_000);
    expect(await membersOf(platform, tree)).toEqual([]);
  });

  it('[F48] never touches a stranger that was given the pid again', async () => {
    const stranger: ProcessTree = { ...tree, leader: { pid: leader.pid, startTime: leader.startTime - 1 } };
    const other = platform.subprocess.add({ argv: ['postgres'] });
    const reused: ProcessTree = { leader: { pid: other.pid, startTime: other.startTime - 1 }, mark: 'none' };
    expect(await membersOf(platform, reused)).toEqual([]);
    await stop({}, reused);
    expect(other.signals).toEqual([]);
    // What carries the mark is ours, whatever the record says.
    expect(await membersOf(platform, stranger)).toMatchObject([{ pid: leader.pid }]);
  });
});
