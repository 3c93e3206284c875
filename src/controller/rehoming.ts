/**
 * Where a replica really is, when the books do not say: it was started while the GPUs could not be read, or by an earlier
 * run that knew them by other names.
 */
import type { FleetEvent, FoundReplica } from '../core/events.ts';
import { LEAST_FOOTPRINT } from '../core/memory/footprint.ts';
import type { FleetState, Replica } from '../core/state.ts';
import type { ProbeReading } from '../probes/probe.ts';
import { MIB, type Bytes } from '../units.ts';
import type { Look } from './device-monitor.ts';

type Bytewise = ReadonlyMap<string, Bytes>;

/** The devices can be read now: whatever runs on what stood for them is entered where it is. */
export function rehome(state: FleetState, post: (event: FleetEvent) => void, look: Look): void {
  for (const replica of [...state.replicas.values()]) {
    const { id, generation, phase, driver } = replica;
    if (driver === 'external' || (phase !== 'ready' && phase !== 'draining') || isAtHome(state, replica)) continue;
    const steady = look.seen.get(id) ?? largest(state, replica, look);
    if (steady.size > 0) post({ kind: 'replica.measured', replica: { id, generation }, steady, footprint: null });
  }
}

function isAtHome(state: FleetState, replica: Replica): boolean {
  return [...replica.reservations.keys()].every((id) => state.devices.get(id)?.unmeasured === false);
}

/** Nobody names processes: it ran alone, so the fullest of its devices are the ones it fills. */
function largest(state: FleetState, replica: Replica, look: Look): Bytewise {
  const settings = state.models.get(replica.model)?.settings;
  const allowed = settings?.deviceIds ?? [...look.devices.keys()];
  const used = allowed.flatMap((id): (readonly [string, Bytes])[] => {
    const share = look.devices.get(id);
    return share ? [[id, Math.max(MIB, share.usedBytes - promisedOn(state, id))]] : [];
  });
  return new Map(
    used.toSorted(([, left], [, right]) => right - left).slice(0, Math.max(1, settings?.deviceCount ?? 1)),
  );
}

function promisedOn(state: FleetState, id: string): Bytes {
  let sum = 0;
  for (const { reservations } of state.replicas.values()) sum += reservations.get(id) ?? 0;
  return sum;
}

/** What an earlier run left, entered under the devices as they are known now; as it was where that cannot be told. */
export function located(
  state: FleetState,
  seen: FoundReplica,
  reading: ProbeReading | null,
  pids: readonly number[],
): FoundReplica {
  if (seen.reservations.size === 0) return seen;
  if ([...seen.reservations.keys()].every((id) => state.devices.has(id))) return seen;
  const mine = new Set(pids);
  const places = new Map<string, Bytes>();
  for (const { deviceId, pid, bytes } of reading?.processes ?? []) {
    if (mine.has(pid)) places.set(deviceId, (places.get(deviceId) ?? 0) + bytes);
  }
  const large = new Map([...places].filter(([id, bytes]) => bytes > LEAST_FOOTPRINT && state.devices.has(id)));
  return large.size > 0 ? { ...seen, reservations: large } : seen;
}
