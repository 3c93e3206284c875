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

/** Its engine may measure free memory still. One from an earlier run is taken to be past that. */
export function isMeasuring(replica: Replica): boolean {
  return replica.phase === 'starting' && !replica.adopted && replica.milestone !== 'profiled';
}

function* devicesOf(state: FleetState, replica: Replica): Generator<Device> {
  for (const id of replica.reservations.keys()) {
    const device = state.devices.get(id);
    if (device) yield device;
  }
}

export function* neighbours(state: FleetState, replica: Replica): Generator<Replica> {
  for (const other of state.replicas.values()) {
    if (other === replica) continue;
    for (const id of other.reservations.keys()) {
      if (!replica.reservations.has(id)) continue;
      yield other;
      break;
    }
  }
}

export function gateIsFree(state: FleetState, replica: Replica, operation: GateRequest['operation']): boolean {
  for (const { gateHolder } of devicesOf(state, replica)) {
    if (gateHolder === null || gateHolder === replica.id) continue;
    if (operation === 'start' || !letsStopsPass(state, gateHolder)) return false;
  }
  return operation === 'stop' || !somethingMovesUnseen(state, replica);
}

function letsStopsPass(state: FleetState, holderId: string): boolean {
  const holder = state.replicas.get(holderId);
  if (holder?.phase !== 'starting' || holder.milestone !== null || holder.adopted) return false;
  return state.models.get(holder.model)?.disturbed === 0;
}

/** A device that cannot be read stands for any of the others: who loads or leaves there may do so on one of these. */
function somethingMovesUnseen(state: FleetState, replica: Replica): boolean {
  for (const device of state.devices.values()) {
    if (!device.unmeasured || replica.reservations.has(device.id)) continue;
    for (const other of state.replicas.values()) {
      if (other.reservations.has(device.id) && (other.phase === 'starting' || other.phase === 'stopping')) return true;
    }
  }
  return false;
}

export function takeGate(state: FleetState, replica: Replica, now: Milliseconds): void {
  shake(state, replica, now);
  for (const device of devicesOf(state, replica)) hold(device, replica.id, now);
}

/** For an end that waits for nobody: whoever measures beside it goes on holding. */
export function takeFreeGates(state: FleetState, replica: Replica, now: Milliseconds): void {
  shake(state, replica, now);
  for (const device of devicesOf(state, replica)) if (device.gateHolder === null) hold(device, replica.id, now);
}

function hold(device: Device, replicaId: string, now: Milliseconds): void {
  if (device.gateHolder === replicaId) return;
  device.gateHolder = replicaId;
  device.gateSince = now;
}

/** A start that was passed has the gate back, if it needs it still. */
export function releaseGate(state: FleetState, replica: Replica, now: Milliseconds): void {
  for (const device of devicesOf(state, replica)) {
    if (device.gateHolder !== replica.id) continue;
    const passed = [...neighbours(state, replica)].find(
      (other) => isMeasuring(other) && other.reservations.has(device.id),
    );
    device.gateHolder = passed?.id ?? null;
    device.gateSince = passed ? now : null;
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
