/** Placement and eviction together: what would it take to start this model now? Reads the state, changes nothing. */
import type { Bytes, Milliseconds } from '../../units.ts';
import { isProtected } from '../lifecycle/turns-rule.ts';
import type { Device, FleetState, Model, Replica } from '../state.ts';
import { byPolicy, chooseVictims, evictableAt, isIdle, isPinned, type Candidate } from './eviction.ts';
import { capacity, committed, residents } from './ledger.ts';
import { chooseDevices, hasGroup, type Offer } from './placement.ts';

export interface Holder {
  readonly replica: string;
  readonly model: string;
  readonly bytes: Bytes;
  readonly why: 'pinned' | 'busy' | 'starting' | 'leaving' | 'idle' | 'stuck';
}

export interface Shortage {
  /** Missing bytes on the device that comes closest. */
  readonly missingBytes: Bytes;
  readonly neededBytes: Bytes;
  readonly devices: number;
  readonly deviceId: string | null;
  readonly holders: readonly Holder[];
  readonly foreignBytes: Bytes;
}

export type Plan =
  | { readonly kind: 'fits'; readonly reservations: ReadonlyMap<string, Bytes>; readonly victims: readonly string[] }
  /** Memory could fit it once others have left. `retryAt`: an idle victim will be free to go then. */
  | { readonly kind: 'wait'; readonly shortage: Shortage; readonly retryAt: Milliseconds | null }
  /** Would not fit even if all that may leave had left. `never`: not even on empty devices. */
  | { readonly kind: 'impossible'; readonly shortage: Shortage; readonly never: boolean };

interface Rules {
  /** Bytes that each candidate must come up with; `committed` as if these replicas had left already. */
  readonly mayLeave: (replica: Replica) => Candidate | undefined;
}

/** Bytes it takes on a device: what was declared, else the device's whole budget. */
export function need(model: Model, device: Device): Bytes {
  return model.settings.memory ?? capacity(device);
}

function candidateDevices(state: FleetState, model: Model): Device[] {
  const found: Device[] = [];
  for (const id of model.settings.deviceIds) {
    const device = state.devices.get(id);
    if (device && device.quarantine === null) found.push(device);
  }
  return found;
}

function offers(state: FleetState, model: Model, rules: Rules): Offer[] {
  const found: Offer[] = [];
  for (const device of candidateDevices(state, model)) {
    const bytes = need(model, device);
    const room = capacity(device) - committed(state, device.id);
    if (bytes > capacity(device) || bytes <= 0) continue;
    const candidates: Candidate[] = [];
    if (room < bytes) {
      for (const replica of residents(state, device.id)) {
        const candidate = rules.mayLeave(replica);
        if (candidate) candidates.push({ ...candidate, bytes: replica.reservations.get(device.id) ?? 0 });
      }
    }
    const victims = chooseVictims(candidates, bytes - room);
    if (!victims) continue;
    const freed = victims.reduce((sum, victim) => sum + victim.bytes, 0);
    const { id: deviceId, totalBytes } = device;
    found.push({ deviceId, bytes, missing: bytes - room, victims, freeLeft: room + freed - bytes, totalBytes });
  }
  return found;
}

function asPlan(state: FleetState, chosen: readonly Offer[]): Extract<Plan, { kind: 'fits' }> {
  return {
    kind: 'fits',
    reservations: new Map(chosen.map((offer) => [offer.deviceId, offer.bytes])),
    victims: neededVictims(state, chosen),
  };
}

/** A victim of one device may make room on another too: then what was chosen there is spared, the least willing first. */
function neededVictims(state: FleetState, chosen: readonly Offer[]): string[] {
  const victims = new Map(chosen.flatMap((offer) => offer.victims.map((victim) => [victim.id, victim] as const)));
  if (chosen.length < 2) return [...victims.keys()];
  const suffices = (without: string): boolean =>
    chosen.every(({ deviceId, missing }) => {
      let freed = 0;
      for (const id of victims.keys()) {
        if (id !== without) freed += state.replicas.get(id)?.reservations.get(deviceId) ?? 0;
      }
      return freed >= missing;
    });
  for (const { id } of [...victims.values()].toSorted(byPolicy).toReversed()) if (suffices(id)) victims.delete(id);
  return [...victims.keys()];
}

