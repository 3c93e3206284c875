/** Bytes on devices, recounted from the replicas; ports; quarantine. */
import type { Bytes } from '../../units.ts';
import type { Device, FleetState, Replica } from '../state.ts';
import type { Report } from './report.ts';

export function checkMemory(state: FleetState, report: Report): void {
  for (const replica of state.replicas.values()) reservationIsSound(state, replica, report);
  for (const device of state.devices.values()) deviceIsSound(state, device, report);
  ports(state, report);
}

function reservationIsSound(state: FleetState, replica: Replica, report: Report): void {
  for (const [id, bytes] of replica.reservations) {
    report('I-41', bytes > 0 && state.devices.has(id), () => `${replica.id} holds ${bytes} bytes on ${id}`);
  }
  const model = state.models.get(replica.model);
  const asConfigured =
    model && replica.configVersion === state.settings.version && replica.stopReason !== 'not_adopted';
  if (!asConfigured || replica.specHash !== model.settings.specHash) return;
  const { deviceCount } = model.settings;
  report(
    'I-45',
    replica.reservations.size === deviceCount,
    () => `${replica.id} holds a part of its ${deviceCount} devices`,
  );
}

interface Sums {
  /** Launched and not seen to be gone. */
  held: Bytes;
  /** Here to stay or coming. */
  committed: Bytes;
  reserved: boolean;
  /** Promised under settings that are no longer in force. */
  older: boolean;
  stuck: boolean;
}

function sums(state: FleetState, device: Device): Sums {
  const found: Sums = { held: 0, committed: 0, reserved: false, older: false, stuck: false };
  for (const replica of state.replicas.values()) {
    const bytes = replica.reservations.get(device.id);
    if (bytes === undefined) continue;
    // Nobody asked whether what an earlier run left fits together.
    const stray = replica.stopReason === 'not_adopted';
    if (replica.phase !== 'reserved' && !stray) found.held += bytes;
    if (replica.phase !== 'draining' && replica.phase !== 'stopping') found.committed += bytes;
    if (replica.phase === 'reserved') found.reserved = true;
    if (replica.phase === 'zombie') found.stuck = true;
    if (replica.configVersion !== state.settings.version) found.older = true;
  }
  return found;
}

function deviceIsSound(state: FleetState, device: Device, report: Report): void {
  const { held, committed, reserved, older, stuck } = sums(state, device);
  const { id, budgetBytes } = device;
  report('I-38', held <= budgetBytes || older, () => `${held} bytes are held on ${id}, its budget is ${budgetBytes}`);
  if (reserved) {
    // Others' memory may grow under launched replicas, but what has not begun yet is planned anew.
    const capacity = Math.min(budgetBytes, device.totalBytes - device.foreignBytes);
    report('I-38', committed <= capacity, () => `${committed} bytes are promised on ${id}, which has ${capacity}`);
    report('quarantine', device.quarantine === null, () => `a start is reserved on ${id}, which takes none`);
  }
  report(
    'quarantine',
    (device.quarantine !== null) === stuck,
    () => `${id}: quarantine ${device.quarantine}, stuck ${stuck}`,
  );
}

function ports(state: FleetState, report: Report): void {
  const taken = new Set<number>();
  for (const replica of state.replicas.values()) {
    const { port } = replica;
    if (port === null) continue;
    report('I-35', !taken.has(port), () => `port ${port} is claimed twice`);
    report('I-35', state.ports.has(port), () => `port ${port} of ${replica.id} is not claimed`);
    taken.add(port);
  }
  report('I-35', taken.size === state.ports.size, () => `${state.ports.size} ports are claimed, ${taken.size} in use`);
}
