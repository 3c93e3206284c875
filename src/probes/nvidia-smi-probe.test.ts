import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fakeVllmPath } from '../../test/support/fake-vllm.ts';
import { createTestPlatform, type TestPlatform } from '../../test/support/test-platform.ts';
import type { Platform, Subprocess } from '../platform/platform.ts';
import { createPlatform } from '../platform/system.ts';
import { MIB, SECOND } from '../units.ts';
import { NvidiaSmiProbe } from './nvidia-smi-probe.ts';

type Ran = Awaited<ReturnType<Subprocess['run']>>;
type Run = (argv: readonly string[], options: Parameters<Subprocess['run']>[1]) => Promise<Ran> | Ran;

const GPUS = 'uuid, memory.total [MiB], memory.used [MiB], driver_version, mig.mode.current, name\n';
const OLD_GPUS = 'uuid, memory.total [MiB], memory.used [MiB], driver_version, name\n';
const APPS = 'gpu_uuid, pid, used_gpu_memory [MiB]\n';
const NAMES = new Map<string, string>();

const ran = (stdout: string, more: Partial<Ran> = {}): Ran => ({
  code: 0,
  signal: null,
  stdout,
  stderr: '',
  timedOut: false,
  ...more,
});
const isGpuQuery = (argv: readonly string[]): boolean => argv.some((word) => word.startsWith('--query-gpu'));
const healthy: Run = (argv) => ran(isGpuQuery(argv) ? `${GPUS}GPU-a, 100 MiB, 1 MiB, 580.95.05, Disabled, X\n` : APPS);

function scripted(
  run: Run,
  command = 'nvidia-smi',
): { probe: NvidiaSmiProbe; platform: TestPlatform; runs: string[][] } {
  const platform = createTestPlatform({ env: { PATH: '/bin', LC_ALL: 'de_DE.UTF-8', LANG: 'de_DE.UTF-8' } });
  const runs: string[][] = [];
  platform.subprocess.run = async (argv: readonly string[], options: Parameters<Run>[1]) => {
    runs.push([...argv]);
    return await run(argv, options);
  };
  return { probe: new NvidiaSmiProbe({ platform, command, names: NAMES }), platform, runs };
}

/** Settles later, so that a rejection is never unheard meanwhile. */
function heard(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'read',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
}

describe('the nvidia-smi probe', () => {
  it('asks for both tables at once, in the language that it reads', async () => {
    const seen: Parameters<Run>[1][] = [];
    const { probe, runs } = scripted((argv, options) => {
      seen.push(options);
      return healthy(argv, options);
    });
    expect((await probe.read()).devices).toHaveLength(1);
    expect(runs.map((argv) => argv[0])).toEqual(['nvidia-smi', 'nvidia-smi']);
    for (const { env, timeout, maxOutput } of seen) {
      expect(env).toMatchObject({ LC_ALL: 'C', LANGUAGE: 'C', PATH: '/bin' });
      expect(timeout).toBe(5 * SECOND);
      expect(maxOutput).toBeLessThanOrEqual(MIB);
    }
  });

  it('runs a command of several words, or the file that is called so', async () => {
    const words = scripted(healthy, '/usr/bin/node  /opt/smi.js');
    await words.probe.read();
    expect(words.runs[0]?.slice(0, 2)).toEqual(['/usr/bin/node', '/opt/smi.js']);
    const file = scripted(healthy, '/opt/my tools/nvidia-smi');
    await file.platform.files.writeAtomic('/opt/my tools/nvidia-smi', '');
    await file.probe.read();
    expect(file.runs[0]?.[0]).toBe('/opt/my tools/nvidia-smi');
  });

  it('reads once for all who ask meanwhile', async () => {
    const { probe, runs } = scripted(healthy);
    const [first, second] = await Promise.all([probe.read(), probe.read()]);
    expect(first).toBe(second);
    expect(runs).toHaveLength(2);
    await probe.read();
    expect(runs).toHaveLength(4);
  });

  it('learns that the driver knows no MIG, and asks without from then on', async () => {
    const { probe, runs } = scripted((argv) => {
      if (!isGpuQuery(argv)) return ran(APPS);
      if (argv.some((word) => word.includes('mig'))) {
        return ran('Field "mig.mode.current" is not a valid field to query.\n', { code: 2 });
      }
      return ran(`${OLD_GPUS}GPU-a, 100 MiB, 1 MiB, 440.33.01, X\n`);
    });
    expect((await probe.read()).driverVersion).toBe('440.33.01');
    expect(runs).toHaveLength(3);
    await probe.read();
    expect(runs).toHaveLength(5);
  });

  it('knows a missing command from one that cannot be run', async () => {
    const failing = (code: string): NvidiaSmiProbe =>
      scripted(() => {
        throw Object.assign(new Error(`spawn ${code}`), { code });
      }).probe;
    await expect(failing('ENOENT').read()).rejects.toMatchObject({
      absent: true,
      message: 'nvidia-smi: there is no such command',
    });
    await expect(failing('EACCES').read()).rejects.toMatchObject({ absent: false });
  });

  it('refuses an output that was cut at its bound', async () => {
    const { probe } = scripted((_argv, { maxOutput }) => ran('x'.repeat(maxOutput ?? 0)));
    await expect(probe.read()).rejects.toThrow('printed more than 256 KiB');
  });

  it('[F79] asks less and less often while it hangs, and as ever once it answers [item 97]', async () => {
    let hanging = true;
    const { probe, platform, runs } = scripted((argv, options) =>
      hanging ? ran('', { timedOut: true, code: null, signal: 'SIGKILL' }) : healthy(argv, options),
    );
    const asked: number[] = [];
    for (let second = 0; second < 90; second += 1) {
      const before = runs.length;
      expect(await heard(probe.read())).toBe('nvidia-smi: it did not answer within 5 s and was killed');
      if (runs.length > before) asked.push(second);
      platform.clock.advance(SECOND);
    }
    expect(asked).toEqual([0, 2, 6, 14, 30, 60]);
    hanging = false;
    expect(await heard(probe.read())).toBe('read');
    expect(await heard(probe.read())).toBe('read');
  });

  it('[F79] ends its read when the command cannot even be killed, and starts no other beside it', async () => {
    let release: (value: Ran) => void = () => {};
    const stuck = new Promise<Ran>((resolve) => {
      release = resolve;
    });
    let first = true;
    const { probe, platform, runs } = scripted((argv, options) => (first ? stuck : healthy(argv, options)));
    const read = heard(probe.read());
    await platform.clock.advanceAsync(7 * SECOND);
    expect(await read).toContain('cannot be killed');
    expect(runs).toHaveLength(2);
    first = false;
    await platform.clock.advanceAsync(60 * SECOND);
    expect(await heard(probe.read())).toContain('began 67 s ago has not ended');
    expect(runs).toHaveLength(2);
    release(ran('', { timedOut: true }));
    await platform.clock.advanceAsync(60 * SECOND);
    expect(await heard(probe.read())).toBe('read');
  });
});

