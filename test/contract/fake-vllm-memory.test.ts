import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readKvCacheTokens } from '../../src/engines/vllm/counters.ts';
import { readMemoryReport } from '../../src/engines/vllm/memory-report.ts';
import { GIB as GIB_BYTES } from '../../src/units.ts';
import { accepts, type FakeEngine, fakeVllmPath, freePort, launchFake, startFake } from '../support/fake-vllm.ts';

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

/** As the engine itself reports it, measured or given. */
const kvGib = (engine: FakeEngine): number =>
  Number(/(?:Available KV cache memory: |reserved )(\S+) GiB/.exec(engine.output)?.[1]);

/** A namespace of process ids of its own, as a container has, needs a right that not every machine gives. */
const UNSHARE = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
const canUnshare = spawnSync(UNSHARE[0] ?? '', [...UNSHARE.slice(1), 'true']).status === 0;

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

  it('is measured wrongly when two start at once (vllm#55827), rightly one after another, and not at all with a given size', async () => {
    devices(32);
    const slow = { FAKE_VLLM_START_MS: '1500', FAKE_VLLM_WEIGHTS_MIB: String(3 * GIB) };
    const launch = (flags: readonly string[]): Promise<FakeEngine> => launchFake({ flags, env: env(slow) });
    const share = (fraction: number): readonly string[] => ['--gpu-memory-utilization', String(fraction)];
    const alone = (fraction: number): number => 32 * fraction - 3 - 0.5 - 0.25;
    {
      await using first = await launch(share(0.35));
      await first.ready();
      await using second = await launch(share(0.2));
      await second.ready();
      expect(kvGib(first)).toBeCloseTo(alone(0.35), 1);
      expect(kvGib(second)).toBeCloseTo(alone(0.2), 1);
    }
    {
      await using first = await launch(share(0.35));
      await using second = await launch(share(0.2));
      await Promise.allSettled([first.ready(), second.ready()]);
      const wrong = [kvGib(first) < alone(0.35) - 0.1, kvGib(second) < alone(0.2) - 0.1];
      expect(wrong).toContain(true);
    }
    const given = [...share(0.01), '--kv-cache-memory-bytes', '2G'];
    await using third = await launch(given);
    await using fourth = await launch(given);
    await Promise.all([third.ready(), fourth.ready()]);
    expect([kvGib(third), kvGib(fourth)]).toEqual([2, 2]);
    expect(third.output).toContain('skipped memory profiling');
    expect(readMemoryReport(third.output.split('\n')).kvCacheBytes).toBe(2 * GIB_BYTES);
  });

  it('shows a spike while the engine compiles and measures, and leaves it out of the KV cache', async () => {
    devices(24);
    const spike = { FAKE_VLLM_SPIKE_MIB: String(3 * GIB), FAKE_VLLM_START_MS: '3000' };
    await using engine = await launchFake({ flags: ['--gpu-memory-utilization', '0.5'], env: env(spike) });
    const steady = 450 + 4 * GIB + 512;
    await expect.poll(used, { interval: 20, timeout: 10_000 }).toEqual([steady + 3 * GIB]);
    await engine.ready();
    expect(kvGib(engine)).toBeCloseTo(12 - 4 - 0.5 - 0.25 - 3, 1);
    expect(used()).toEqual([450 + 12 * GIB - 3 * GIB]);
    await using tight = await launchFake({
      flags: ['--gpu-memory-utilization', '0.1'],
      env: env({ ...spike, FAKE_VLLM_SPIKE_MIB: String(20 * GIB) }),
    });
    await tight.exit;
    expect(tight.output).toContain('torch.OutOfMemoryError: CUDA out of memory');
  });

  it('is reported in the lines and the metrics that the gateway reads', async () => {
    devices(24);
    await using engine = await startFake({ flags: ['--gpu-memory-utilization', '0.5'], env: env() });
    const report = readMemoryReport(engine.output.split('\n'));
    expect(report).toMatchObject({ weightBytes: 4 * GIB_BYTES, graphBytes: GIB_BYTES / 4 });
    expect((report.kvCacheBytes ?? 0) / GIB_BYTES).toBeCloseTo(12 - 4 - 0.5 - 0.25, 1);
    const metrics = await (await fetch(`${engine.url}/metrics`)).text();
    expect(readKvCacheTokens(metrics)).toBe(report.kvCacheTokens);
    expect(engine.output).toMatch(
      /Free memory on device \(\S+\/24\.00 GiB\) on startup\. Desired .* Replace gpu_memory_utilization/,
    );
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

describe('memory that comes back late, or never', () => {
  it('counts on after the engine is gone, until somebody takes it out of the file', async () => {
    devices(24);
    await using engine = await startFake({ env: env({ FAKE_VLLM_VRAM_RELEASE_MS: 'never' }) });
    process.kill(engine.pid, 'SIGTERM');
    await engine.exit;
    expect(used()[0]).toBeGreaterThan(20 * GIB);
    expect(smi(['--query-compute-apps=pid', '--format=csv,noheader']).stdout).toBe('');
    devices(24);
    expect(used()).toEqual([0]);
  });
});

describe.skipIf(!canUnshare)('engines in namespaces of their own, as in containers', () => {
  const inside = (args: readonly string[], more: Readonly<Record<string, string>> = {}): ChildProcess =>
    spawn(UNSHARE[0] ?? '', [...UNSHARE.slice(1), process.execPath, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'] ?? '', FAKE_VLLM_START_MS: '50', ...env(more) },
    });
  const rows = (): string => smi(['--query-compute-apps=pid,gpu_uuid', '--format=csv,noheader,nounits']).stdout;

  it('have claims of their own though all are process 1, with the pids that this machine gives them', async () => {
    devices(24, 24);
    const engines: ChildProcess[] = [];
    try {
      for (const uuid of ['GPU-fake-0', 'GPU-fake-1']) {
        const serve = [
          fakeVllmPath(),
          'serve',
          'a/b',
          '--port',
          String(await freePort()),
          '--gpu-memory-utilization',
          '0.5',
        ];
        engines.push(inside(serve, { NVIDIA_VISIBLE_DEVICES: uuid }));
      }
      await expect.poll(used, { interval: 20, timeout: 20_000 }).toEqual([450 + 12 * GIB, 450 + 12 * GIB]);
      const pids = [...rows().matchAll(/^(\d+), GPU-fake-\d$/gm)].map((match) => Number(match[1]));
      expect(pids).toHaveLength(2);
      for (const pid of pids) expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('vllm serve (simulated)');
      // A reader that sees none of them believes their beats, and names nobody.
      const reader = inside([
        fakeVllmPath('nvidia-smi.js'),
        '--query-gpu=memory.used',
        '--format=csv,noheader,nounits',
      ]);
      let text = '';
      reader.stdout?.setEncoding('utf8').on('data', (data: string) => (text += data));
      await once(reader, 'close');
      expect(text).toBe(`${450 + 12 * GIB}\n${450 + 12 * GIB}\n`);
      process.kill(pids[0] ?? 0, 'SIGKILL');
      await expect
        .poll(() => used().toSorted((one, other) => one - other), { interval: 20, timeout: 10_000 })
        .toEqual([0, 450 + 12 * GIB]);
    } finally {
      for (const engine of engines) engine.kill('SIGKILL');
    }
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
