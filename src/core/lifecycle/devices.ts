/** What is read of devices, and devices that come and go with the settings. */
import { isSilent } from '../memory/ledger.ts';
import type { FleetEvent } from '../events.ts';
import { newDevice } from '../fleet.ts';
import { decide, type Run } from '../run.ts';
import type { DeviceSettings } from '../settings.ts';
import type { FleetState } from '../state.ts';

export function deviceObserved(run: Run, event: Extract<FleetEvent, { kind: 'device.observed' }>): void {
  const device = run.state.devices.get(event.id);
  if (!device) return;
  const wasSilent = device.silent !== null;
  if (isSilent(device)) decide(run, 'device.seen', {}, `Device ${device.id} is read again.`, { device: device.id });
  device.silent = null;
  device.usedBytes = event.usedBytes;
  device.observedAt = run.now;
  if (!wasSilent && device.totalBytes === event.totalBytes && device.foreignBytes === event.foreignBytes) return;
  device.totalBytes = event.totalBytes;
  device.foreignBytes = event.foreignBytes;
  run.capacityChanged = true;
}

/** What is ready there goes on; what has not begun yet is planned anew. */
export function deviceSilent(run: Run, id: string, reason: string): void {
  const device = run.state.devices.get(id);
  if (!device || device.silent === reason) return;
  const news = device.silent === null;
  device.silent = reason;
  if (!news || !isSilent(device)) return;
  decide(run, 'device.silent', {}, `Device ${id} cannot be read (${reason}): nothing is started there meanwhile.`, {
    device: id,
  });
  run.capacityChanged = true;
}

export function replaceDevices(state: FleetState, devices: readonly DeviceSettings[]): void {
  for (const settings of devices) {
    const known = state.devices.get(settings.id);
    if (known) Object.assign(known, settings);
    else state.devices.set(settings.id, newDevice(settings));
  }
  forgetVanished(state);
}

export function isListed(state: FleetState, deviceId: string): boolean {
  return state.settings.devices.some(({ id }) => id === deviceId);
}

/** A device that the settings name no longer stays as long as something stands on it; nothing is placed there. */
export function forgetVanished(state: FleetState): void {
  for (const { id } of state.devices.values()) {
    if (isListed(state, id)) continue;
    const inUse = [...state.replicas.values()].some((replica) => replica.reservations.has(id));
    if (!inUse) state.devices.delete(id);
  }
}
