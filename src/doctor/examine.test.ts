import { describe, expect, it } from 'vitest';
import { loadConfig } from '../config/load.ts';
import { MIB } from '../units.ts';
import { createTestPlatform, type TestPlatform } from '../../test/support/test-platform.ts';
import { ScriptedMachine, spaceOf } from '../../test/support/scripted-machine.ts';
import { checkMachine } from './check-machine.ts';
import { examine } from './examine.ts';
import type { Finding } from './finding.ts';

const HERE = 'GPU-0a1b2c3d-0000-0000-0000-000000000001';
const DAEMON = {
  '/version': { Version: '28.2.2', ApiVersion: '1.50' },
  '/info': { Runtimes: { runc: {}, nvidia: {} } },
};
const DOCKER = 'server: { state_dir: /srv/state }\ndevices: { probe: none }\nmodels: { m: { repo: org/m } }\n';

interface Bench {
  readonly platform: TestPlatform;
  readonly machine: ScriptedMachine;
}

function benchOf(env: Readonly<Record<string, string>> = {}): Bench {
  const platform = createTestPlatform({ env: { HOME: '/home/me', ...env } });
  platform.http.answer = (url) => ({
    status: url.includes('whoami') ? 200 : 404,
    body: '{}',
    headers: { date: new Date(platform.clock.wall()).toUTCString() },
  });
  return { platform, machine: new ScriptedMachine() };
}

async function loaded({ platform }: Bench, yaml: string | null) {
  if (yaml !== null) await platform.files.writeAtomic('/srv/gateway.yaml', yaml);
  return loadConfig({ flags: {}, env: platform.env, files: platform.files, cwd: '/srv' });
}

async function examined(bench: Bench, yaml: string | null): Promise<readonly Finding[]> {
  return examine(await loaded(bench, yaml), bench);
}

async function checked(bench: Bench, yaml: string) {
  const { config } = await loaded(bench, yaml);
  if (!config) throw new Error('the configuration is not valid');
  return checkMachine(config, bench);
}

/** An nvidia-smi that shows one GPU. */
function withGpu({ platform }: Bench, uuid = HERE): void {
  const known: Readonly<Record<string, string>> = {
    ...{ index: '0', uuid, name: 'NVIDIA L4', driver_version: '550.1' },
    ...{ 'memory.total': '23034 MiB', 'memory.used': '0 MiB', 'mig.mode.current': 'Disabled' },
  };
  platform.subprocess.onRun = (argv) => {
    const query = argv.find((word) => word.startsWith('--query-'))?.split('=') ?? [];
    const columns = query[1]?.split(',') ?? [];
    const heads = columns.map((name) => UNITS[name] ?? name).join(', ');
    const row = query[0] === '--query-gpu' ? `${columns.map((name) => known[name] ?? '[N/A]').join(', ')}\n` : '';
    return { code: 0, stdout: `${heads}\n${row}` };
  };
}

const UNITS: Readonly<Record<string, string>> = {
  'memory.total': 'memory.total [MiB]',
  'memory.used': 'memory.used [MiB]',
  used_memory: 'used_gpu_memory [MiB]',
};

const of = (findings: readonly Finding[], check: string): readonly Finding[] =>
  findings.filter((finding) => finding.check === check);

