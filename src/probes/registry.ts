/** The only place, beside gateway.ts, that names concrete probes. */
import type { Config } from '../config/config.ts';
import { AbsentProbe } from './absent-probe.ts';
import { ListProbe } from './list-probe.ts';
import type { Probe } from './probe.ts';

type ProbeKind = Config['devices']['probe'];
type Devices = Config['devices']['list'];

const FACTORIES = {
  // What is listed is taken as it is; finding devices by itself comes with the GPU probes.
  auto: (devices) => new ListProbe(devices.length > 0 ? 'static' : 'none', devices),
  static: (devices) => new ListProbe('static', devices),
  simulated: (devices) => new ListProbe('simulated', devices),
  none: () => new ListProbe('none', []),
  'nvidia-smi': () => new AbsentProbe('nvidia-smi'),
  docker: () => new AbsentProbe('docker'),
} satisfies Record<ProbeKind, (devices: Devices) => Probe>;

export function createProbe(devices: Config['devices']): Probe {
  return FACTORIES[devices.probe](devices.list);
}