/** Without touching work in progress: free bytes and idle replicas only. */
export function planIdle(state: FleetState, model: Model, now: Milliseconds): Plan {
  const { deviceCount } = model.settings;
  if (deviceCount === 0) return { kind: 'fits', reservations: new Map(), victims: [] };
  const { minResidency } = state.settings.limits;
  let retryAt: Milliseconds | null = null;
  const chosen = chooseDevices(
    offers(state, model, {
      mayLeave: (replica) => {
        if (!isIdle(state, replica)) return undefined;
        const at = evictableAt(replica, minResidency);
        if (at > now) {
          retryAt = Math.min(retryAt ?? Infinity, at);
          return undefined;
        }
        const young = now - (replica.readyAt ?? now) < minResidency;
        return { id: replica.id, bytes: 0, idleSince: replica.idleSince, young };
      },
    }),
    deviceCount,
  );
  if (chosen) return asPlan(state, chosen);
  const shortage = shortageOf(state, model);
  if (couldEverFit(state, model, (replica) => canLeave(state, replica))) return { kind: 'wait', shortage, retryAt };
  return { kind: 'impossible', shortage, never: !fitsEmptyDevices(state, model) };
}

/** With fences: busy replicas that have had their turn may be asked to leave too. Undefined when no set of them makes room. */
export function planTurn(
  state: FleetState,
  model: Model,
  now: Milliseconds,
): Extract<Plan, { kind: 'fits' }> | undefined {
  const chosen = chooseDevices(
    offers(state, model, {
      mayLeave: (replica) => {
        if (replica.phase !== 'ready' || !canLeave(state, replica)) return undefined;
        const idle = isIdle(state, replica);
        if (!idle && isProtected(state, replica, now)) return undefined;
        // Idle ones go first, then those with the fewest leases to wait for.
        return { id: replica.id, bytes: 0, idleSince: idle ? -1 : replica.leases.size, young: false };
      },
    }),
    model.settings.deviceCount,
  );
  return chosen ? asPlan(state, chosen) : undefined;
}

/** True when the model would still fit some day if these bytes were taken on top of what is there now. */
export function wouldStillFit(state: FleetState, model: Model, taken: ReadonlyMap<string, Bytes>): boolean {
  const room = (device: Device): Bytes =>
    stayingRoom(state, device, (replica) => canLeave(state, replica)) - (taken.get(device.id) ?? 0);
  const roomy = candidateDevices(state, model).filter((device) => need(model, device) <= room(device));
  return hasGroup(roomy, model.settings.deviceCount);
}

function canLeave(state: FleetState, replica: Replica): boolean {
  const model = state.models.get(replica.model);
  return (
    replica.phase !== 'zombie' &&
    (model === undefined || !isPinned(model) || replica.phase === 'draining' || replica.phase === 'stopping')
  );
}

function stayingRoom(state: FleetState, device: Device, leaves: (replica: Replica) => boolean): Bytes {
  let staying = 0;
  for (const replica of residents(state, device.id))
    if (!leaves(replica)) staying += replica.reservations.get(device.id) ?? 0;
  return capacity(device) - staying;
}

function couldEverFit(state: FleetState, model: Model, leaves: (replica: Replica) => boolean): boolean {
  const devices = candidateDevices(state, model).filter((device) => {
    const bytes = need(model, device);
    return bytes > 0 && bytes <= stayingRoom(state, device, leaves);
  });
  return hasGroup(devices, model.settings.deviceCount);
}

/** Quarantine and the memory of others pass; the size of a device does not. */
function fitsEmptyDevices(state: FleetState, model: Model): boolean {
  const devices: Device[] = [];
  for (const id of model.settings.deviceIds) {
    const device = state.devices.get(id);
    if (device && (model.settings.memory ?? device.budgetBytes) <= device.budgetBytes) devices.push(device);
  }
  return hasGroup(devices, model.settings.deviceCount);
}

function shortageOf(state: FleetState, model: Model): Shortage {
  let best: Shortage | undefined;
  for (const device of candidateDevices(state, model)) {
    const neededBytes = need(model, device);
    const missingBytes = neededBytes - (capacity(device) - committed(state, device.id));
    if (best && best.missingBytes <= missingBytes) continue;
    const holders = residents(state, device.id).map((replica) => holderOf(state, replica, device.id));
    best = {
      missingBytes,
      neededBytes,
      devices: model.settings.deviceCount,
      deviceId: device.id,
      holders,
      foreignBytes: device.foreignBytes,
    };
  }
  return (
    best ?? {
      missingBytes: 0,
      neededBytes: model.settings.memory ?? 0,
      devices: model.settings.deviceCount,
      deviceId: null,
      holders: [],
      foreignBytes: 0,
    }
  );
}

function holderOf(state: FleetState, replica: Replica, deviceId: string): Holder {
  const model = state.models.get(replica.model);
  const why = ((): Holder['why'] => {
    if (replica.phase === 'zombie') return 'stuck';
    if (replica.phase === 'draining' || replica.phase === 'stopping') return 'leaving';
    if (model && isPinned(model)) return 'pinned';
    if (replica.phase === 'reserved' || replica.phase === 'starting') return 'starting';
    return replica.leases.size > 0 || (model?.queue.size ?? 0) > 0 ? 'busy' : 'idle';
  })();
  return { replica: replica.id, model: replica.model, bytes: replica.reservations.get(deviceId) ?? 0, why };
}