describe('doctor', () => {
  it('names a typo with its place, and looks at the machine all the same', async () => {
    const findings = await examined(benchOf(), `${DOCKER}limits: { max_queue_sise: 3 }\n`);
    const [config] = of(findings, 'config');
    expect(config).toMatchObject({ state: 'problem', remedy: expect.stringContaining('vllm-gateway check') });
    expect(config?.message).toContain('gateway.yaml:4:11: limits.max_queue_sise');
    expect(of(findings, 'docker')[0]?.state).toBe('problem');
    expect(of(findings, 'disk')[0]?.state).toBe('ok');
  });

  it('sends whoever has no configuration to init', async () => {
    const [config] = of(await examined(benchOf(), null), 'config');
    expect(config).toMatchObject({ state: 'problem', remedy: expect.stringContaining('vllm-gateway init') });
  });

  it.each([
    ['ENOENT', 'There is no Docker socket /var/run/docker.sock.', 'drivers.docker.socket'],
    ['EACCES', 'User 1000 may not use the Docker socket', 'usermod -aG docker'],
    ['ECONNREFUSED', 'No daemon listens', 'systemctl start docker'],
    ['ETIMEDOUT', 'does not answer on /var/run/docker.sock within 5 s', 'journalctl'],
  ])('tells a Docker socket that answers %s, and what to do', async (code, message, remedy) => {
    const bench = benchOf();
    bench.machine.docker = code;
    const [docker] = of(await examined(bench, DOCKER), 'docker');
    expect(docker?.state).toBe('problem');
    expect(docker?.message).toContain(message);
    expect(docker?.remedy).toContain(remedy);
  });

  it('tells a daemon that is too old, what gives GPUs to containers, and which image is missing', async () => {
    const bench = benchOf();
    bench.machine.docker = { ...DAEMON, '/version': { Version: '19.03', ApiVersion: '1.40' } };
    expect(of(await examined(bench, DOCKER), 'docker')[0]?.message).toContain('1.41 is the oldest');
    bench.machine.docker = DAEMON;
    const findings = await examined(bench, DOCKER);
    expect(of(findings, 'docker')[0]).toMatchObject({ state: 'ok' });
    expect(of(findings, 'docker gpus')[0]?.message).toBe('Docker has the runtime nvidia.');
    expect(of(findings, 'image')[0]).toMatchObject({ state: 'ok', remedy: 'docker pull vllm/vllm-openai:v0.16.0' });
    bench.machine.docker = { ...DAEMON, '/info': { Runtimes: { runc: {} } } };
    expect(of(await examined(bench, DOCKER), 'docker gpus')[0]).toMatchObject({ state: 'unknown' });
    const wanted = `${DOCKER}drivers: { docker: { gpus: nvidia } }\n`;
    expect(of(await examined(bench, wanted), 'docker gpus')[0]).toMatchObject({
      state: 'problem',
      remedy: expect.stringContaining('nvidia-ctk'),
    });
  });

  it('asks no Docker where no model needs it', async () => {
    const bench = benchOf();
    const findings = await examined(bench, DOCKER.replace('repo: org/m', 'url: "http://10.0.0.1:8000"'));
    expect(of(findings, 'docker')[0]?.state).toBe('ok');
    expect(bench.machine.asked).toEqual([]);
  });

  it('names a GPU that is not there, and those that are', async () => {
    const bench = benchOf();
    withGpu(bench);
    const yaml = (uuid: string): string =>
      `drivers: { default: process }\npools: { fast: [${uuid}] }\nmodels: { m: { repo: org/m, pool: fast } }\n`;
    expect(of(await examined(bench, yaml(HERE)), 'gpus')).toMatchObject([{ state: 'ok' }]);
    const [, wrong] = of(await examined(bench, yaml('GPU-typo')), 'gpus');
    expect(wrong?.state).toBe('problem');
    expect(wrong?.message).toContain("no such GPU: GPU-typo (pool 'fast')");
    expect(wrong?.message).toContain(HERE);
    expect(wrong?.remedy).toContain('nvidia-smi -L');
  });

  it('says that GPUs could not be looked at, or are missing where the configuration names them', async () => {
    const bench = benchOf();
    bench.platform.subprocess.onRun = () => {
      throw Object.assign(new Error('no such command'), { code: 'ENOENT' });
    };
    const process = 'drivers: { default: process, docker: { gpus: none } }\nmodels: { m: { repo: org/m } }\n';
    expect(of(await examined(bench, process), 'gpus')[0]).toMatchObject({ state: 'unknown' });
    const named =
      'drivers: { default: process, docker: { gpus: none } }\nmodels: { m: { repo: org/m, devices: [GPU-1] } }\n';
    expect(of(await examined(bench, named), 'gpus')[0]).toMatchObject({ state: 'problem' });
  });

  it('tells a full disk, a folder of somebody else, and a cache without room', async () => {
    const bench = benchOf();
    bench.machine.disks.set('/srv', spaceOf(3 * MIB, 16 * MIB));
    bench.machine.disks.set('/home', spaceOf(0));
    bench.machine.locked.set('/srv/state', { uid: 0, mode: 0o40755 });
    const yaml = `${DOCKER}drivers: { default: process }\n`;
    const findings = await examined(bench, yaml);
    expect(of(findings, 'disk')[0]).toMatchObject({
      state: 'problem',
      message: expect.stringContaining('The disk of /srv/state (server.state_dir) is full: 3MiB of 16MiB free'),
      remedy: expect.stringContaining('GATEWAY_STATE_DIR'),
    });
    expect(of(findings, 'state_dir')[0]).toMatchObject({
      state: 'problem',
      message: 'User 1000 may not write to /srv/state (owner 0, mode 755).',
      remedy: expect.stringContaining('chown 1000 /srv/state'),
    });
    expect(of(findings, 'model cache')[0]).toMatchObject({
      state: 'problem',
      message: expect.stringContaining('m still need'),
      remedy: expect.stringContaining('HF_HOME'),
    });
  });

  it('tells a command that is missing, and models that the hub does not give', async () => {
    const bench = benchOf({ HF_TOKEN: 'hf_secret' });
    bench.platform.http.answer = (url) => ({ status: url.includes('whoami') ? 401 : 403, body: '{}' });
    const findings = await examined(bench, `${DOCKER}drivers: { default: process }\n`);
    expect(of(findings, 'command')[0]?.remedy).toContain('pip install vllm');
    expect(of(findings, 'models')[0]).toMatchObject({ state: 'problem', remedy: expect.stringContaining('HF_TOKEN') });
    expect(of(findings, 'hub')[0]).toMatchObject({ state: 'problem', remedy: expect.stringContaining('HF_TOKEN') });
    expect(JSON.stringify(findings)).not.toContain('hf_secret');
  });

  it('tells a hub that cannot be reached, and a clock that is wrong', async () => {
    const bench = benchOf();
    expect(of(await examined(bench, DOCKER), 'clock')[0]).toMatchObject({ state: 'ok' });
    bench.platform.clock.advance(600_000);
    bench.platform.http.answer = () => ({
      status: 200,
      body: '[]',
      headers: { date: new Date(bench.platform.clock.wall() - 300_000).toUTCString() },
    });
    expect(of(await examined(bench, DOCKER), 'clock')[0]?.message).toBe('The clock is 300 s ahead of that of the hub.');
    bench.platform.http.answer = () => {
      throw Object.assign(new Error('no'), { code: 'ENOTFOUND' });
    };
    const [hub] = of(await examined(bench, DOCKER), 'hub');
    expect(hub).toMatchObject({ state: 'problem', remedy: expect.stringContaining('HF_ENDPOINT') });
  });

  it('tells of more workers than there are cores, and what each of them may have to hold', async () => {
    const bench = benchOf();
    await bench.platform.files.writeAtomic('/proc/self/limits', 'Max open files            512    4096   files\n');
    const yaml = (workers: string): string =>
      `server: { workers: ${workers} }\ndevices: { probe: none }\nmodels: { a: { repo: /m, memory: 1GiB } }\n`;
    const wide = { ...bench, platform: { ...bench.platform, cores: 2 } };
    const findings = await examined(wide, yaml('3'));
    expect(of(findings, 'workers')).toMatchObject([
      { state: 'problem', message: '3 workers and the process that leads them share 2 cores.' },
    ]);
    expect(of(findings, 'open files')).toMatchObject([
      { state: 'ok', message: '512 may be open; 167 connections may be in each worker, with every queue full.' },
    ]);
    expect(of(await examined(wide, yaml('auto')), 'workers')).toMatchObject([{ state: 'ok' }]);
    expect(of(await examined(wide, yaml('1')), 'workers')).toEqual([]);
  });

  it('tells a limit of open files that full queues would reach, and too few ports for engines', async () => {
    const bench = benchOf();
    await bench.platform.files.writeAtomic('/proc/self/limits', 'Max open files            512    4096   files\n');
    const yaml = 'devices: { probe: none }\ndrivers: { default: process, process: { port_range: 20000-20000 } }\n';
    const findings = await examined(bench, `${yaml}models: { a: { repo: /m }, b: { repo: /m } }\n`);
    expect(of(findings, 'open files')[0]).toMatchObject({
      state: 'problem',
      message: '512 may be open; 700 connections may be, with every queue full.',
      remedy: expect.stringContaining('LimitNOFILE'),
    });
    expect(of(findings, 'port').at(-1)).toMatchObject({
      state: 'problem',
      remedy: expect.stringContaining('port_range'),
    });
  });

  it('survives a look that fails', async () => {
    const bench = benchOf();
    bench.machine.mayWrite = () => Promise.reject(Object.assign(new Error('no'), { code: 'EIO' }));
    const [state] = of(await examined(bench, DOCKER), 'state_dir');
    expect(state).toMatchObject({ state: 'unknown', message: 'It could not be looked at (EIO).' });
  });
});

