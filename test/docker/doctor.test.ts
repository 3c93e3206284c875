/** What `doctor` says of a real daemon: its version, what it can give, which image is there; and once it is gone. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/doctor/finding.ts';
import { runCommand } from '../support/command.ts';
import { dockerHere, startDaemon, type DockerDaemon } from '../support/docker-daemon.ts';

describe.runIf(dockerHere())('doctor, before a real daemon', () => {
  let daemon: DockerDaemon;
  let folder: string;
  let image: string;

  beforeAll(async () => {
    daemon = await startDaemon();
    image = await daemon.loadFakeVllmImage();
    folder = await mkdtemp(join(tmpdir(), 'vgw-doctor-'));
  });
  afterAll(async () => {
    await daemon.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function asked(): Promise<readonly Pick<Finding, 'check' | 'state' | 'message'>[]> {
    const file = join(folder, 'gateway.yaml');
    const server = `server: { listen: "127.0.0.1:0", state_dir: ${folder}/state }\ndevices: { probe: none }\n`;
    const models = `models: { here: { repo: /m }, absent: { repo: /m, image: "example.org/absent:v1" } }\n`;
    await writeFile(file, `${server}drivers: { docker: { socket: ${daemon.socket}, image: "${image}" } }\n${models}`);
    const { stdout } = await runCommand(['doctor', '--json', '--config', file], { cwd: folder });
    const { checks } = JSON.parse(stdout) as { checks: readonly Finding[] };
    return checks.filter(({ check }) => check === 'image' || check.startsWith('docker'));
  }

  it('tells the daemon, the image that is there and the one that is not', async () => {
    const [docker, gpus, here, absent] = await asked();
    expect(docker).toMatchObject({ check: 'docker', state: 'ok' });
    expect(docker?.message).toMatch(/^Docker \d+\.\S+ \(API 1\.\d+\) answers on /);
    expect(gpus).toMatchObject({ check: 'docker gpus' });
    expect(here).toMatchObject({ check: 'image', state: 'ok', message: `${image} is here.` });
    expect(absent).toMatchObject({
      state: 'ok',
      message: expect.stringContaining('example.org/absent:v1 is not here yet'),
    });
  });

  it('says that nobody listens once the daemon is gone', async () => {
    await daemon.kill();
    expect(await asked()).toMatchObject([{ check: 'docker', state: 'problem' }]);
  });
});
