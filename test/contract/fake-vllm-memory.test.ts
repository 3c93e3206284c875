import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { accepts, type FakeEngine, fakeVllmPath, launchFake, startFake } from '../support/fake-vllm.ts';

const GIB = 1024;
let folder: string;
let file: string;

/** A shared file with devices of so many GiB. */
function devices(...gib: readonly number[]): void {
  const list = gib.map((size, index) => ({ index, uuid: `GPU-fake-${index}`, total_mib: size * GIB }));
  writeFileSync(file, JSON.stringify({ devices: list, claims: {} }));
}

function smi(args: readonly string[], fault = ''): { status: number | null; stdout: string } {
  return spawnSync(process.execPath, [fakeVllmPath('nvidia-smi.js'), ...args], {
    encoding: 'utf8',
    timeout: 10_000,
    env: { FAKE_VLLM_VRAM_FILE: file, FAKE_VLLM_SMI_FAULT: fault },
  });
}

/** MiB in use by device, as the pretended nvidia-smi prints it. */
function used(): number[] {
  const { stdout } = smi(['--query-gpu=memory.used', '--format=csv,noheader,nounits']);
  return stdout.trim().split('\n').map(Number);
}

const env = (more: Readonly<Record<string, string>> = {}): Record<string, string> => ({
  FAKE_VLLM_VRAM_FILE: file,
  FAKE_VLLM_ORPHAN_MAX_MS: '30000',
  FAKE_VLLM_WEIGHTS_MIB: String(4 * GIB),
  ...more,
});

const kvGib = (engine: FakeEngine): number => Number(/Available KV cache memory: (\S+) GiB/.exec(engine.output)?.[1]);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fake-vram-'));
  file = join(folder, 'vram.json');
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('the pretended device memory', () => {
  it('is claimed up to the share asked for and given back at the end', async () => {
    devices(24, 24);
    const flags = ['--gpu-memory-utilization', '0.5'];
    await using engine = await startFake({ flags, env: env({ CUDA_VISIBLE_DEVICES: 'GPU-fake-1' }) });
    // Context beside the share, and the share itself: weights, activations, KV, graphs.
    expect(used()).toEqual([0, 450 + 12 * GIB]);
    expect(kvGib(engine)).toBeCloseTo(12 - 4 - 0.5 - 0.25, 1);
    const rows = smi(['--query-compute-apps=pid,used_memory,gpu_uuid', '--format=csv,noheader,nounits']).stdout;
    expect(rows).toBe(`${engine.pid}, ${450 + 12 * GIB}, GPU-fake-1\n`);
    process.kill(engine.pid, 'SIGTERM');
    await engine.exit;
    expect(used()).toEqual([0, 0]);
  });

  it('is missed by who asks for more than is free', async () => {
    devices(24);
    await using first = await startFake({ flags: ['--gpu-memory-utilization', '0.5'], env: env() });
    await using second = await launchFake({ flags: ['--gpu-memory-utilization', '0.6'], env: env() });
    expect(await second.exit).toEqual({ code: 1, signal: null });
    expect(second.output).toMatch(
      /Free memory on device cuda:0 \(11\.\d\d\/24\.00 GiB\) on startup is less than desired GPU memory utilization \(0\.6, 14\.40 GiB\)/,
    );
    expect(first.running).toBe(true);
  });

  it('is measured wrongly when two start at once, and rightly when the KV size is given', async () => {
    devices(32);
    const slow = { FAKE_VLLM_START_MS: '1500' };
    const launch = (flags: readonly string[]): Promise<FakeEngine> => launchFake({ flags, env: env(slow) });
    await using left = await launch(['--gpu-memory-utilization', '0.4']);
    await using right = await launch(['--gpu-memory-utilization', '0.4']);
    const ends = await Promise.allSettled([left.ready(), right.ready()]);
    const alone = 32 * 0.4 - 4 - 0.5 - 0.25;
    const wrong = [left, right].filter((engine) => !(kvGib(engine) > alone - 0.1));
    expect(wrong.length).toBeGreaterThan(0);
    expect(ends.length).toBe(2);
    await Promise.all([left.kill(), right.kill()]);
    const fixed = ['--gpu-memory-utilization', '0.01', '--kv-cache-memory-bytes', '2G'];
    await using third = await launch(fixed);
    await using fourth = await launch(fixed);
    await Promise.all([third.ready(), fourth.ready()]);
    expect([kvGib(third), kvGib(fourth)]).toEqual([2, 2]);
  });

  it('runs out while weights load, and has too little left for one request', async () => {
    devices(4);
    const flags = ['--gpu-memory-utilization', '0.05', '--kv-cache-memory-bytes', '1G'];
    await using big = await launchFake({ flags, env: env() });
    await big.exit;
    expect(big.output).toContain('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB');
    devices(6);
    await using tight = await launchFake({ flags: ['--max-model-len', '100000'], env: env() });
    await tight.exit;
    expect(tight.output).toContain("To serve at least one request with the model's max seq len (100000)");
    expect(tight.output).toMatch(/the estimated maximum model length is \d+\./);
  });

  it('shrinks asleep and grows awake, unless a neighbour took it meanwhile', async () => {
    devices(24);
    const dev = env({ VLLM_SERVER_DEV_MODE: '1' });
    const flags = ['--gpu-memory-utilization', '0.8', '--enable-sleep-mode'];
    await using engine = await startFake({ flags, env: dev });
    const [awake = 0] = used();
    await fetch(`${engine.url}/sleep?level=1`, { method: 'POST' });
    expect(used()).toEqual([450 + 1100]);
    await using neighbour = await startFake({ flags: ['--gpu-memory-utilization', '0.5'], env: env() });
    expect((await fetch(`${engine.url}/wake_up`, { method: 'POST' })).status).toBe(500);
    await neighbour.kill();
    expect((await fetch(`${engine.url}/wake_up`, { method: 'POST' })).status).toBe(200);
    expect(used()).toEqual([awake]);
  });

  it('counts for a while after a process is gone', async () => {
    devices(24);
    await using engine = await startFake({ env: env({ FAKE_VLLM_VRAM_RELEASE_MS: '400' }) });
    await engine.kill();
    expect(used()[0]).toBeGreaterThan(20 * GIB);
    expect(smi(['--query-compute-apps=pid', '--format=csv,noheader']).stdout).toBe('');
    await expect.poll(used, { interval: 20 }).toEqual([0]);
  });
});

