/** Whose memory is it? From a reading of the devices and the replicas that run there, to what others hold. */
import type { ReplicaPhase } from '../core/state.ts';
import type { DeviceReading, ProbeReading, ProcessReading } from '../probes/probe.ts';
import type { Bytes } from '../units.ts';

/** A launched replica as the books have it. */
export interface Owner {
  readonly id: string;
  readonly phase: ReplicaPhase;
  readonly reservations: ReadonlyMap<string, Bytes>;
  readonly peaks: ReadonlyMap<string, Bytes>;
  /** As the machine numbers them; empty = unknown, or gone. */
  readonly pids: readonly number[];
  /** It is being measured just now: what it holds and what it was promised are about to become one. */
  readonly settling: boolean;
}

export interface DeviceShare {
  readonly usedBytes: Bytes;
  readonly totalBytes: Bytes;
  /** What others hold: never counts what an own replica was promised. */
  readonly foreignBytes: Bytes;
  /** Used, but by no process that is named: the driver's own, or memory whose process is gone. Null = processes are not told apart. */
  readonly unnamedBytes: Bytes | null;
  /** The same when nothing was on its way out; what a replica that leaves must not exceed. Null = never seen. */
  readonly unnamedAtRest: Bytes | null;
}

export interface Attribution {
  /** Devices whose use could be read. */
  readonly devices: ReadonlyMap<string, DeviceShare>;
  /** Replica → device → bytes of its processes; a replica without a process in sight is absent. */
  readonly seen: ReadonlyMap<string, ReadonlyMap<string, Bytes>>;
  /** All processes on any device, for who waits until some are gone. */
  readonly pids: ReadonlySet<number>;
}

interface Remembered {
  readonly foreignBytes: Bytes;
  readonly unnamedBytes: Bytes | null;
}

const isMoving = ({ phase, settling }: Owner): boolean =>
  settling || phase === 'starting' || phase === 'stopping' || phase === 'zombie';
const isLeaving = ({ phase }: Owner): boolean => phase === 'stopping' || phase === 'zombie';

/**
 * Remembers what it must from one reading to the next: memory that is on its way in or out belongs to a replica although
 * nobody can see that, and must not pass for somebody else's.
 */
export class Attributor {
  /** A process of ours was seen: then the process numbers are the machine's own, and who is not ours is foreign. */
  #tellsApart = false;
  readonly #last = new Map<string, Remembered>();

  attribute(reading: ProbeReading, owners: readonly Owner[]): Attribution {
    const processes = reading.processes ?? [];
    const seen = seenOf(processes, owners);
    if (seen.size > 0) this.#tellsApart = true;
    const named = this.#tellsApart && reading.processes !== null;
    const devices = new Map<string, DeviceShare>();
    for (const device of reading.devices) {
      const { id, usedBytes, totalBytes } = device;
      if (usedBytes === null || device.trouble !== null) continue;
      const here = owners.filter((owner) => owner.reservations.has(id) || seen.get(owner.id)?.has(id) === true);
      const share = named
        ? this.#byProcess(device, usedBytes, processes, here, seen)
        : { ...this.#byDevice(id, usedBytes, here), unnamedBytes: null };
      const unnamedAtRest = named ? (this.#last.get(id)?.unnamedBytes ?? null) : null;
      devices.set(id, { usedBytes, totalBytes, ...share, unnamedAtRest });
    }
    return { devices, seen, pids: new Set(processes.map(({ pid }) => pid)) };
  }

  #byProcess(
    { id }: DeviceReading,
    usedBytes: Bytes,
    processes: readonly ProcessReading[],
    owners: readonly Owner[],
    seen: Attribution['seen'],
  ): { foreignBytes: Bytes; unnamedBytes: Bytes } {
    const ours = new Set(owners.flatMap((owner) => owner.pids));
    let all = 0;
    let foreign = 0;
    for (const { deviceId, pid, bytes } of processes) {
      if (deviceId !== id) continue;
      all += bytes;
      if (!ours.has(pid)) foreign += bytes;
    }
    const hidden = owners.filter((owner) => !isMoving(owner) && !seen.has(owner.id));
    const claimed = hidden.reduce((sum, owner) => sum + (owner.reservations.get(id) ?? 0), 0);
    const unnamed = Math.max(0, usedBytes - all - claimed);
    let growing = 0;
    for (const owner of owners) {
      const held = seen.get(owner.id)?.get(id);
      const most = Math.max(owner.reservations.get(id) ?? 0, peakOf(owner, id));
      if (held !== undefined && !owner.settling) foreign += Math.max(0, held - most);
      if (owner.phase === 'starting') growing += Math.max(0, most - (held ?? 0));
    }
    const last = this.#last.get(id)?.unnamedBytes ?? null;
    // What a process left behind is its replica's until the stop is verified; what a start takes may be there before it is
    // named: processes are listed a moment before or after the memory is read.
    if (owners.some(isLeaving)) foreign += Math.min(unnamed, last ?? unnamed);
    else foreign += Math.max(growing > 0 ? Math.min(unnamed, last ?? 0) : 0, unnamed - growing);
    if (!owners.some(isMoving)) this.#last.set(id, { foreignBytes: foreign, unnamedBytes: unnamed });
    return { foreignBytes: foreign, unnamedBytes: unnamed };
  }

  #byDevice(id: string, usedBytes: Bytes, owners: readonly Owner[]): { foreignBytes: Bytes } {
    const last = this.#last.get(id);
    const promised = owners.reduce((sum, owner) => sum + (owner.reservations.get(id) ?? 0), 0);
    if (last !== undefined && owners.some(isMoving)) {
      // A start that grows is not foreign; what not even all promises together explain is.
      const most = owners.reduce((sum, owner) => sum + Math.max(owner.reservations.get(id) ?? 0, peakOf(owner, id)), 0);
      return { foreignBytes: Math.max(last.foreignBytes, usedBytes - most) };
    }
    const foreignBytes = Math.max(0, usedBytes - promised);
    if (!owners.some(isMoving)) this.#last.set(id, { foreignBytes, unnamedBytes: null });
    return { foreignBytes };
  }
}

/** Until it is ready, a replica may take its peak. */
function peakOf(owner: Owner, device: string): Bytes {
  return owner.phase === 'starting' || owner.phase === 'stopping' ? (owner.peaks.get(device) ?? 0) : 0;
}

function seenOf(processes: readonly ProcessReading[], owners: readonly Owner[]): Map<string, Map<string, Bytes>> {
  const ownerOf = new Map(owners.flatMap((owner) => owner.pids.map((pid) => [pid, owner.id] as const)));
  const seen = new Map<string, Map<string, Bytes>>();
  for (const { deviceId, pid, bytes } of processes) {
    const id = ownerOf.get(pid);
    if (id === undefined) continue;
    const devices = seen.get(id) ?? new Map<string, Bytes>();
    devices.set(deviceId, (devices.get(deviceId) ?? 0) + bytes);
    seen.set(id, devices);
  }
  return seen;
}
