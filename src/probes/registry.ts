/** The only place, beside gateway.ts, that names concrete probes. */
import type { Config, DockerSettings } from '../config/config.ts';
import type { Platform } from '../platform/platform.ts';
import { AutoProbe } from './auto-probe.ts';
import { DockerProbe } from './docker/docker-probe.ts';
import { ListProbe } from './list-probe.ts';
import { NvidiaSmiProbe } from './nvidia-smi-probe.ts';
import type { Probe } from './probe.ts';

type ProbeKind = Config['devices']['probe'];

interface Parts {
  readonly devices: Config['devices'];
  readonly nvidiaSmi: () => NvidiaSmiProbe;
  readonly docker: () => DockerProbe;
  /** Null: containers get no GPUs, so none of them could read any. */
  readonly dockerIfGpus: () => DockerProbe | null;
}

const FACTORIES = {
  auto: ({ nvidiaSmi, dockerIfGpus }) => new AutoProbe(nvidiaSmi(), dockerIfGpus()),
  static: ({ devices }) => new ListProbe('static', devices.list),
  simulated: ({ devices }) => new ListProbe('simulated', devices.list),
  none: () => new ListProbe('none', []),
  'nvidia-smi': ({ nvidiaSmi }) => nvidiaSmi(),
  docker: ({ docker }) => docker(),
} satisfies Record<ProbeKind, (parts: Parts) => Probe>;

export function createProbe(
  devices: Config['devices'],
  docker: DockerSettings,
  platform: Platform,
  gatewayId: string,
): Probe {
  const names = new Map(devices.list.flatMap(({ id, uuid }) => (uuid === null ? [] : [[uuid, id] as const])));
  const dockerProbe = (): DockerProbe => new DockerProbe({ platform, docker, gatewayId, names });
  return FACTORIES[devices.probe]({
    devices,
    nvidiaSmi: () => new NvidiaSmiProbe({ platform, command: devices.command, names }),
    docker: dockerProbe,
    dockerIfGpus: () => (docker.gpus === 'none' ? null : dockerProbe()),
  });
}