describe('an EngineCore of its own', () => {
  const coreOf = (engine: FakeEngine): number => Number(/\(EngineCore pid=(\d+)\)/.exec(engine.output)?.[1]);
  const title = (pid: number): string => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\u0000', '');
    } catch {
      return '';
    }
  };
  const group = (pid: number): number =>
    Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[2]);

  it.each([
    ['orphan', true],
    ['setsid_orphan', false],
  ])('outlives a killed leader and keeps its memory: %s', async (fault, sameGroup) => {
    devices(24);
    await using engine = await startFake({ env: env({ FAKE_VLLM_FAULT: fault }) });
    const core = coreOf(engine);
    expect(core).not.toBe(engine.pid);
    expect(title(core)).toBe('VLLM::EngineCore');
    expect(group(core) === engine.pid).toBe(sameGroup);
    const before = used();
    process.kill(engine.pid, 'SIGKILL');
    await engine.exit;
    expect(title(core)).toBe('VLLM::EngineCore');
    expect(used()).toEqual(before);
    process.kill(core, 'SIGKILL');
    await expect.poll(used, { interval: 20 }).toEqual([0]);
  });

  it('is left alone by a leader that vanishes in the middle of a request', async () => {
    devices(24);
    await using engine = await startFake({ env: env({ FAKE_VLLM_FAULT: 'half_dead' }) });
    const core = coreOf(engine);
    const body = JSON.stringify({ messages: [{ role: 'user', content: 'hi' }] });
    const headers = { 'content-type': 'application/json' };
    await expect(fetch(`${engine.url}/v1/chat/completions`, { method: 'POST', headers, body })).rejects.toThrow();
    expect(await engine.exit).toEqual({ code: null, signal: 'SIGKILL' });
    expect(title(core)).toBe('VLLM::EngineCore');
    expect(await accepts(engine.port)).toBe(false);
    process.kill(core, 'SIGKILL');
  });

  it('goes with its leader when that one is asked to stop', async () => {
    devices(24);
    await using engine = await startFake({ env: env({ FAKE_VLLM_PROCESSES: '2' }) });
    const core = coreOf(engine);
    process.kill(engine.pid, 'SIGTERM');
    expect(await engine.exit).toEqual({ code: 0, signal: null });
    await expect.poll(() => title(core), { interval: 5 }).toBe('');
    expect(used()).toEqual([0]);
  });
});

describe('the pretended nvidia-smi', () => {
  it('prints the CSV forms', () => {
    devices(24, 80);
    const query = '--query-gpu=index,uuid,name,memory.total,memory.used,memory.free';
    expect(smi([query, '--format=csv,noheader,nounits']).stdout).toBe(
      '0, GPU-fake-0, NVIDIA Simulated GPU, 24576, 0, 24576\n1, GPU-fake-1, NVIDIA Simulated GPU, 81920, 0, 81920\n',
    );
    expect(smi(['--query-gpu=index,memory.total', '--format=csv', '-i=1']).stdout).toBe(
      'index, memory.total [MiB]\n1, 81920 MiB\n',
    );
    expect(smi(['-L']).stdout).toContain('GPU 1: NVIDIA Simulated GPU (UUID: GPU-fake-1)');
    expect(smi(['--query-gpu=nonsense', '--format=csv']).status).toBe(2);
  });

  it('misbehaves as scripted', () => {
    devices(24);
    const query = ['--query-gpu=index,memory.used', '--format=csv,noheader,nounits'];
    expect(smi(query, 'na').stdout).toBe('0, [N/A]\n');
    expect(smi(query, 'err').stdout).toBe('0, ERR!\n');
    expect(smi(query, 'empty').stdout).toBe('');
    expect(smi(query, 'no_driver').status).toBe(9);
    expect(smi(query, 'garbage').stdout).toContain('not csv');
    expect(smi(query, 'missing_device:0').stdout).toBe('');
    expect(smi(query, 'localised').stdout).toBe('0, 0,0\n');
    expect(smi(query, 'crlf').stdout).toBe('0, 0\r\n');
    expect(smi(query, 'mig').stdout).toBe('0, [Insufficient Permissions]\n');
    expect(smi(query, 'lost:0').stdout).toMatch(/^Unable to determine the device handle for GPU0: /);
    expect(smi(query, 'warnings').stdout).toMatch(/^WARNING: .*\n0, 0\nWARNING: .*\n$/);
    expect(smi(query, 'no_devices').status).toBe(6);
  });
});
