/** Was this refusal true? Worked out anew from the state, without the code that refused. */
import type { FleetEvent } from '../../src/core/events.ts';
import type { Device, FleetState, Model, Replica } from '../../src/core/state.ts';
import type { GatewayError } from '../../src/errors.ts';
import type { Bytes, Milliseconds } from '../../src/units.ts';
import type { Entry } from './history.ts';

interface Refusal {
  readonly event: FleetEvent;
  readonly entry: Entry;
  readonly error: GatewayError;
  readonly now: Milliseconds;
  readonly state: FleetState;
  /** Tickets that waited for the model before the event, if it was an arrival. */
  readonly waitingBefore: number;
  readonly readyBefore: boolean;
}

export interface Wish {
  readonly steady: Bytes;
  readonly peak: Bytes;
}

/** What it wants on a device, by the four ways to know. */
export function wishOf(state: FleetState, model: Model, device: Device, room: Bytes): Wish {
  const alike = (bytes: Bytes): Wish => ({ steady: bytes, peak: bytes });
  if (device.unmeasured) return alike(device.budgetBytes);
  const { memory, sizing, deviceCount, specHash } = model.settings;
  if (memory !== null) return alike(memory);
  for (const { signature, steadyBytes, peakBytes } of model.footprints) {
    const same = signature.specHash === specHash && signature.deviceClass === device.deviceClass;
    if (!same || signature.tensorParallel !== deviceCount) continue;
    return { steady: Math.min(steadyBytes, device.budgetBytes), peak: Math.min(peakBytes, device.budgetBytes) };
  }
  if (sizing === null) return alike(room);
  if (model.size?.kind === 'shape' && model.size.shape.weightBytes !== null) {
    const { overheadFactor, overhead } = state.settings.memory;
    const estimate = Math.ceil((model.size.shape.weightBytes / deviceCount) * overheadFactor + overhead) + 2;
    const spared = Math.max(0, Math.min(model.shortage, estimate + model.shortage - device.budgetBytes));
    return alike(estimate + model.shortage - spared);
  }
  return alike(Math.min(device.budgetBytes, Math.floor(sizing.utilization * device.totalBytes)));
}

/** What a model is asked about. */
export interface Supposing {
  /** As if this replica, and whoever came after it in the same step, were not there. */
  readonly before?: Replica;
  /** As if this one were there to stay. */
  readonly taken?: Replica;
  /** Devices that take starts now. */
  readonly openOnly?: boolean;
}

/** Memory could fit it if all that may leave had left. */
export function couldFit(state: FleetState, model: Model, { before, taken, openOnly }: Supposing = {}): boolean {
  const { deviceCount, deviceIds } = model.settings;
  const fitting: number[] = [];
  for (const id of deviceIds) {
    const device = state.devices.get(id);
    if (!device || device.quarantine !== null) continue;
    if (openOnly && device.silent !== null && !device.unmeasured) continue;
    const room = device.unmeasured
      ? device.budgetBytes
      : Math.min(device.budgetBytes, device.totalBytes - device.foreignBytes);
    let staying = taken?.reservations.get(id) ?? 0;
    for (const replica of state.replicas.values()) {
      if (replica === before) break;
      const owner = state.models.get(replica.model);
      const pinned = owner !== undefined && (owner.pinned || owner.settings.alwaysOn);
      const leaving = replica.phase === 'draining' || replica.phase === 'stopping';
      if (replica.phase === 'zombie' || (pinned && !leaving)) staying += replica.reservations.get(id) ?? 0;
    }
    const { steady, peak } = wishOf(state, model, device, room);
    if (steady > 0 && Math.max(steady, peak) <= room - staying) fitting.push(device.totalBytes);
  }
  if (fitting.length > 0 && deviceIds.every((id) => state.devices.get(id)?.unmeasured)) return true;
  if (deviceCount <= 1) return fitting.length >= deviceCount;
  // Devices of one group differ by a twentieth at most.
  return fitting.some((largest) => {
    const alike = fitting.filter((bytes) => bytes <= largest && bytes >= largest * 0.95);
    return alike.length >= deviceCount;
  });
}

export function whyRefusalIsWrong(refusal: Refusal): string | null {
  const { event, error, state, entry } = refusal;
  const after = error.retryAfterMs;
  if (after !== undefined && !(Number.isInteger(after) && after >= 1_000 && after <= 60_000)) {
    return `Retry-After of ${after} ms`;
  }
  const model = state.models.get(entry.model);
  const unless = (holds: boolean, otherwise: string): string | null => (holds ? null : otherwise);
  switch (error.code) {
    case 'queue_full':
      return queueFull(refusal, model);
    case 'queue_timeout':
      return unless(model !== undefined && timeIsOver(refusal, model), 'it has not waited that long');
    case 'no_capacity':
      if (!model) return 'its model is not there';
      return unless(timeIsOver(refusal, model) || !couldFit(state, model) || failedInThisStep(refusal), 'it could fit');
    case 'model_not_found':
      return unless(model === undefined, 'the model is there');
    case 'model_backing_off':
      return unless(
        event.kind === 'ticket.arrived' && model?.current === null && (model.backoff.until ?? 0) > refusal.now,
        'the model does not rest',
      );
    case 'model_start_failed':
      return unless(
        model !== undefined && (model.lastFailure?.at === refusal.now || model.settings.unstartable !== null),
        'no start failed',
      );
    case 'shutting_down':
      return unless(state.shutdown !== null, 'nobody asked for that');
    case 'upstream_lost':
      return unless(event.kind === 'lease.returned', 'it was not running');
    default:
      return 'the core has no such refusal';
  }
}

/** It was promised memory and could not even begin: when others were refused for it, nobody knew. */
function failedInThisStep({ state, now }: Refusal): boolean {
  return [...state.replicas.values()].some(
    ({ createdAt, stopReason }) => createdAt === now && stopReason === 'start_failed',
  );
}

function queueFull({ event, error, waitingBefore, readyBefore }: Refusal, model: Model | undefined): string | null {
  if (event.kind !== 'ticket.arrived') return 'it was admitted already';
  const slots = readyBefore ? 0 : (model?.settings.maxConcurrent ?? 0);
  const bound = (model?.settings.maxQueueSize ?? 0) + slots;
  if (waitingBefore < bound) return `${waitingBefore} wait and the bound is ${bound}`;
  return error.queue?.depth === waitingBefore && error.queue.max === bound ? null : 'its figures are wrong';
}

function timeIsOver({ event, entry, now }: Refusal, model: Model): boolean {
  const waited = now - entry.arrivedAt;
  if (event.kind === 'time.passed' && waited >= model.settings.queueTimeout) return true;
  return entry.patience !== null && waited >= entry.patience;
}
