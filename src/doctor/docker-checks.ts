/** Docker as this process sees it: the socket, the daemon behind it, what it gives to containers, and images. */
import type { Config, DockerSettings } from '../config/config.ts';
import type { Machine } from '../platform/machine.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import { codeOf, findingsOf, type Finding } from './finding.ts';

const ANSWER_LIMIT: Milliseconds = 5 * SECOND;
/** Of Docker 20.10: older ones know neither device requests as we send them nor `published` on loopback as we read it. */
const OLDEST_API = [1, 41] as const;

const { ok, problem } = findingsOf('docker');
const AS_PROCESSES = 'or run engines as processes (drivers.default: process)';

export const dockerSocketOf = (settings: Pick<DockerSettings, 'socket'>): string =>
  settings.socket.replace(/^unix:\/\//, '');

/** Engines of this configuration run in containers. */
export function usesDocker(config: Config): boolean {
  return [...config.models.values()].some(({ driver }) => driver === 'docker');
}

interface Daemon {
  readonly version: string;
  readonly info: DaemonInfo | null;
}

interface DaemonInfo {
  readonly Runtimes?: Readonly<Record<string, unknown>> | null;
  readonly DiscoveredDevices?: readonly { readonly ID?: string }[] | null;
  readonly DockerRootDir?: string;
}

/** The socket and the daemon alone; a finding when it cannot be used. */
export async function lookForDaemon(settings: DockerSettings, machine: Machine): Promise<Daemon | Finding> {
  const socket = dockerSocketOf(settings);
  try {
    const { status, body } = await machine.getOverSocket(socket, '/version', ANSWER_LIMIT);
    const facts = status === 200 ? parse<{ Version?: string; ApiVersion?: string }>(body) : null;
    if (facts?.ApiVersion === undefined)
      return problem(`What listens on ${socket} does not answer like Docker (status ${status}).`, NAME_SOCKET);
    const { ApiVersion: api, Version: version = 'unknown' } = facts;
    if (isOlder(api)) {
      return problem(
        `Docker ${version} speaks version ${api} of its API; ${OLDEST_API.join('.')} is the oldest that works.`,
        `Update Docker to 20.10 or later, ${AS_PROCESSES}.`,
      );
    }
    const asked = await machine.getOverSocket(socket, '/info', ANSWER_LIMIT).catch(() => null);
    return { version: `${version} (API ${api})`, info: asked?.status === 200 ? parse<DaemonInfo>(asked.body) : null };
  } catch (error) {
    return await whyNot(socket, codeOf(error), machine);
  }
}

const NAME_SOCKET = `Name the socket of the Docker daemon in drivers.docker.socket, ${AS_PROCESSES}.`;

async function whyNot(socket: string, code: string, machine: Machine): Promise<Finding> {
  const start = `Start Docker (systemctl start docker)`;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const mount = `in a container, mount it (-v ${socket}:${socket}); elsewhere, name it in drivers.docker.socket`;
    return problem(`There is no Docker socket ${socket}.`, `Install and start Docker; ${mount}; ${AS_PROCESSES}.`);
  }
  if (code === 'EACCES' || code === 'EPERM') {
    const owner = await machine.owner(socket);
    const mode = owner === undefined ? '' : ` (owner ${owner.uid}, mode ${(owner.mode & 0o777).toString(8)})`;
    return problem(
      `User ${machine.userId ?? 'of this process'} may not use the Docker socket ${socket}${mode}.`,
      'Add the user to the group of the socket (usermod -aG docker USER, then log in again); in a container, use --group-add with the group id of the socket.',
    );
  }
  if (code === 'ECONNREFUSED') return problem(`No daemon listens on the Docker socket ${socket}.`, `${start}.`);
  if (code === 'ETIMEDOUT') {
    return problem(
      `Docker does not answer on ${socket} within ${ANSWER_LIMIT / SECOND} s.`,
      'Look at the load of the machine and at the log of the daemon (journalctl -u docker); restart it.',
    );
  }
  return problem(`Docker cannot be asked on ${socket} (${code}).`, NAME_SOCKET);
}

export const isFinding = (found: Daemon | Finding): found is Finding => 'check' in found;

export async function checkDocker(config: Config, machine: Machine): Promise<readonly Finding[]> {
  const settings = config.drivers.docker;
  if (!usesDocker(config)) return [ok('Docker is not needed: no model of this configuration runs in a container.')];
  const daemon = await lookForDaemon(settings, machine);
  if (isFinding(daemon)) return [daemon];
  return [
    ok(`Docker ${daemon.version} answers on ${dockerSocketOf(settings)}.`),
    checkGpuAccess(settings, daemon.info),
    ...(await checkImages(config, machine)),
  ];
}

function checkGpuAccess({ gpus }: DockerSettings, info: DaemonInfo | null): Finding {
  const gpu = findingsOf('docker gpus');
  if (gpus === 'none') return gpu.ok('Containers get no GPUs (drivers.docker.gpus: none).');
  if (info === null) return gpu.unknown('Docker does not tell what it can give to containers.');
  const runtime = Object.keys(info.Runtimes ?? {}).find((name) => name.startsWith('nvidia'));
  const cdi = (info.DiscoveredDevices ?? []).filter(({ ID }) => ID?.startsWith('nvidia.com/') === true).length;
  const toolkit =
    'Install the NVIDIA Container Toolkit, run `nvidia-ctk runtime configure --runtime=docker` and restart Docker; without GPUs set drivers.docker.gpus: none.';
  if (gpus === 'nvidia' && runtime === undefined)
    return gpu.problem('Docker has no NVIDIA runtime (drivers.docker.gpus: nvidia).', toolkit);
  if (gpus === 'cdi' && cdi === 0) {
    return gpu.problem(
      'Docker knows no NVIDIA device by CDI (drivers.docker.gpus: cdi).',
      'Write them with `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`, and switch the feature `cdi` of the daemon on; or set drivers.docker.gpus: auto.',
    );
  }
  if (runtime !== undefined) return gpu.ok(`Docker has the runtime ${runtime}.`);
  if (cdi > 0) return gpu.ok(`Docker knows ${cdi} NVIDIA devices by CDI.`);
  return gpu.unknown('Docker lists neither an NVIDIA runtime nor CDI devices: containers may see no GPU.', toolkit);
}

async function checkImages(config: Config, machine: Machine): Promise<readonly Finding[]> {
  const image = findingsOf('image');
  const { docker } = config.drivers;
  const names = new Set(
    [...config.models.values()].flatMap((model) => (model.driver === 'docker' ? [model.image ?? docker.image] : [])),
  );
  return Promise.all(
    [...names].map(async (name) => {
      // A name is part of a path here: slashes and colons stay, as the daemon reads them.
      const path = `/images/${encodeURI(name)}/json`;
      const asked = await machine.getOverSocket(dockerSocketOf(docker), path, ANSWER_LIMIT).catch(() => null);
      if (asked?.status === 200) return image.ok(`${name} is here.`);
      if (asked?.status === 404) {
        return image.ok(
          `${name} is not here yet: the first start of a model waits until it is fetched.`,
          `docker pull ${name}`,
        );
      }
      return image.unknown(`Docker does not tell whether ${name} is here.`);
    }),
  );
}

function isOlder(api: string): boolean {
  const [major = 0, minor = 0] = api.split('.').map(Number);
  return major < OLDEST_API[0] || (major === OLDEST_API[0] && minor < OLDEST_API[1]);
}

function parse<Value>(text: string): Value | null {
  try {
    return JSON.parse(text) as Value;
  } catch {
    // Not JSON: no answer of a Docker daemon.
    return null;
  }
}
