/**
 * A machine of pretended GPUs under a real Docker daemon: engines in containers claim memory of devices in a shared file,
 * and each start takes the next fault of a list.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { callDocker } from './docker-call.ts';
import { startDaemon, type DaemonOptions, type DockerDaemon } from './docker-daemon.ts';
import { fakeVllmPath } from './fake-vllm.ts';

const IMAGE = 'pretended/vllm:v0.16.0';
const MIB_PER_GIB = 1_024;

/** Runs as `vllm`: whoever renames a file of the list has its fault. */
const FAULTY_VLLM = `#!/usr/local/bin/node
const { readdirSync, readFileSync, renameSync } = require('node:fs');
for (const name of readdirSync('/machine/faults').sort()) {
  const taken = \`/machine/taken/\${name}-\${process.env.PRETENDED_MODEL}\`;
  try {
    renameSync(\`/machine/faults/\${name}\`, taken);
  } catch {
    continue;
  }
  const fault = readFileSync(taken, 'utf8');
  if (fault !== '') process.env.FAKE_VLLM_FAULT = fault;
  break;
}
import('/opt/fake-vllm/tools/fake-vllm/main.js');
`;

export interface DockerFleet extends AsyncDisposable {
  readonly daemon: DockerDaemon;
  /** Configuration: devices and drivers. */
  readonly yaml: string;
  readonly image: string;
  /** For the environment of the gateway. */
  readonly env: Readonly<Record<string, string>>;
  /** Of every model: its volume, and the knob of the shared file. */
  readonly volume: string;
  readonly knobs: Readonly<Record<string, string>>;
  readonly uuids: readonly string[];
  /** MiB claimed on each device: by those who have ended too, until the driver has noticed. */
  used(): readonly number[];
  /** Lets the driver notice who has ended, as every run of nvidia-smi does. */
  notice(): void;
  /** Faults of the next starts, one each; an empty one is none. */
  plan(faults: readonly string[]): void;
  /** Faults that were taken, by model, oldest first. */
  taken(): readonly { readonly model: string; readonly fault: string }[];
  /** Names of all containers of the daemon. */
  containers(): Promise<readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[]>;
}

export async function startDockerFleet(
  name: string,
  gib: readonly number[],
  options: DaemonOptions = {},
): Promise<DockerFleet> {
  const folder = mkdtempSync(join(tmpdir(), `vgw-${name}-`));
  const machine = join(folder, 'machine');
  for (const path of ['machine/faults', 'machine/taken', 'cache', 'bin'])
    mkdirSync(join(folder, path), { recursive: true });
  const file = join(machine, 'vram.json');
  const uuids = gib.map((_, index) => `GPU-${name}-${index}`);
  const devices = gib.map((size, index) => ({
    index,
    uuid: uuids[index],
    total_mib: size * MIB_PER_GIB,
    base_used_mib: 0,
  }));
  writeFileSync(file, JSON.stringify({ devices, claims: {} }));
  const daemon = await daemonWithGpus(join(folder, 'bin'), options).catch((error: unknown) => {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  });
  let planned = 0;
  return {
    daemon,
    image: IMAGE,
    uuids,
    yaml: [
      `devices: { probe: nvidia-smi, command: "${process.execPath} ${fakeVllmPath('nvidia-smi.js')}", budget_fraction: 1 }`,
      `drivers: { default: docker, docker: { socket: ${daemon.socket}, image: "${IMAGE}", gpus: nvidia, cache_dir: ${join(folder, 'cache')} } }`,
    ].join('\n'),
    env: { FAKE_VLLM_VRAM_FILE: file },
    volume: `${machine}:/machine`,
    knobs: { VRAM_FILE: '/machine/vram.json' },
    used() {
      const { claims } = JSON.parse(readFileSync(file, 'utf8')) as {
        readonly claims: Readonly<Record<string, { readonly mib: Readonly<Record<string, number>> }>>;
      };
      return uuids.map((uuid) => Object.values(claims).reduce((sum, { mib }) => sum + (mib[uuid] ?? 0), 0));
    },
    notice() {
      spawnSync(process.execPath, [fakeVllmPath('nvidia-smi.js'), '-L'], { env: { FAKE_VLLM_VRAM_FILE: file } });
    },
    plan(faults) {
      for (const fault of faults) {
        // Written aside: a file that is half there may already be taken.
        const aside = join(folder, 'next');
        writeFileSync(aside, fault);
        renameSync(aside, join(machine, 'faults', String(planned++).padStart(6, '0')));
      }
    },
    taken: () =>
      readdirSync(join(machine, 'taken'))
        .toSorted()
        .map((entry) => ({
          model: entry.slice(entry.indexOf('-') + 1),
          fault: readFileSync(join(machine, 'taken', entry), 'utf8'),
        })),
    async containers() {
      const { text } = await callDocker(daemon.socket, 'GET', '/containers/json?all=1');
      const listed = JSON.parse(text) as readonly {
        readonly Names: readonly string[];
        readonly Labels: Record<string, string>;
      }[];
      return listed.map(({ Names, Labels }) => ({ name: Names[0] ?? '', labels: Labels }));
    },
    async [Symbol.asyncDispose]() {
      await daemon.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/**
 * The daemon hands out GPUs when it finds NVIDIA's hook at its start: it writes the wanted devices into the container's
 * environment, and the hook would mount them. Ours has nothing to mount.
 */
async function daemonWithGpus(bin: string, options: DaemonOptions): Promise<DockerDaemon> {
  writeFileSync(join(bin, 'nvidia-container-runtime-hook'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
  const daemon = await startDaemon({ ...options, programs: bin });
  try {
    await buildImage(daemon);
    return daemon;
  } catch (error) {
    await daemon.stop();
    throw error;
  }
}

async function buildImage(daemon: DockerDaemon): Promise<void> {
  const { socket } = daemon;
  const base = await daemon.loadFakeVllmImage('pretended/base:1');
  const { text } = await callDocker(socket, 'POST', '/containers/create', JSON.stringify({ Image: base, Cmd: ['-'] }));
  const { Id } = JSON.parse(text) as { readonly Id: string };
  const folder = mkdtempSync(join(tmpdir(), 'vgw-vllm-'));
  try {
    writeFileSync(join(folder, 'vllm'), FAULTY_VLLM, { mode: 0o755 });
    const tar = spawn('tar', ['-C', folder, '-c', 'vllm'], { stdio: ['ignore', 'pipe', 'inherit'] });
    await callDocker(socket, 'PUT', `/containers/${Id}/archive?path=/usr/local/bin`, tar.stdout);
    const [repo = '', tag = ''] = IMAGE.split(':');
    const config = JSON.stringify({ Env: ['PATH=/usr/local/bin:/usr/bin:/bin', 'HOME=/root'] });
    await callDocker(socket, 'POST', `/commit?container=${Id}&repo=${repo}&tag=${tag}`, config);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    await callDocker(socket, 'DELETE', `/containers/${Id}?force=1`);
  }
}
