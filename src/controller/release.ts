/** After a stop: the memory is free only when it is seen to be. The driver of a GPU takes its time, and may never do it. */
import type { FleetState, Replica } from '../core/state.ts';
import type { Platform } from '../platform/platform.ts';
import { formatSize, MIB, SECOND, type Bytes, type Milliseconds } from '../units.ts';
import type { DeviceMonitor, Look } from './device-monitor.ts';

const LOOK_EVERY: Milliseconds = 250;
/** `stop_timeout` counts to verified gone, but drivers have their own pace, and a minute is a fault in any case. */
const SHORTEST_WAIT: Milliseconds = 5 * SECOND;
const LONGEST_WAIT: Milliseconds = 60 * SECOND;
/** Readings are in MiB, and a driver keeps a little for itself. */
const TOLERANCE: Bytes = 256 * MIB;

/** It could not be seen to be free; the message says how much of it where, or why nothing was seen. */
export class NotReleased extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'NotReleased';
  }
}

export interface Leaving {
  readonly replica: Replica;
  readonly pids: ReadonlySet<number>;
  /** Device → bytes in use that no process was named for, before the stop. */
  readonly unnamedBefore: ReadonlyMap<string, Bytes>;
  /** Device → bytes of others, before the stop. */
  readonly foreignBefore: ReadonlyMap<string, Bytes>;
}

export interface ReleaseContext {
  readonly platform: Pick<Platform, 'clock'>;
  readonly state: FleetState;
  readonly monitor: DeviceMonitor;
  readonly signal: AbortSignal;
}

/** Before the stop signal: by what its memory will be known to be back. Null when nobody can see that. */
export function leaving({ state, monitor }: ReleaseContext, replica: Replica): Leaving | null {
  const measured = [...replica.reservations.keys()].some((id) => state.devices.get(id)?.unmeasured === false);
  if (!monitor.observes || !measured) return null;
  const unnamedBefore = new Map<string, Bytes>();
  const foreignBefore = new Map<string, Bytes>();
  for (const [id, { unnamedAtRest, foreignBytes }] of monitor.last?.devices ?? []) {
    if (unnamedAtRest !== null) unnamedBefore.set(id, unnamedAtRest);
    foreignBefore.set(id, foreignBytes);
  }
  return { replica, pids: monitor.pidsOf(replica.id), unnamedBefore, foreignBefore };
}

/** How long the memory of a replica may take to come back after its processes are gone. */
export function releaseLimit(stopTimeout: Milliseconds): Milliseconds {
  return Math.min(LONGEST_WAIT, Math.max(SHORTEST_WAIT, stopTimeout));
}

/** Rejects with NotReleased when it is not seen within `limit`; 0 = one look. */
export async function untilReleased(context: ReleaseContext, gone: Leaving, limit: Milliseconds): Promise<void> {
  const { platform, monitor, signal, state } = context;
  const until = platform.clock.monotonic() + limit;
  for (;;) {
    signal.throwIfAborted();
    let why: string | null;
    try {
      why = stillHeld(state, gone, await monitor.look());
    } catch (error) {
      why = `the devices cannot be read (${error instanceof Error ? error.message : String(error)})`;
    }
    // Whoever ends the gateway does not wait for the driver of a GPU.
    if (why === null || state.shutdown !== null) return;
    if (platform.clock.monotonic() >= until) throw new NotReleased(why);
    await platform.clock.sleep(LOOK_EVERY, signal);
  }
}

/** What of its memory is still seen, in words; null = nothing. */
export function stillHeld(state: FleetState, gone: Leaving, look: Look): string | null {
  for (const id of gone.replica.reservations.keys()) {
    const device = look.devices.get(id);
    if (!device) return `the memory of ${id} cannot be read`;
    const left = look.reading.processes?.find(({ deviceId, pid }) => deviceId === id && gone.pids.has(pid));
    if (left) return `its process ${left.pid} still holds ${formatSize(left.bytes)} of ${id}`;
    const { unnamedBytes, usedBytes } = device;
    const before = gone.unnamedBefore.get(id);
    const extra =
      unnamedBytes !== null && before !== undefined
        ? unnamedBytes - before
        : usedBytes - (gone.foreignBefore.get(id) ?? 0) - othersOn(state, gone.replica, id);
    if (extra > TOLERANCE) return `${formatSize(extra)} of ${id} that it held are not seen to be free`;
  }
  return null;
}

/** What the other replicas may hold there. */
function othersOn(state: FleetState, replica: Replica, id: string): Bytes {
  let sum = 0;
  for (const other of state.replicas.values()) {
    if (other === replica || other.phase === 'reserved') continue;
    const promised = other.reservations.get(id) ?? 0;
    sum += other.readyAt === null ? Math.max(promised, other.peaks.get(id) ?? 0) : promised;
  }
  return sum;
}
