/**
 * Bytes promised on devices. Two sums matter: what launched engines may really hold (`held`, which must never exceed the
 * capacity when a start begins), and what is promised once everything that is leaving has left and everything that is
 * starting is ready (`committed`, which plans are made on). A start may take more than its reservation until it is ready:
 * its peak. Starts on one device take turns, so that plans count the largest excess once, not the sum of them.
 */
import type { Bytes } from '../../units.ts';
import type { Device, FleetState, Replica } from '../state.ts';

/** All that is promised on one device, from one pass over the replicas. */
export interface DeviceBook {
  /** What launched replicas may really hold. */
  held: Bytes;
  /** Steady bytes of all that are not leaving. */
  steady: Bytes;
  /** The largest excess of a peak over its reservation among those that are still to become ready. */
  excess: Bytes;
  readonly residents: Replica[];
}

/** What the gateway may promise on a device: its budget, and not what others hold. */
export function capacity(device: Device): Bytes {
  // Its bytes mean nothing: a model takes the whole of it, whatever that is.
  if (device.unmeasured) return Math.max(1, device.budgetBytes);
  return Math.max(0, Math.min(device.budgetBytes, device.totalBytes - device.foreignBytes));
}

/** May a start begin here now? What is ready goes on in any case. */
export function takesStarts(device: Device): boolean {
  return device.quarantine === null && !isSilent(device);
}

/** Readings are to be had of it, and there is none: what others hold there is unknown. */
export function isSilent(device: Device): boolean {
  return device.silent !== null && !device.unmeasured;
}

export const isLeaving = (replica: Replica): boolean => replica.phase === 'draining' || replica.phase === 'stopping';

const steadyOn = (replica: Replica, deviceId: string): Bytes => replica.reservations.get(deviceId) ?? 0;

/** At least the reservation: an engine that was measured larger than its peak was larger. */
const peakOn = (replica: Replica, deviceId: string): Bytes =>
  Math.max(replica.peaks.get(deviceId) ?? 0, steadyOn(replica, deviceId));

/** What it may really hold there: nothing before launch, its peak until it was ready once, its reservation since then. */
function holds(replica: Replica, deviceId: string): Bytes {
  if (replica.phase === 'reserved') return 0;
  return replica.readyAt === null ? peakOn(replica, deviceId) : steadyOn(replica, deviceId);
}

export function enter(book: DeviceBook, replica: Replica, deviceId: string): void {
  book.residents.push(replica);
  book.held += holds(replica, deviceId);
  if (isLeaving(replica)) return;
  if (replica.phase === 'zombie') {
    book.steady += holds(replica, deviceId);
    return;
  }
  book.steady += steadyOn(replica, deviceId);
  if (replica.readyAt === null) {
    book.excess = Math.max(book.excess, peakOn(replica, deviceId) - steadyOn(replica, deviceId));
  }
}

export const emptyBook = (): DeviceBook => ({ held: 0, steady: 0, excess: 0, residents: [] });

function bookOf(state: FleetState, deviceId: string): DeviceBook {
  const book = emptyBook();
  for (const replica of state.replicas.values()) {
    if (replica.reservations.has(deviceId)) enter(book, replica, deviceId);
  }
  return book;
}

export function residents(state: FleetState, deviceId: string): Replica[] {
  return bookOf(state, deviceId).residents;
}

/** Bytes that launched replicas, not yet verified gone, may really hold: with their peaks as long as they start. */
export function held(state: FleetState, deviceId: string): Bytes {
  return bookOf(state, deviceId).held;
}

/** Bytes of replicas that are here to stay or on their way in, with room for the largest of their starts. */
export function committed(state: FleetState, deviceId: string): Bytes {
  const { steady, excess } = bookOf(state, deviceId);
  return steady + excess;
}

/** True when this reserved replica may be launched: its bytes, peak included, are free for real on each of its devices. */
export function bytesAreFree(state: FleetState, replica: Replica): boolean {
  for (const deviceId of replica.reservations.keys()) {
    const device = state.devices.get(deviceId);
    if (!device || !takesStarts(device)) return false;
    if (held(state, deviceId) + peakOn(replica, deviceId) > capacity(device)) return false;
  }
  return true;
}
