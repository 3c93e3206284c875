/** Tests of the image: the predecessor's example environment and model file, with nothing changed but the image's name. */
import { spawn } from 'node:child_process';
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { StatusAnswer } from '../../src/admin/contract.ts';
import { callDocker } from '../support/docker-call.ts';
import { containerFacts, containerLog, execIn, runContainer, stopContainer } from '../support/docker-container.ts';
import type { DockerDaemon } from '../support/docker-daemon.ts';
import { eventually } from '../support/eventually.ts';
import { readSource, ROOT } from '../support/source-tree.ts';
import { buildImage } from '../support/stand-in-base.ts';

const SOCKET_GROUP = 4711;
const FIXTURES = join(ROOT, 'test', 'fixtures', 'original');
const ENVIRONMENT = new Map(
  [...readSource('test/fixtures/original/env').matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [
    name,
    value,
  ]),
);
const POOLS = (parse(readSource('test/fixtures/original/models.yaml')) as { pools: Record<string, string[]> }).pools;
const NETWORK = ENVIRONMENT.get('DOCKER_NETWORK_NAME') ?? '';
const FOOTPRINT_MIB = 25_402;
const STATUS = JSON.parse(readSource('test/fixtures/original/status.json')) as {
  known_footprints_mib: Record<string, unknown>;
};
/** Paths of the example's host. */
const HOST_FOLDERS = ['/srv/models', '/srv/scratch'];
const START_LIMIT_MS = 60_000;

let daemon: DockerDaemon;
let folder: string;
let gateway: string;
let url: string;
/** What the daemon has to make on this machine is taken away again. */
export const madeFolders = HOST_FOLDERS.filter((path) => !existsSync(path));

