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
    const peak = replica.peaks.get(id) ?? Infinity;
    report(
      'I-41',
      bytes <= peak || replica.measured,
      () => `${replica.id} takes ${bytes} on ${id} and peaks at ${peak}`,
    );
  }
  const model = state.models.get(replica.model);
  const asPlanned = replica.configVersion === state.settings.version && !replica.measured && !replica.adopted;
  if (!model || !asPlanned || replica.stopReason === 'not_adopted') return;
  const devices = [...replica.reservations.keys()];
  const unread = devices.some((id) => state.devices.get(id)?.unmeasured);
  const { deviceCount, sizing } = model.settings;
  const whole = unread
    ? devices.length === 1
    : devices.length === deviceCount || (sizing?.autoParallel === true && devices.length > 1);
  report('I-45', whole, () => `${replica.id} holds ${devices.length} of its ${deviceCount} devices`);
}

interface Sums {
  /** Launched and not seen to be gone, each with the most that it may take. */
  held: Bytes;
  /** Here to stay or coming. */
  committed: Bytes;
  /** The most that one of those still to become ready takes above its share before. */
  excess: Bytes;
  reserved: boolean;
  /** Promised under settings that are no longer in force, or seen to be other than promised. */
  older: boolean;
  stuck: boolean;
}

function sums(state: FleetState, device: Device): Sums {
  const found: Sums = { held: 0, committed: 0, excess: 0, reserved: false, older: false, stuck: false };
  for (const replica of state.replicas.values()) {
    const steady = replica.reservations.get(device.id);
    if (steady === undefined) continue;
    const rises = replica.readyAt === null ? Math.max(0, (replica.peaks.get(device.id) ?? 0) - steady) : 0;
    // Nobody asked whether what an earlier run left fits together.
    const stray = replica.stopReason === 'not_adopted';
    if (replica.phase !== 'reserved' && !stray) found.held += steady + rises;
    if (replica.phase === 'zombie') found.committed += steady + rises;
    else if (replica.phase !== 'draining' && replica.phase !== 'stopping') {
      found.committed += steady;
      found.excess = Math.max(found.excess, rises);
    }
    if (replica.phase === 'reserved') found.reserved = true;
    if (replica.phase === 'zombie') found.stuck = true;
    if (replica.configVersion !== state.settings.version || replica.measured || replica.adopted) found.older = true;
  }
  return found;
}

function deviceIsSound(state: FleetState, device: Device, report: Report): void {
  const { held, committed, excess, reserved, older, stuck } = sums(state, device);
  const { id, budgetBytes } = device;
  report('I-38', held <= budgetBytes || older, () => `${held} bytes are held on ${id}, its budget is ${budgetBytes}`);
  if (reserved) {
    // Others' memory may grow under launched replicas, but what has not begun yet is planned anew.
    const capacity = device.unmeasured ? budgetBytes : Math.min(budgetBytes, device.totalBytes - device.foreignBytes);
    const planned = committed + excess;
    report('I-38', planned <= capacity, () => `${planned} bytes are promised on ${id}, which has ${capacity}`);
    report('quarantine', device.quarantine === null, () => `a start is reserved on ${id}, which takes none`);
    report('I-48', device.silent === null || device.unmeasured, () => `a start is reserved on ${id}, which is silent`);
  }
  report(
    'quarantine',
    (device.quarantine !== null) === stuck,
    () => `${id}: quarantine ${device.quarantine}, stuck ${stuck}`,
  );
  const listed = state.settings.devices.some((settings) => settings.id === id);
  const inUse = [...state.replicas.values()].some((replica) => replica.reservations.has(id));
  report('device', listed || inUse, () => `${id} is no longer configured and nothing stands on it`);
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
