/**
 * Bytes promised on devices. Two sums matter: what launched engines may really hold (`held`, which must never exceed the
 * capacity), and what is promised once everything that is leaving has left (`committed`, which plans are made on).
 */
import type { Bytes } from '../../units.ts';
import type { Device, FleetState, Replica } from '../state.ts';

/** What the gateway may promise on a device: its budget, and not what others hold. */
export function capacity(device: Device): Bytes {
  return Math.max(0, Math.min(device.budgetBytes, device.totalBytes - device.foreignBytes));
}

const isLeaving = (replica: Replica): boolean => replica.phase === 'draining' || replica.phase === 'stopping';

export function residents(state: FleetState, deviceId: string): Replica[] {
  const found: Replica[] = [];
  for (const replica of state.replicas.values()) if (replica.reservations.has(deviceId)) found.push(replica);
  return found;
}

/** Bytes of replicas that were launched and not yet verified gone. */
export function held(state: FleetState, deviceId: string): Bytes {
  let sum = 0;
  for (const replica of state.replicas.values()) {
    if (replica.phase !== 'reserved') sum += replica.reservations.get(deviceId) ?? 0;
  }
  return sum;
}

/** Bytes of replicas that are here to stay or on their way in. */
export function committed(state: FleetState, deviceId: string): Bytes {
  let sum = 0;
  for (const replica of state.replicas.values()) {
    if (!isLeaving(replica)) sum += replica.reservations.get(deviceId) ?? 0;
  }
  return sum;
}

/** True when this reserved replica's bytes are free for real on each of its devices. */
export function bytesAreFree(state: FleetState, replica: Replica): boolean {
  for (const [deviceId, bytes] of replica.reservations) {
    const device = state.devices.get(deviceId);
    if (!device || held(state, deviceId) + bytes > capacity(device)) return false;
  }
  return true;
}