/** NVIDIA's image, as far as the probe uses it: an `nvidia-smi` that shows the GPUs of the example. */
async function loadUtilityImage(): Promise<void> {
  const context = mkdtempSync(join(tmpdir(), 'vgw-cuda-'));
  const base = await daemon.loadFakeVllmImage();
  const devices = Object.values(POOLS)
    .flat()
    .map((uuid, index) => ({ index, uuid, total_mib: 46_068, base_used_mib: 0 }));
  writeFileSync(join(context, 'vram.json'), JSON.stringify({ devices, claims: {} }));
  const lines = [`FROM ${base}`, 'COPY vram.json /opt/vram.json', 'ENV FAKE_VLLM_VRAM_FILE=/opt/vram.json'];
  writeFileSync(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
  const tar = spawn('tar', ['-C', context, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
  await buildImage(daemon.socket, ENVIRONMENT.get('NVIDIA_UTILITY_IMAGE') ?? '', tar.stdout);
  rmSync(context, { recursive: true, force: true });
}

async function startGateway(image: string): Promise<void> {
  const data = join(folder, 'state');
  mkdirSync(data, { mode: 0o755 });
  mkdirSync(join(folder, 'conf'));
  cpSync(join(FIXTURES, 'models.yaml'), join(folder, 'conf', 'models.yaml'));
  writeFileSync(join(data, 'footprints.json'), JSON.stringify(STATUS.known_footprints_mib), { mode: 0o644 });
  chownSync(daemon.socket, 0, SOCKET_GROUP);
  chmodSync(daemon.socket, 0o660);
  await callDocker(daemon.socket, 'POST', '/networks/create', JSON.stringify({ Name: NETWORK }));
  gateway = await runContainer(daemon.socket, {
    image,
    name: ENVIRONMENT.get('GATEWAY_CONTAINER_NAME') ?? '',
    network: NETWORK,
    env: [...ENVIRONMENT].map(([name, value]) => `${name}=${value}`),
    binds: [`${daemon.socket}:/var/run/docker.sock`, `${data}:/app/data`, `${join(folder, 'conf')}:/app/config:ro`],
  });
  const address = (await containerFacts(daemon.socket, gateway)).addresses.get(NETWORK) ?? '';
  url = `http://${address}:9000`;
}

async function status(): Promise<StatusAnswer> {
  return (await (await fetch(`${url}/gateway/status`)).json()) as StatusAnswer;
}

/** `shared`: the daemon, with GPUs to give, and the tag of the image that it holds. */
export function predecessorsExamples(shared: () => { readonly daemon: DockerDaemon; readonly image: string }): void {
  beforeAll(async () => {
    const { daemon: running, image } = shared();
    daemon = running;
    folder = mkdtempSync(join(tmpdir(), 'vgw-original-'));
    await loadUtilityImage();
    await startGateway(image);
  }, 120_000);

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it(
    'start the image unchanged, with a 0660 socket, a folder of root and no key',
    async () => {
      const models = await eventually(
        'the gateway answers',
        async () => {
          const { running } = await containerFacts(daemon.socket, gateway);
          if (!running) throw new Error(await containerLog(daemon.socket, gateway));
          const answer = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
          return answer.data.map(({ id }) => id);
        },
        START_LIMIT_MS,
      );
      const configured = parse(readSource('test/fixtures/original/models.yaml')) as { models: Record<string, unknown> };
      expect(models).toEqual(Object.keys(configured.models));
      const log = await containerLog(daemon.socket, gateway);
      expect(log).toContain(`runs as user 10001, group ${SOCKET_GROUP}`);
      expect(log).toContain('GATEWAY_AUTH: is none');
      await eventually(
        'the GPUs are read',
        async () => Object.keys((await status()).gpus).length === 3,
        START_LIMIT_MS,
      );
      const { pools, limits, known_footprints_mib: known } = await status();
      expect(pools).toEqual(POOLS);
      expect(limits).toMatchObject({ max_queue_size: 120, max_concurrent: 24, max_models_concurrent: 4 });
      expect(known['everyday']).toMatchObject({ per_gpu_mib: FOOTPRINT_MIB, effective_tp: 1, effective_util: 0.5836 });
    },
    2 * START_LIMIT_MS,
  );

  it('answer 403 to load and unload from another machine, and to nothing that only looks or asks', async () => {
    for (const command of ['load', 'unload', 'pin', 'unpin']) {
      const response = await fetch(`${url}/gateway/models/mini/${command}`, { method: 'POST' });
      expect(response.status, command).toBe(403);
      expect(((await response.json()) as { error: { code: string } }).error.code).toBe('permission_denied');
    }
    for (const path of ['/gateway/status', '/gateway/plan?model=mini', '/metrics', '/v1/models', '/healthz']) {
      expect((await fetch(`${url}${path}`)).status, path).toBe(200);
    }
    expect((await fetch(`${url}/gateway/config`)).status).toBe(403);
  });

  it(
    'load a model by `docker exec`, and serve it to everybody',
    async () => {
      const load = await execIn(daemon.socket, gateway, ['vllm-gateway', 'load', 'mini']);
      expect(load.output).toContain('mini is ready');
      expect(load.exitCode).toBe(0);
      const response = await fetch(`${url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'mini', messages: [{ role: 'user', content: 'Hello' }] }),
      });
      expect(response.status).toBe(200);
      expect(((await response.json()) as { model: string }).model).toBe('mini');
      const engines = Object.values((await status()).active_containers).filter(({ model_id: id }) => id === 'mini');
      expect(engines).toEqual([expect.objectContaining({ status: 'READY', gpu_uuids: POOLS['spare'] })]);
      expect(engines[0]?.container_name).toMatch(/^worker_/);
    },
    2 * START_LIMIT_MS,
  );

  it(
    'end on SIGTERM, and leave the engines to the next gateway',
    async () => {
      const engines = async (): Promise<readonly string[]> => {
        const { text } = await callDocker(daemon.socket, 'GET', '/containers/json');
        return (JSON.parse(text) as { Names: string[] }[])
          .flatMap(({ Names }) => Names)
          .filter((name) => name.startsWith('/worker_'));
      };
      const before = await engines();
      expect(before.length).toBeGreaterThan(0);
      await stopContainer(daemon.socket, gateway, 60);
      expect(await containerFacts(daemon.socket, gateway)).toMatchObject({ running: false, exitCode: 0 });
      expect(await engines()).toEqual(before);
    },
    2 * START_LIMIT_MS,
  );
}
