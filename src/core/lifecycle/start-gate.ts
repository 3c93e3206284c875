/**
 * One memory-changing operation per device at a time: an engine measures free memory while it starts, so a neighbour that
 * allocates or frees then corrupts its sizing (vllm#55827). Held from launch to ready, and from the stop signal to memory
 * seen back. All devices of an operation are taken together, so there is no wait cycle.
 */
import type { FleetState, GateRequest, Replica } from '../state.ts';

export function gateIsFree(state: FleetState, replica: Replica): boolean {
  for (const id of replica.reservations.keys()) {
    const holder = state.devices.get(id)?.gateHolder ?? null;
    if (holder !== null && holder !== replica.id) return false;
  }
  return true;
}

export function takeGate(state: FleetState, replica: Replica): void {
  for (const id of replica.reservations.keys()) {
    const device = state.devices.get(id);
    if (device) device.gateHolder = replica.id;
  }
}

export function releaseGate(state: FleetState, replica: Replica): void {
  for (const id of replica.reservations.keys()) {
    const device = state.devices.get(id);
    if (device?.gateHolder === replica.id) device.gateHolder = null;
  }
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
      if (gateIsFree(state, replica) && devices.every((id) => !spoken.has(id))) {
        state.gateQueue.splice(index, 1);
        return { request, replica };
      }
      for (const id of devices) spoken.add(id);
    }
  }
  return undefined;
}
