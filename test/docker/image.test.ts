/** The image: built by the real Dockerfile on a stand-in for its base, run by a real daemon. */
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callDocker } from '../support/docker-call.ts';
import {
  containerEnd,
  containerFacts,
  containerLog,
  execIn,
  removeContainer,
  runContainer,
  stopContainer,
  type ContainerOptions,
  type Ran,
} from '../support/docker-container.ts';
import { dockerHere, type DockerDaemon } from '../support/docker-daemon.ts';
import { eventually } from '../support/eventually.ts';
import { startDaemonWithGpus } from '../support/nvidia-hook.ts';
import { baseTag, buildGatewayImage, loadStandInBase } from '../support/stand-in-base.ts';
import { madeFolders, predecessorsExamples } from './image-original.ts';

const IMAGE = 'vllm-gateway:test';
const OWN_LAYERS_LIMIT = 60_000_000;
const USER = 10_001;
const SOCKET_GROUP = 4711;
const CONTAINER_LIMIT = 120_000;
const MODELS = ['ALLOWED_MODELS_JSON={"tiny":"org/tiny"}', 'VLLM_MAX_MODEL_LEN_GLOBAL=1024'];

let daemon: DockerDaemon;
let folder: string;

describe.runIf(dockerHere())('the image', () => {
  beforeAll(async () => {
    daemon = await startDaemonWithGpus();
    folder = mkdtempSync(join(tmpdir(), 'vgw-image-test-'));
    await loadStandInBase(daemon.socket);
    await buildGatewayImage(daemon.socket, IMAGE);
    chownSync(daemon.socket, 0, SOCKET_GROUP);
    chmodSync(daemon.socket, 0o660);
  }, 300_000);

  afterAll(async () => {
    await daemon.stop();
    for (const path of [folder, ...madeFolders]) rmSync(path, { recursive: true, force: true });
  }, 60_000);

  const started: string[] = [];

  async function run(options: Omit<ContainerOptions, 'image'>): Promise<string> {
    const id = await runContainer(daemon.socket, { image: IMAGE, ...options });
    started.push(id);
    return id;
  }

  async function runToEnd(options: Omit<ContainerOptions, 'image'>): Promise<Ran> {
    return containerEnd(daemon.socket, await run(options));
  }

  async function listening(id: string): Promise<string> {
    return eventually('the gateway listens', async () => {
      const log = await containerLog(daemon.socket, id);
      const { running } = await containerFacts(daemon.socket, id);
      if (!running) throw new Error(`it ended:\n${log}`);
      return log.includes('"listening"') ? log : undefined;
    });
  }

  function dataFolder(name: string): string {
    const path = join(folder, name);
    mkdirSync(path, { mode: 0o755 });
    return path;
  }

  it('adds at most 60 MB to its base', async () => {
    const history = async (tag: string): Promise<{ Size: number }[]> =>
      JSON.parse((await callDocker(daemon.socket, 'GET', `/images/${tag}/history`)).text) as { Size: number }[];
    const [all, base] = await Promise.all([history(IMAGE), history(baseTag().join(':'))]);
    const own = all.slice(0, all.length - base.length).reduce((sum, { Size }) => sum + Size, 0);
    process.stderr.write(`own layers of the image: ${(own / 1e6).toFixed(1)} MB\n`);
    expect(own).toBeGreaterThan(1_000_000);
    expect(own).toBeLessThanOrEqual(OWN_LAYERS_LIMIT);
  });

  it('holds production packages only, and its command on the path', async () => {
    const script = `const fs = require('node:fs'); console.log(JSON.stringify(fs.readdirSync('/app/node_modules')))`;
    const packages = await runToEnd({ entrypoint: ['node', '-e', script] });
    expect(packages.output).toContain('"hono"');
    expect(packages.output).toContain('"dockerode"');
    expect(packages.output).not.toMatch(/"(?:typescript|vitest|prettier|oxlint|tsx)"/);
    const version = await runToEnd({ entrypoint: ['vllm-gateway', '--version'] });
    expect(version).toEqual({ exitCode: 0, output: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
  });

  it(
    'gives up root for good before anything listens, and keeps the group of a 0660 socket [item 143]',
    async () => {
      const data = dataFolder('root-owned');
      const binds = [`${daemon.socket}:/var/run/docker.sock`, `${data}:/app/data`];
      const id = await run({ binds, env: MODELS });
      const log = await listening(id);
      const gaveUp = log.indexOf(`runs as user ${USER}, group ${SOCKET_GROUP}`);
      expect(gaveUp).toBeGreaterThanOrEqual(0);
      expect(gaveUp).toBeLessThan(log.indexOf('vLLM Gateway starts'));
      expect(log).not.toContain('cannot be used');
      const { pid } = await containerFacts(daemon.socket, id);
      const threads = readdirSync(`/proc/${pid}/task`);
      expect(threads.length).toBeGreaterThan(1);
      for (const thread of threads) {
        const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
        expect(status).toContain(`Uid:\t${USER}\t${USER}\t${USER}\t${USER}\n`);
        expect(status).toContain(`Gid:\t${USER}\t${USER}\t${USER}\t${USER}\n`);
        expect(status).toMatch(new RegExp(`^Groups:\\s*${SOCKET_GROUP}\\s*$`, 'm'));
        expect(status).toMatch(/^CapPrm:\s*0+$/m);
        expect(status).toMatch(/^CapEff:\s*0+$/m);
      }
      expect(statSync(data).uid).toBe(USER);
      expect(statSync(join(data, 'gateway.id')).uid).toBe(USER);
    },
    CONTAINER_LIMIT,
  );

  it(
    'is seen to be healthy, answers `docker exec`, and ends on SIGTERM without a relay',
    async () => {
      const id = await run({ env: MODELS });
      await listening(id);
      expect((await execIn(daemon.socket, id, ['node', '/app/docker/healthcheck.mjs'])).exitCode).toBe(0);
      const status = await execIn(daemon.socket, id, ['vllm-gateway', 'status']);
      expect(status.output).toContain('tiny');
      expect(status.exitCode).toBe(0);
      await stopContainer(daemon.socket, id, 20);
      expect(await containerFacts(daemon.socket, id)).toMatchObject({ running: false, exitCode: 0 });
      const config = join(folder, 'port.yaml');
      writeFileSync(config, 'server: { listen: 0.0.0.0:9100 }\nmodels: { tiny: { repo: org/tiny, memory: 1GiB } }\n');
      const other = await run({ binds: [`${config}:/app/config/models.yaml:ro`] });
      await listening(other);
      const health = await execIn(daemon.socket, other, ['node', '/app/docker/healthcheck.mjs']);
      expect(health).toEqual({ exitCode: 0, output: expect.stringContaining(':9100/healthz answers 200') });
    },
    CONTAINER_LIMIT,
  );

  it(
    'takes over what is in the data folder, and nothing that a link leads to',
    async () => {
      const data = dataFolder('trapped');
      const outside = join(folder, 'outside');
      mkdirSync(join(data, 'engines'));
      mkdirSync(outside);
      writeFileSync(join(data, 'memory_footprints.json'), '{}', { mode: 0o600 });
      writeFileSync(join(outside, 'victim'), 'mine');
      symlinkSync('/outside/victim', join(data, 'link'));
      symlinkSync('/outside', join(data, 'folder-link'));
      linkSync(join(outside, 'victim'), join(data, 'engines', 'hard-link'));
      const binds = [`${data}:/app/data`, `${outside}:/outside`, `${outside}:/app/data/mount`];
      mkdirSync(join(data, 'mount'));
      const log = await listening(await run({ binds, env: MODELS }));
      expect(statSync(join(data, 'memory_footprints.json')).uid).toBe(USER);
      expect(statSync(join(data, 'engines')).uid).toBe(USER);
      for (const path of ['victim', '.']) expect(statSync(join(outside, path)).uid).toBe(0);
      expect(lstatSync(join(data, 'link')).uid).toBe(0);
      expect(log).toMatch(/left as they are: .*hard-link \(it has a second name\)/);
      expect(log).toContain('mount (mounted there)');
    },
    CONTAINER_LIMIT,
  );

  it(
    'says what is wrong where it cannot become an ordinary user, and starts where it already is one',
    async () => {
      const system = await runToEnd({ env: [...MODELS, 'GATEWAY_STATE_DIR=/etc'] });
      expect(system).toEqual({ exitCode: 2, output: expect.stringContaining('/etc is a folder of the system') });
      const bound = await runToEnd({ env: MODELS, dropCapabilities: ['ALL'] });
      expect(bound).toEqual({ exitCode: 70, output: expect.stringContaining('CAP_SETUID and CAP_SETGID') });
      const few = { dropCapabilities: ['ALL'], addCapabilities: ['CHOWN', 'DAC_OVERRIDE', 'SETGID', 'SETUID'] };
      await listening(await run({ env: MODELS, ...few }));
      await listening(await run({ env: MODELS, user: `${USER}:${USER}` }));
    },
    CONTAINER_LIMIT,
  );

  it('leaves no container behind', async () => {
    await Promise.all(started.map((id) => removeContainer(daemon.socket, id)));
    const { text } = await callDocker(daemon.socket, 'GET', '/containers/json?all=1');
    expect(JSON.parse(text)).toEqual([]);
  });

  describe("under the predecessor's examples, over HTTP and by `docker exec` [S18] [items 143, 147]", () => {
    predecessorsExamples(() => ({ daemon, image: IMAGE }));
  });
});
