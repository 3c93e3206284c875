/** The helper container of the docker probe on a real daemon, with the pretended nvidia-smi in its image. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { DockerSettings } from '../../src/config/config.ts';
import { createPlatform } from '../../src/platform/system.ts';
import type { Probe, ProbeReading } from '../../src/probes/probe.ts';
import { createProbe } from '../../src/probes/registry.ts';
import { MIB } from '../../src/units.ts';
import { callDocker } from '../support/docker-call.ts';
import { dockerHere, startDaemon, type DockerDaemon } from '../support/docker-daemon.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway } from '../support/in-process-gateway.ts';
import { statusOf } from '../support/simulated-fleet.ts';

const IMAGE = 'probe:test';
const READ_LIMIT_MS = 30_000;

let daemon: DockerDaemon;
let folder: string;
const open: Probe[] = [];

function probe(gatewayId: string, more: Partial<DockerSettings> = {}): Probe {
  const docker: DockerSettings = {
    socket: daemon.socket,
    network: 'vllm_network',
    image: 'vllm/vllm-openai:v0.16.0',
    gpus: 'none',
    reach: 'auto',
    port: 8000,
    containerPrefix: 'vllm_server',
    gatewayContainer: 'vllm_gateway',
    probeImage: IMAGE,
    cacheDir: '/root/.cache/huggingface',
    tempDir: '/tmp',
    libraryPath: null,
    ...more,
  };
  const devices = { probe: 'docker' as const, command: 'nvidia-smi', list: [], budgetFraction: 0.9 };
  const made = createProbe(devices, docker, createPlatform(), gatewayId);
  open.push(made);
  return made;
}

interface Listed {
  readonly Id: string;
  readonly Labels: Readonly<Record<string, string>>;
  readonly State: string;
}

async function containers(gatewayId: string): Promise<readonly Listed[]> {
  const answer = await callDocker(daemon.socket, 'GET', '/containers/json?all=1');
  const all = JSON.parse(answer.text) as readonly Listed[];
  return all.filter(({ Labels }) => Labels['vllm-gateway.probe'] === gatewayId);
}

/** Reads until it succeeds: a helper takes a moment to come up, or to come back. */
async function reading(from: Probe): Promise<ProbeReading> {
  const deadline = Date.now() + READ_LIMIT_MS;
  for (;;) {
    try {
      return await from.read();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const usedMib = ({ devices }: ProbeReading): number[] => devices.map(({ usedBytes }) => (usedBytes ?? -1) / MIB);

/** Puts the file of pretended devices into a container, a running one too. */
async function putVram(id: string, more: Readonly<Record<string, unknown>> = {}, used = 100): Promise<void> {
  const devices = [24, 80].map((gib, index) => ({
    index,
    uuid: `GPU-d-${index}`,
    total_mib: gib * 1024,
    base_used_mib: used,
  }));
  writeFileSync(join(folder, 'vram.json'), JSON.stringify({ devices, claims: {}, ...more }));
  const tar = spawn('tar', ['-C', folder, '-c', 'vram.json'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const put = await callDocker(daemon.socket, 'PUT', `/containers/${id}/archive?path=/`, tar.stdout);
  expect(put.status).toBe(200);
}

async function only(gatewayId: string): Promise<Listed> {
  const [first, ...more] = await containers(gatewayId);
  if (first === undefined) throw new Error('there is no helper container');
  expect(more).toEqual([]);
  return first;
}

describe.runIf(dockerHere())('the docker probe', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vgw-docker-probe-'));
    daemon = await startDaemon();
    const base = await daemon.loadFakeVllmImage();
    const created = await callDocker(
      daemon.socket,
      'POST',
      '/containers/create',
      JSON.stringify({ Image: base, Cmd: ['-'] }),
    );
    const { Id } = JSON.parse(created.text) as { Id: string };
    await putVram(Id);
    const config = JSON.stringify({ Env: ['FAKE_VLLM_VRAM_FILE=/vram.json', 'PATH=/usr/local/bin:/usr/bin:/bin'] });
    await callDocker(daemon.socket, 'POST', `/commit?container=${Id}&repo=probe&tag=test`, config);
    await callDocker(daemon.socket, 'DELETE', `/containers/${Id}?force=1`);
  }, 120_000);

  afterEach(async () => {
    await Promise.all(open.splice(0).map((one) => one.close()));
  });

  afterAll(async () => {
    await daemon?.stop();
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  it('reads all GPUs through one helper, again and again, and takes it away [items 96, 99]', async () => {
    const gpus = probe('one');
    expect(usedMib(await reading(gpus))).toEqual([100, 100]);
    const { Id } = await only('one');
    await putVram(Id, {}, 4096);
    const { devices, driverVersion, processes } = await gpus.read();
    expect(devices.map(({ id, totalBytes, usedBytes }) => [id, totalBytes / MIB, (usedBytes ?? 0) / MIB])).toEqual([
      ['GPU-d-0', 24 * 1024, 4096],
      ['GPU-d-1', 80 * 1024, 4096],
    ]);
    expect(driverVersion).toBe('580.95.05');
    expect(processes).toBeNull();
    for (let turn = 0; turn < 5; turn += 1) await gpus.read();
    expect((await only('one')).Id).toBe(Id);
    await gpus.close();
    expect(await containers('one')).toEqual([]);
  });

  it('comes with another helper when one dies', async () => {
    const gpus = probe('dies');
    await reading(gpus);
    const { Id } = await only('dies');
    await callDocker(daemon.socket, 'POST', `/containers/${Id}/kill`);
    await expect
      .poll(() => gpus.read().then(() => 'read', String), { interval: 20, timeout: READ_LIMIT_MS })
      .toContain('has ended');
    await reading(gpus);
    expect((await only('dies')).Id).not.toBe(Id);
  });

  it('gives a hanging nvidia-smi five seconds, then takes the helper away and starts anew', async () => {
    const gpus = probe('hangs');
    await reading(gpus);
    const { Id } = await only('hangs');
    await putVram(Id, { smi_fault: 'hang' });
    const begun = Date.now();
    await expect(gpus.read()).rejects.toThrow('did not answer within 5 s');
    expect(Date.now() - begun).toBeLessThan(20_000);
    expect(usedMib(await reading(gpus))).toEqual([100, 100]);
    expect((await only('hangs')).Id).not.toBe(Id);
  });

  it('leaves nothing when the gateway is killed: the helper ends with its input', async () => {
    const script = `
      const { createProbe } = await import(${JSON.stringify(new URL('../../src/probes/registry.ts', import.meta.url).href)});
      const { createPlatform } = await import(${JSON.stringify(new URL('../../src/platform/system.ts', import.meta.url).href)});
      const docker = { socket: ${JSON.stringify(daemon.socket)}, gpus: 'none', probeImage: '${IMAGE}' };
      const probe = createProbe({ probe: 'docker', command: '', list: [], budgetFraction: 1 }, docker, createPlatform(), 'killed');
      for (;;) { try { await probe.read(); break; } catch { await new Promise((resolve) => setTimeout(resolve, 50)); } }
      process.stdout.write('read');
      setInterval(() => {}, 1000);`;
    const gateway = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => gateway.stdout.once('data', resolve));
    expect(await containers('killed')).toHaveLength(1);
    gateway.kill('SIGKILL');
    await expect.poll(() => containers('killed'), { timeout: 20_000 }).toEqual([]);
  });

  it('removes what an earlier run left, and nothing else', async () => {
    const create = async (labels: Readonly<Record<string, string>>): Promise<string> => {
      const body = JSON.stringify({
        Image: IMAGE,
        Entrypoint: ['sleep', '1000'],
        Labels: labels,
        HostConfig: { NetworkMode: 'none' },
      });
      const { text } = await callDocker(daemon.socket, 'POST', '/containers/create', body);
      const { Id } = JSON.parse(text) as { Id: string };
      await callDocker(daemon.socket, 'POST', `/containers/${Id}/start`);
      return Id;
    };
    const left = await create({ 'vllm-gateway.probe': 'again' });
    const foreign = await create({ 'vllm-gateway.probe': 'another' });
    const gpus = probe('again');
    await reading(gpus);
    expect((await only('again')).Id).not.toBe(left);
    expect((await only('another')).Id).toBe(foreign);
    await callDocker(daemon.socket, 'DELETE', `/containers/${foreign}?force=1`);
  });

  it('says that Docker has no GPUs to give, and that there is no such image', async () => {
    await expect(probe('no-gpus', { gpus: 'auto' }).read()).rejects.toThrow('Docker cannot hand GPUs to containers');
    expect(await containers('no-gpus')).toEqual([]);
    const missing = probe('no-image', { probeImage: 'localhost:1/nothing:here' });
    await expect(missing.read()).rejects.toThrow(/pulling localhost:1\/nothing:here/);
    await expect(probe('no-daemon', { socket: join(folder, 'nobody.sock') }).read()).rejects.toMatchObject({
      absent: true,
    });
  });

  it('shows a whole gateway its GPUs, and goes with it', async () => {
    const yaml = [
      'devices: { probe: docker }',
      `drivers: { default: process, process: { command: [simulated-vllm] }, docker: { socket: ${daemon.socket}, gpus: none, probe_image: "${IMAGE}" } }`,
      'models: { one: { repo: org/one } }',
    ];
    const gateway = await startTestGateway({ yaml: yaml.join('\n'), env: { HF_ENDPOINT: 'http://127.0.0.1:9' } });
    try {
      await eventually('it knows the GPUs', async () => {
        const { devices } = await statusOf(gateway);
        return Object.keys(devices).join() === 'GPU-d-0,GPU-d-1' && devices['GPU-d-0']?.used_mib === 100;
      });
      expect(await containers(gateway.gateway.id)).toHaveLength(1);
    } finally {
      await gateway[Symbol.asyncDispose]();
    }
    expect(await containers(gateway.gateway.id)).toEqual([]);
  });

  it('comes back after the daemon did', async () => {
    const gpus = probe('daemon');
    await reading(gpus);
    await daemon.kill();
    await expect(gpus.read()).rejects.toThrow();
    await daemon.start();
    expect(usedMib(await reading(gpus))).toEqual([100, 100]);
    await only('daemon');
    await gpus.close();
    expect(await containers('daemon')).toEqual([]);
  }, 120_000);
});
