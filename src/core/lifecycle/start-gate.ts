/**
 * One memory-changing operation per device at a time: an engine measures free memory while it starts, so a neighbour that
 * allocates or frees then corrupts its sizing (vllm#55827). Held from launch until the engine has measured (or is ready,
 * when it does not say), and from the stop signal to memory seen back. All devices of an operation are taken together, so
 * there is no wait cycle.
 *
 * A stop passes a start that has not begun to load, which may take long to get there: it takes the gate beside it, and
 * gives it back. Should the start begin to load meanwhile, it is begun anew (`disturb` in stop.ts), and not passed again.
 */
import type { Milliseconds } from '../../units.ts';
import type { Device, FleetState, GateRequest, Replica } from '../state.ts';

/** Its start changes memory still. */
function isFilling(replica: Replica): boolean {
  return replica.phase === 'starting' && replica.milestone !== 'profiled';
}

/** Its engine may measure free memory still. One from an earlier run is taken to be past that. */
export function isMeasuring(replica: Replica): boolean {
  return isFilling(replica) && !replica.adopted;
}

function* devicesOf(state: FleetState, replica: Replica): Generator<Device> {
  for (const id of replica.reservations.keys()) {
    const device = state.devices.get(id);
    if (device) yield device;
  }
}

/** Those whose memory may be on one of its devices. */
export function* neighbours(state: FleetState, replica: Replica): Generator<Replica> {
  for (const other of state.replicas.values()) {
    if (other !== replica && (shareADevice(other, replica) || mayShareUnseen(state, other, replica))) yield other;
  }
}

function shareADevice(one: Replica, other: Replica): boolean {
  for (const id of one.reservations.keys()) if (other.reservations.has(id)) return true;
  return false;
}

/** A device that cannot be read stands for any of the others. */
function mayShareUnseen(state: FleetState, one: Replica, other: Replica): boolean {
  if (one.reservations.size === 0 || other.reservations.size === 0) return false;
  const isUnseen = ({ unmeasured }: Device): boolean => unmeasured;
  return [...devicesOf(state, one)].some(isUnseen) || [...devicesOf(state, other)].some(isUnseen);
}

export function gateIsFree(state: FleetState, replica: Replica, operation: GateRequest['operation']): boolean {
  const isInTheWay = (other: Replica): boolean => operation === 'start' || !letsStopsPass(state, other);
  for (const { gateHolder } of devicesOf(state, replica)) {
    if (gateHolder === null || gateHolder === replica.id) continue;
    const holder = state.replicas.get(gateHolder);
    if (!holder || isInTheWay(holder)) return false;
  }
  for (const other of neighbours(state, replica)) {
    if (shareADevice(other, replica)) continue;
    if ((isFilling(other) || other.phase === 'stopping') && isInTheWay(other)) return false;
  }
  return true;
}

function letsStopsPass(state: FleetState, holder: Replica): boolean {
  if (holder.phase !== 'starting' || holder.milestone !== null || holder.adopted) return false;
  return state.models.get(holder.model)?.disturbed === 0;
}

export function takeGate(state: FleetState, replica: Replica, now: Milliseconds): void {
  shake(state, replica, now);
  for (const device of devicesOf(state, replica)) hold(device, replica.id, now);
}

/** For one that was found in its middle: whoever holds the others passes them on. Nothing moves because it was found. */
export function joinGates(state: FleetState, replica: Replica, now: Milliseconds): void {
  for (const device of devicesOf(state, replica)) if (device.gateHolder === null) hold(device, replica.id, now);
}

/** For an end that waits for nobody: whoever measures beside it goes on holding. */
export function takeFreeGates(state: FleetState, replica: Replica, now: Milliseconds): void {
  shake(state, replica, now);
  joinGates(state, replica, now);
}

function hold(device: Device, replicaId: string, now: Milliseconds): void {
  if (device.gateHolder === replicaId) return;
  device.gateHolder = replicaId;
  device.gateSince = now;
}

/** A start that was passed has the gate back, if it needs it still; else an end that waited for nobody has it now. */
export function releaseGate(state: FleetState, replica: Replica, now: Milliseconds): void {
  for (const device of devicesOf(state, replica)) {
    if (device.gateHolder !== replica.id) continue;
    const others = [...state.replicas.values()].filter(
      (other) => other !== replica && other.reservations.has(device.id),
    );
    const next = others.find(isFilling) ?? others.find(({ phase }) => phase === 'stopping');
    device.gateHolder = next?.id ?? null;
    device.gateSince = next ? now : null;
  }
}

/** Starts beside it remember that memory changed. */
export function shake(state: FleetState, replica: Replica, now: Milliseconds): void {
  for (const other of neighbours(state, replica)) if (isMeasuring(other)) other.shakenAt = now;
}

export function requestGate(state: FleetState, request: GateRequest): void {
  if (
    state.gateQueue.some(
      (waiting) => waiting.replicaId === request.replicaId && waiting.operation === request.operation,
    )
  )
    return;
  state.gateQueue.push(request);
}

export function leaveGateQueue(state: FleetState, replicaId: string): void {
  for (let index = state.gateQueue.length - 1; index >= 0; index -= 1) {
    if (state.gateQueue[index]?.replicaId === replicaId) state.gateQueue.splice(index, 1);
  }
}

/**
 * The next operation that may begin now, removed from the queue. Stops go before starts, because they free memory;
 * `mayStart` says whether a start's bytes are there. One that waits for gates only keeps its devices from younger ones, so
 * that one with several devices gets them all some day; a start that waits for bytes too lets others begin meanwhile.
 */
export function takeNext(
  state: FleetState,
  mayStart: (replica: Replica) => boolean,
): { request: GateRequest; replica: Replica } | undefined {
  const spoken = new Set<string>();
  for (const operation of ['stop', 'start'] as const) {
    for (let index = 0; index < state.gateQueue.length; index += 1) {
      const request = state.gateQueue[index];
      if (!request || request.operation !== operation) continue;
      const replica = state.replicas.get(request.replicaId);
      if (!replica || (operation === 'start' && !mayStart(replica))) continue;
      const devices = [...replica.reservations.keys()];
      if (gateIsFree(state, replica, operation) && devices.every((id) => !spoken.has(id))) {
        state.gateQueue.splice(index, 1);
        return { request, replica };
      }
      for (const id of devices) spoken.add(id);
    }
  }
  return undefined;
}
