/** From what the configuration lists, or a probe has read, to the devices that the core keeps books on. */
import type { Config } from './config/config.ts';
import type { DeviceSettings } from './core/settings.ts';
import type { DeviceReading, ProbeReading } from './probes/probe.ts';
import { formatSize, GIB, MIB } from './units.ts';

/** Stands for all GPUs of a model while they cannot be read. */
export const UNREAD_DEVICE = 'gpus';
/** Nobody compares it with anything: a model takes the whole of it. */
const NOMINAL = GIB;

/** What is known before anything is read; null = nothing, although there may be GPUs. */
export function listedDevices({ devices }: Config): ProbeReading | null {
  if (devices.probe === 'static' || devices.probe === 'simulated') {
    return {
      devices: devices.list.map(({ id, memory, uuid }) => ({
        id,
        uuid,
        name: null,
        totalBytes: memory,
        usedBytes: null,
        trouble: null,
      })),
      processes: null,
      driverVersion: null,
    };
  }
  return devices.probe === 'none' ? { devices: [], processes: null, driverVersion: null } : null;
}

/** `reading` null = the GPUs cannot be read, or were not yet. */
export function deviceSettings(config: Config, reading: ProbeReading | null): readonly DeviceSettings[] {
  if (reading === null) return [unreadDevice()];
  const whole = config.memory.placementMode === 'whole_card';
  return reading.devices
    .filter(({ totalBytes }) => totalBytes > 0)
    .map((device) => ({
      id: device.id,
      totalBytes: device.totalBytes,
      budgetBytes: whole ? device.totalBytes : Math.floor(device.totalBytes * config.devices.budgetFraction),
      pool: poolOf(config, device),
      uuid: device.uuid,
      deviceClass: classOf(device, reading.driverVersion),
      unmeasured: false,
    }));
}

function unreadDevice(): DeviceSettings {
  return {
    id: UNREAD_DEVICE,
    totalBytes: NOMINAL,
    budgetBytes: NOMINAL,
    pool: null,
    uuid: null,
    deviceClass: 'unread',
    unmeasured: true,
  };
}

function classOf({ name, totalBytes }: DeviceReading, driverVersion: string | null): string {
  const size = `${Math.round(totalBytes / MIB)} MiB`;
  return [name ?? 'device', size, ...(driverVersion === null ? [] : [`driver ${driverVersion}`])].join(', ');
}

function poolOf({ pools }: Config, device: DeviceReading): string | null {
  for (const [name, members] of pools) if (members.some((member) => isNamed(member, device))) return name;
  return null;
}

export function isNamed(name: string, { id, uuid }: { readonly id: string; readonly uuid: string | null }): boolean {
  return name === id || name === uuid;
}

/** Pools, or models, say which GPUs they want: there are some. */
export function namesDevices(config: Config): boolean {
  if (config.devices.probe === 'none') return false;
  return config.pools.size > 0 || [...config.models.values()].some(({ devices }) => devices !== null);
}

/** Devices that pools and models name and the machine has not got, in words; null = none. */
export function missingDevices(config: Config, reading: ProbeReading): string | null {
  const missing = new Set<string>();
  const look = (device: string, namedBy: string): void => {
    if (!reading.devices.some((seen) => isNamed(device, seen))) missing.add(`${device} (${namedBy})`);
  };
  for (const [pool, members] of config.pools) for (const member of members) look(member, `pool '${pool}'`);
  for (const model of config.models.values()) {
    if (model.driver === 'external') continue;
    for (const device of model.devices ?? []) look(device, `devices of model '${model.name}', or GATEWAY_GPU_UUID`);
  }
  if (missing.size === 0) return null;
  const visible = reading.devices.map(({ id, uuid, name, totalBytes }) => {
    const names = uuid === null || uuid === id ? id : `${id} = ${uuid}`;
    return `${names} (${name ?? 'device'}, ${formatSize(totalBytes)})`;
  });
  return `This machine has no such GPU: ${[...missing].join(', ')}. It has: ${visible.join(', ') || 'none'}.`;
}