describe('the nvidia-smi probe and a real command', () => {
  let folder: string;
  let file: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vgw-probe-'));
    file = join(folder, 'vram.json');
    const devices = [24, 80].map((gib, index) => ({
      index,
      uuid: `GPU-p-${index}`,
      total_mib: gib * 1024,
      base_used_mib: 100,
    }));
    writeFileSync(
      file,
      JSON.stringify({ devices, claims: { [process.pid]: { mib: { 'GPU-p-1': 512 }, release_ms: 0 } } }),
    );
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  function real(fault: string): { probe: NvidiaSmiProbe; platform: Platform } {
    const env = { ...process.env, FAKE_VLLM_VRAM_FILE: file, FAKE_VLLM_SMI_FAULT: fault };
    const platform: Platform = { ...createPlatform(), env };
    const command = `${process.execPath} ${fakeVllmPath('nvidia-smi.js')}`;
    return { probe: new NvidiaSmiProbe({ platform, command, names: new Map([['GPU-p-1', 'big']]) }), platform };
  }

  it('reads devices and processes', async () => {
    const { devices, processes, driverVersion } = await real('').probe.read();
    expect(devices.map(({ id, totalBytes, usedBytes }) => [id, totalBytes / MIB, (usedBytes ?? 0) / MIB])).toEqual([
      ['GPU-p-0', 24 * 1024, 100],
      ['big', 80 * 1024, 612],
    ]);
    expect(processes).toEqual([{ deviceId: 'big', pid: process.pid, bytes: 512 * MIB }]);
    expect(driverVersion).toBe('580.95.05');
  });

  it.each([
    ['na', ['[N/A]', '[N/A]']],
    ['err', ['ERR!', 'ERR!']],
    ['mig', ['MIG', null]],
    ['lost:0', [null]],
    ['missing_device:1', [null]],
    ['crlf', [null, null]],
    ['warnings', [null, null]],
  ] as const)('[F75] [F77] [F80] goes on with what %s leaves', async (fault, troubles) => {
    const { devices } = await real(fault).probe.read();
    expect(devices).toHaveLength(troubles.length);
    for (const [index, trouble] of troubles.entries()) {
      if (trouble === null) expect(devices[index]?.trouble).toBeNull();
      else expect(devices[index]?.trouble).toContain(trouble);
    }
  });

  it.each([
    ['localised', 'no amount of memory in MiB'],
    ['garbage', 'it printed'],
    ['empty', 'it printed nothing'],
    ['no_driver', 'it exited with 9: NVIDIA-SMI has failed'],
    ['no_devices', 'it exited with 6: No devices were found'],
  ])('[F80] is refused by %s', async (fault, message) => {
    await expect(real(fault).probe.read()).rejects.toThrow(message);
  });

  it('[F79] ends what hangs and what never stops printing, and leaves nothing behind', async () => {
    const [hang, flood] = [real('hang'), real('flood')];
    expect(await Promise.all([heard(hang.probe.read()), heard(flood.probe.read())])).toEqual([
      expect.stringContaining('did not answer within 5 s and was killed'),
      expect.stringContaining('did not answer within 5 s and was killed'),
    ]);
    expect(await hang.platform.subprocess.findByEnvironment('FAKE_VLLM_VRAM_FILE', file)).toEqual([]);
  });
});
