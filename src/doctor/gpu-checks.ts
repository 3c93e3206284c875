/** GPUs: can they be read, are they well, and are those there that the configuration names. */
import type { Config } from '../config/config.ts';
import { missingDevices, namesDevices } from '../fleet-devices.ts';
import type { Platform } from '../platform/platform.ts';
import type { Probe, ProbeReading } from '../probes/probe.ts';
import { createProbe } from '../probes/registry.ts';
import { formatSize } from '../units.ts';
import { findingsOf, type Finding } from './finding.ts';

const { ok, problem, unknown } = findingsOf('gpus');

/** Labels the helper container of the docker probe, which is removed when it is closed. */
const NOBODY_LENGTH = 12;
const READS_GPUS: ReadonlySet<Config['devices']['probe']> = new Set(['auto', 'nvidia-smi', 'docker']);

const LIST_THEM =
  'Make `nvidia-smi` run here (driver installed, devices passed into the container), or write the GPUs into devices.list with devices.probe: static.';

export function probeOf(
  config: Config,
  platform: Platform,
  kind: Config['devices']['probe'] = config.devices.probe,
): Probe {
  const devices = { ...config.devices, probe: kind };
  return createProbe(devices, config.drivers.docker, platform, platform.random.hex(NOBODY_LENGTH));
}

/** Engines of this configuration hold memory of devices. */
const needsGpus = ({ models }: Config): boolean => [...models.values()].some(({ driver }) => driver !== 'external');

export async function checkGpus(config: Config, probe: Probe): Promise<readonly Finding[]> {
  const { probe: kind, list } = config.devices;
  if (!READS_GPUS.has(kind)) {
    await probe.close();
    if (kind === 'none') return [ok('No GPUs are looked for (devices.probe: none).')];
    return [ok(`${list.length} listed in devices.list; none is read (devices.probe: ${kind}).`)];
  }
  try {
    const reading = await probe.read();
    return reading.devices.length === 0 ? [nothingFound(config, probe)] : found(config, reading);
  } catch (error) {
    const why = `GPUs cannot be read: ${error instanceof Error ? error.message : String(error)}.`;
    return [needsGpus(config) ? problem(why, LIST_THEM) : unknown(why, LIST_THEM)];
  } finally {
    await probe.close();
  }
}

function nothingFound(config: Config, probe: Probe): Finding {
  const why = `This machine ${(probe.detail ?? 'finds no GPUs').replace(/\.$/, '')}.`;
  if (!needsGpus(config)) return ok(`${why} None is needed.`);
  return namesDevices(config) ? problem(`${why} The configuration names some.`, LIST_THEM) : unknown(why, LIST_THEM);
}

function found(config: Config, reading: ProbeReading): readonly Finding[] {
  const { devices, driverVersion } = reading;
  const driver = driverVersion === null ? '' : `, driver ${driverVersion}`;
  const told = devices.map(({ id, name, totalBytes }) => `${id} (${name ?? 'device'}, ${formatSize(totalBytes)})`);
  const ill = devices.flatMap(({ id, trouble }) =>
    trouble === null
      ? []
      : [
          problem(
            `${id}: ${trouble}.`,
            'Nothing is placed there; look at `nvidia-smi -q` and at the kernel log (dmesg).',
          ),
        ],
  );
  const wrong = wrongDevices(config, reading);
  return [ok(`${devices.length} found${driver}: ${told.join('; ')}.`), ...ill, ...(wrong === null ? [] : [wrong])];
}

/** Pools or models name a GPU that is not there: `serve` would refuse. */
export function wrongDevices(config: Config, reading: ProbeReading): Finding | null {
  const missing = missingDevices(config, reading);
  if (missing === null) return null;
  return problem(missing, 'Write one of those into pools or devices (`nvidia-smi -L` shows them), or leave it out.');
}

/** For `check`: reads with nvidia-smi only, as everything else takes long or starts something. Null = not read. */
export async function quickReading(config: Config, platform: Platform): Promise<ProbeReading | null> {
  if (!namesDevices(config) || !['auto', 'nvidia-smi'].includes(config.devices.probe)) return null;
  const probe = probeOf(config, platform, 'nvidia-smi');
  try {
    return await probe.read();
  } catch {
    // Not readable here: doctor says why; a configuration may well be meant for another machine.
    return null;
  } finally {
    await probe.close();
  }
}
