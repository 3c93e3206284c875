import { openSync, closeSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from './clock.ts';
import type { Child } from './platform.ts';
import { parseStat } from './processes.ts';
import { systemSubprocess as subprocess } from './subprocess.ts';

let folder = '';
let output = -1;
const groups: number[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vgw-subprocess-'));
  output = openSync(join(folder, 'log'), 'a');
});
afterEach(() => {
  for (const pid of groups.splice(0)) subprocess.signal(-pid, 'SIGKILL');
  closeSync(output);
  rmSync(folder, { recursive: true, force: true });
});

const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin' };

async function spawn(argv: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<Child> {
  const child = await subprocess.spawn(argv, { env: { ...env, ...more }, output });
  groups.push(child.pid);
  return child;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('the condition did not come true');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const log = (): string => readFileSync(join(folder, 'log'), 'utf8');

describe('spawn', () => {
  it('gives the child a session and group of its own, and its output goes to the descriptor', async () => {
    const child = await spawn(['sh', '-c', 'echo out; echo err >&2; exec sleep 60']);
    await until(() => log().includes('err'));
    expect(log()).toBe('out\nerr\n');
    const facts = await subprocess.inspect(child.pid);
    expect(facts).toMatchObject({ pid: child.pid, parent: process.pid, group: child.pid });
    expect(facts?.startTime).toBeGreaterThan(0);
  });

  it('reports the exit code and the signal', async () => {
    expect(await (await spawn(['sh', '-c', 'exit 3'])).exited).toEqual({ code: 3, signal: null });
    const child = await spawn(['sleep', '60']);
    expect(subprocess.signal(-child.pid, 'SIGKILL')).toBe(true);
    expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' });
    expect(subprocess.signal(child.pid, 'SIGKILL')).toBe(false);
  });

  it('[F47] reports the exit even while a grandchild holds the descriptors', async () => {
    const child = await spawn(['sh', '-c', 'sleep 60 & exit 0']);
    expect(await child.exited).toEqual({ code: 0, signal: null });
    await until(async () => (await subprocess.group(child.pid)).length === 1);
  });

  it('rejects with the code of the system when the command cannot be run', async () => {
    await expect(spawn(['/nonexistent/vllm'])).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(spawn([folder])).rejects.toMatchObject({ code: 'EACCES' });
    await expect(spawn(['sh', '\0'])).rejects.toThrow();
  });

  it('refuses to signal its own group or everything', () => {
    expect(() => subprocess.signal(0, 'SIGKILL')).toThrow(RangeError);
    expect(() => subprocess.signal(-1, 'SIGKILL')).toThrow(RangeError);
  });
});

describe('processes', () => {
  it('reads a command name that holds spaces and parentheses', () => {
    const fields = Array.from({ length: 40 }, (_, index) => String(index + 4)).join(' ');
    expect(parseStat(`42 (a) S 1) (b c) R ${fields}`)).toEqual({
      pid: 42,
      command: 'a) S 1) (b c',
      state: 'R',
      parent: 4,
      group: 5,
      startTime: 22,
    });
    expect(parseStat('')).toBeUndefined();
    expect(parseStat('42 (cut off')).toBeUndefined();
    expect(parseStat('42 (cut) S 1')).toBeUndefined();
  });

  it('finds processes by one exact variable of their environment, setsid escapees included', async () => {
    const child = await spawn(['sh', '-c', 'setsid sleep 60 & exec sleep 60'], { VGW_TEST: `a${process.pid}` });
    // It is there before it has left the group.
    await until(async () => {
      const found = await subprocess.findByEnvironment('VGW_TEST', `a${process.pid}`);
      const escaped = found.find((facts) => facts.group !== child.pid);
      if (escaped !== undefined) groups.push(escaped.group);
      return escaped !== undefined && found.length === 2;
    });
    expect(await subprocess.findByEnvironment('VGW_TEST', 'a')).toEqual([]);
    expect(await subprocess.findByEnvironment('GW_TEST', `a${process.pid}`)).toEqual([]);
  });

  it('[F50] leaves zombies out of groups and environments, but shows them when inspected', async () => {
    // The shell starts a child that ends at once, then becomes a program that never reaps it.
    const child = await spawn(['sh', '-c', 'sleep 0.01 & exec sleep 60'], { VGW_TEST: `z${process.pid}` });
    await until(async () => (await subprocess.group(child.pid)).length === 1);
    await until(async () => (await subprocess.findByEnvironment('VGW_TEST', `z${process.pid}`)).length === 1);
  });

  it('knows nothing of a pid that does not exist', async () => {
    expect(await subprocess.inspect(2 ** 22 + 1)).toBeUndefined();
  });
});

describe('run', () => {
  it('returns the output and the exit code', async () => {
    const result = await subprocess.run(['sh', '-c', 'echo one; echo two >&2; exit 4'], { timeout: 20_000 });
    expect(result).toEqual({ code: 4, signal: null, stdout: 'one\n', stderr: 'two\n', timedOut: false });
  });

  it('kills the whole group after the timeout', async () => {
    const result = await subprocess.run(['sh', '-c', 'sleep 60 & sleep 60'], { timeout: 50 });
    expect(result).toMatchObject({ timedOut: true, signal: 'SIGKILL' });
  });

  it('does not wait for a grandchild that holds the pipes', async () => {
    const result = await subprocess.run(['sh', '-c', 'echo hi; sleep 5 & exit 0'], { timeout: 20_000 });
    expect(result).toMatchObject({ code: 0, stdout: 'hi\n', timedOut: false });
  });

  it('cuts output that never ends', async () => {
    const result = await subprocess.run(['sh', '-c', 'head -c 100000 /dev/zero'], {
      timeout: 20_000,
      maxOutput: 1_000,
    });
    expect(result.stdout).toHaveLength(1_000);
  });
});

describe('ports', () => {
  it('tells a free port from one that somebody listens on, on the wildcard address too', async () => {
    for (const host of ['127.0.0.1', '0.0.0.0']) {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, host, resolve));
      const { port } = server.address() as AddressInfo;
      expect(await subprocess.portIsFree('127.0.0.1', port)).toBe(false);
      await new Promise((resolve) => server.close(resolve));
      expect(await subprocess.portIsFree('127.0.0.1', port)).toBe(true);
    }
  });
});

describe('clock', () => {
  it('clamps delays beyond what timers take instead of firing at once [I-77]', async () => {
    let fired = false;
    using _timer = systemClock.after(Number.POSITIVE_INFINITY, () => {
      fired = true;
    });
    await systemClock.sleep(5);
    expect(fired).toBe(false);
  });

  it('rejects a sleep with the reason of its signal', async () => {
    const controller = new AbortController();
    const slept = systemClock.sleep(60_000, controller.signal);
    controller.abort(new Error('enough'));
    await expect(slept).rejects.toThrow('enough');
    await expect(systemClock.sleep(60_000, controller.signal)).rejects.toThrow('enough');
  });
});
