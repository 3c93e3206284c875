/** From a launch spec to the body of `POST /containers/create`. Pure. */
import type { DockerSettings } from '../../config/config.ts';
import type { ContainerSpec, FetchSpec, LaunchSpec } from '../../core/launch.ts';
import type { CreateBody, DaemonFacts } from './client.ts';
import type { Surroundings } from './surroundings.ts';

export interface BodyContext {
  readonly settings: DockerSettings;
  readonly surroundings: Surroundings;
  readonly daemon: DaemonFacts;
  /** Of the gateway: what engines need of it to reach the hub. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly labels: Record<string, string>;
}

const HUB_CACHE = '/root/.cache/huggingface';
const COMPILE_CACHE = '/root/.cache/vllm';
const COMPILE_VOLUME = 'vllm-gateway-compile-cache';
const TEMP = '/tmp';

/** Model downloads go through the same proxy and the same mirror as everything else. No secret is among them. */
const PASSED = [
  ...['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'],
  ...['HF_ENDPOINT', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE', 'TZ'],
];

const LOOPBACK = /\/\/(?:[^/@]*@)?(?:localhost|127\.|\[::1\])/;

/** A log is for the reason of a failure, not for an archive. */
const LOGS = { Type: 'json-file', Config: { 'max-size': '16m', 'max-file': '2' } };

export function replicaBody(
  spec: LaunchSpec,
  container: ContainerSpec,
  context: BodyContext,
  names: { readonly alias: string; readonly tempFolder: string },
): CreateBody {
  const { settings, surroundings, daemon } = context;
  const port = `${spec.port ?? settings.port}/tcp`;
  const requests = deviceRequests(settings.gpus, spec.deviceUuids, daemon);
  const published = surroundings.reach === 'published';
  return {
    ...common(container, spec.env, context),
    ...entrypoint(spec.argv),
    ...ownTemp(container, settings, names.tempFolder),
    ExposedPorts: { [port]: {} },
    HostConfig: {
      ...hostConfig(context),
      Binds: binds(container, settings, names.tempFolder),
      // Engines with several devices speak to each other through shared memory of more than Docker's 64 MiB.
      ...(container.shmSize === null ? { IpcMode: 'host' } : { IpcMode: 'private', ShmSize: container.shmSize }),
      ...(requests === null ? {} : { DeviceRequests: requests }),
      ...(published ? { PortBindings: { [port]: [{ HostIp: '127.0.0.1', HostPort: '' }] } } : {}),
    },
    NetworkingConfig: {
      EndpointsConfig: {
        [surroundings.network]: surroundings.reach === 'name' ? { Aliases: [names.alias] } : {},
      },
    },
  };
}

/** Runs to its end beside the engines: the same image and cache, but no GPU, no port and no name. */
export function fetchBody(
  spec: FetchSpec,
  argv: readonly string[],
  container: ContainerSpec,
  context: BodyContext,
): CreateBody {
  return {
    ...common(container, spec.env, context),
    ...entrypoint(argv),
    ...ownTemp(container, context.settings, null),
    HostConfig: { ...hostConfig(context), Binds: binds(container, context.settings, null) },
    NetworkingConfig: { EndpointsConfig: { [context.surroundings.network]: {} } },
  };
}

function common(
  container: ContainerSpec,
  env: Readonly<Record<string, string>>,
  { settings, environment, labels }: BodyContext,
): CreateBody {
  const passed = Object.fromEntries(
    PASSED.flatMap((name) => {
      const value = environment[name] ?? '';
      // A loopback address means another machine in there.
      const elsewhere = LOOPBACK.test(value) && !/^no_proxy$/i.test(name);
      return value === '' || elsewhere ? [] : [[name, value] as const];
    }),
  );
  const { libraryPath } = settings;
  const linking = libraryPath === null ? {} : { LD_LIBRARY_PATH: libraryPath };
  const all: Readonly<Record<string, string>> = { ...passed, ...linking, ...env };
  return {
    Image: container.image,
    Env: Object.entries(all).map(([name, value]) => `${name}=${value}`),
    Labels: labels,
    Tty: false,
    OpenStdin: false,
  };
}

/** Nothing to run: the image knows. Else all of it, as the entry points of engine images differ between versions. */
function entrypoint(argv: readonly string[]): CreateBody {
  return argv.length === 0 ? {} : { Entrypoint: [...argv], Cmd: [] };
}

function hostConfig({ surroundings }: BodyContext): HostConfig {
  return {
    NetworkMode: surroundings.network,
    RestartPolicy: { Name: 'no' },
    AutoRemove: false,
    LogConfig: LOGS,
  };
}

/** What the model mounts itself is not mounted a second time. */
function binds(container: ContainerSpec, settings: DockerSettings, tempFolder: string | null): string[] {
  const taken = new Set(container.volumes.map(targetOf));
  const all = [...container.volumes];
  if (!taken.has(HUB_CACHE)) all.push(`${settings.cacheDir}:${HUB_CACHE}`);
  if (!taken.has(COMPILE_CACHE)) all.push(`${COMPILE_VOLUME}:${COMPILE_CACHE}`);
  if (!taken.has(TEMP) && !hasOwnTemp(settings, tempFolder)) {
    all.push(`${settings.tempDir.replace(/\/+$/, '')}/${tempFolder}:${TEMP}`);
  }
  return all;
}

/**
 * Never the host's own /tmp: other programs and other engines have their sockets and files there. What is not on a disk
 * that somebody chose is a volume without a name, which goes with its container.
 */
function hasOwnTemp(settings: DockerSettings, tempFolder: string | null): boolean {
  return tempFolder === null || settings.tempDir === TEMP;
}

function ownTemp(container: ContainerSpec, settings: DockerSettings, tempFolder: string | null): CreateBody {
  const mounted = container.volumes.some((volume) => targetOf(volume) === TEMP);
  return mounted || !hasOwnTemp(settings, tempFolder) ? {} : { Volumes: { [TEMP]: {} } };
}

function targetOf(volume: string): string {
  return (volume.split(':')[1] ?? '').replace(/(?<=.)\/+$/, '');
}

type HostConfig = NonNullable<CreateBody['HostConfig']>;
type DeviceRequest = NonNullable<HostConfig['DeviceRequests']>[number];

/**
 * `uuids` null: as the machine has them, so all of them where there are any.
 * `auto` takes the NVIDIA runtime, and CDI where the daemon knows GPUs by it and has no such runtime.
 */
export function deviceRequests(
  gpus: DockerSettings['gpus'],
  uuids: readonly string[] | null,
  daemon: DaemonFacts,
): DeviceRequest[] | null {
  const hasCdi = daemon.cdiDevices.some((device) => device.startsWith('nvidia.com/gpu='));
  const hasNvidia = daemon.runtimes.includes('nvidia');
  if (gpus === 'none' || uuids?.length === 0) return null;
  if (gpus === 'auto' && uuids === null && !hasNvidia && !hasCdi) return null;
  if (gpus === 'cdi' || (gpus === 'auto' && hasCdi && !hasNvidia)) {
    return [{ Driver: 'cdi', DeviceIDs: (uuids ?? ['all']).map((uuid) => `nvidia.com/gpu=${uuid}`) }];
  }
  const which = uuids === null ? { Count: -1 } : { DeviceIDs: [...uuids] };
  return [{ Driver: gpus === 'nvidia' ? 'nvidia' : '', ...which, Capabilities: [['gpu']] }];
}
