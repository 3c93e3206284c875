import { describe, expect, it } from 'vitest';
import { GIB } from '../units.ts';
import { AutoProbe, type HesitantProbe } from './auto-probe.ts';
import type { Probe, ProbeReading } from './probe.ts';
import { ProbeError } from './reading/probe-error.ts';

const READING: ProbeReading = {
  devices: [{ id: 'GPU-a', uuid: 'GPU-a', name: 'X', totalBytes: 24 * GIB, usedBytes: 0, trouble: null }],
  processes: [],
  driverVersion: '580.95.05',
};

class Scripted implements HesitantProbe {
  readonly observes = true;
  readonly kind: string;
  readonly detail: string;
  reads = 0;
  closed = false;
  answer: ProbeReading | ProbeError;
  hesitation: string | null | ProbeError = null;

  constructor(kind: string, answer: ProbeReading | ProbeError) {
    this.kind = kind;
    this.detail = `reads GPUs with ${kind}`;
    this.answer = answer;
  }

  async whyNot(): Promise<string | null> {
    if (this.hesitation instanceof ProbeError) throw this.hesitation;
    return this.hesitation;
  }

  async read(): Promise<ProbeReading> {
    this.reads += 1;
    if (this.answer instanceof ProbeError) throw this.answer;
    return this.answer;
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

const missing = (): Scripted =>
  new Scripted('nvidia-smi', new ProbeError('nvidia-smi: there is no such command', true));
const noDaemon = new ProbeError('Docker does not answer on /var/run/docker.sock (ENOENT)', true);

function auto(nvidia: Scripted, docker: Scripted | null): Probe {
  return new AutoProbe(nvidia, docker);
}

describe('the probe that finds out by itself', () => {
  it('takes nvidia-smi when it answers, and asks no daemon', async () => {
    const docker = new Scripted('docker', READING);
    const probe = auto(new Scripted('nvidia-smi', READING), docker);
    expect(await probe.read()).toBe(READING);
    expect([probe.kind, probe.detail]).toEqual(['nvidia-smi', 'reads GPUs with nvidia-smi (it answers)']);
    expect(docker.reads).toBe(0);
  });

  it('takes Docker when there is no nvidia-smi', async () => {
    const docker = new Scripted('docker', READING);
    const probe = auto(missing(), docker);
    expect(await probe.read()).toBe(READING);
    expect(probe.kind).toBe('docker');
    expect(probe.detail).toBe('reads GPUs with docker (nvidia-smi: there is no such command)');
  });

  it('keeps its choice when that fails later', async () => {
    const nvidia = new Scripted('nvidia-smi', READING);
    const docker = new Scripted('docker', READING);
    const probe = auto(nvidia, docker);
    await probe.read();
    nvidia.answer = new ProbeError('nvidia-smi: it did not answer within 5 s and was killed');
    await expect(probe.read()).rejects.toThrow('did not answer');
    expect(docker.reads).toBe(0);
  });

  it('finds no GPUs where nothing could show any, and says why', async () => {
    const docker = new Scripted('docker', READING);
    docker.hesitation = noDaemon;
    const probe = auto(missing(), docker);
    expect((await probe.read()).devices).toEqual([]);
    expect(probe.kind).toBe('none');
    expect(probe.detail).toBe(`finds no GPUs: nvidia-smi: there is no such command; ${noDaemon.message}`);
    docker.hesitation = 'Docker has no NVIDIA runtime';
    expect((await probe.read()).devices).toEqual([]);
    expect(docker.reads).toBe(0);
  });

  it('looks again at each read: drivers and daemons may come up later [item 97]', async () => {
    const docker = new Scripted('docker', READING);
    docker.hesitation = noDaemon;
    const probe = auto(missing(), docker);
    await probe.read();
    docker.hesitation = null;
    expect(await probe.read()).toBe(READING);
    expect(probe.kind).toBe('docker');
  });

  it('fails, and finds nothing out, when something that should answer does not', async () => {
    const broken = new Scripted('nvidia-smi', new ProbeError('nvidia-smi: it exited with 9: the driver is not loaded'));
    await expect(auto(broken, null).read()).rejects.toThrow('the driver is not loaded; containers get no GPUs');
    const pulling = new Scripted('docker', new ProbeError('its helper container is not there yet: pulling X'));
    const probe = auto(missing(), pulling);
    await expect(probe.read()).rejects.toThrow('pulling X');
    expect(probe.kind).toBe('auto');
    expect(probe.detail).toContain('cannot read GPUs');
  });

  it('looks once for all who ask meanwhile, and closes whatever it tried', async () => {
    const [nvidia, docker] = [missing(), new Scripted('docker', READING)];
    const probe = auto(nvidia, docker);
    await Promise.all([probe.read(), probe.read(), probe.read()]);
    expect([nvidia.reads, docker.reads]).toEqual([1, 1]);
    await probe.close();
    expect([nvidia.closed, docker.closed]).toEqual([true, true]);
  });
});