describe('check, of this machine', () => {
  it('finds nothing where all is well', async () => {
    const bench = benchOf();
    bench.machine.docker = DAEMON;
    expect(await checked(bench, DOCKER)).toEqual([]);
  });

  it('names a missing Docker socket, a full disk and a wrong GPU, each with what to do', async () => {
    const bench = benchOf();
    withGpu(bench);
    bench.machine.disks.set('/srv', spaceOf(0, 16 * MIB));
    const yaml =
      'server: { state_dir: /srv/state }\npools: { fast: [GPU-typo] }\nmodels: { m: { repo: org/m, pool: fast } }\n';
    const problems = await checked(bench, yaml);
    expect(problems.map(({ severity, path, code }) => [severity, path, code])).toEqual([
      ['error', 'pools', 'no_such_device'],
      ['warning', 'server.state_dir', 'disk_full'],
      ['info', 'drivers.docker.socket', 'docker_unavailable'],
    ]);
    const [gpu, disk, docker] = problems.map(({ message }) => message);
    expect(gpu).toContain(`It has: ${HERE}`);
    expect(disk).toContain('GATEWAY_STATE_DIR');
    expect(docker).toContain('drivers.default: process');
  });

  it('starts nothing and asks nobody outside', async () => {
    const bench = benchOf();
    const asked = bench.platform.http.asked.length;
    await checked(bench, DOCKER);
    expect(bench.platform.http.asked).toHaveLength(asked);
    expect(bench.machine.asked).toEqual(['/var/run/docker.sock /version']);
  });
});
