/** What an earlier gateway process left behind: adopted when it is ours, unchanged and wanted; ended otherwise. */
import { matchingFootprint } from '../memory/need.ts';
import { newDevice } from '../fleet.ts';
import { maySpan } from '../memory/span.ts';
import type { FoundReplica } from '../events.ts';
import type { Footprint } from '../memory/footprint.ts';
import { decide, refOf, type Run } from '../run.ts';
import type { Device, FleetState, Model, Replica } from '../state.ts';
import type { Bytes } from '../../units.ts';
import { syncClocks } from './clocks.ts';
import { isListed } from './devices.ts';
import { cancelPreparation } from './prepare.ts';
import { blank, NO_SHARE } from './start.ts';
import { gateIsFree, joinGates, takeGate } from './start-gate.ts';
import { stopNow } from './stop.ts';
import { forgetPlace } from './scaling.ts';
import { isWanted } from './wanted.ts';

const STOP_TIMEOUT_UNKNOWN = 30_000;

export function found(run: Run, seen: FoundReplica): void {
  const { state, now } = run;
  if (state.replicas.has(seen.id)) return;
  const model = state.models.get(seen.model);
  // The next run finds it too.
  if (model && state.shutdown?.keep.includes(seen.driver ?? model.settings.driver)) return;
  const { reservations, peaks } = placesOf(state, seen, model);
  const refusal = whyNot(run, seen, reservations);
  const replica: Replica = {
    ...blank(now),
    id: seen.id,
    generation: seen.generation,
    model: seen.model,
    driver: seen.driver ?? model?.settings.driver ?? 'process',
    specHash: seen.specHash,
    configVersion: state.settings.version,
    stopTimeout: model?.settings.stopTimeout ?? STOP_TIMEOUT_UNKNOWN,
    reservations,
    peaks,
    share: seen.share ?? { ...NO_SHARE, tensorParallel: seen.reservations.size },
    adopted: refusal === null,
    phase: 'starting',
    port: seen.port,
    endpoint: seen.endpoint,
    launchedAt: now,
  };
  state.replicas.set(replica.id, replica);
  if (seen.port !== null) state.ports.add(seen.port);
  if (model) model.generation = Math.max(model.generation, seen.generation);
  run.capacityChanged = true;
  if (refusal !== null || !model) {
    decide(
      run,
      'replica.not_adopted',
      { model: seen.model, replica: seen.id },
      `Left by an earlier run and not adopted: ${refusal ?? 'its model is not configured'}. It is stopped.`,
    );
    stopNow(run, replica, 'not_adopted');
    return;
  }
  // A driver that answers late tells of it when somebody has asked for the model already.
  cancelPreparation(run, model, 'An earlier run had started it.');
  forgetPlace(run, model);
  model.current = replica.id;
  if (gateIsFree(state, replica, 'start')) takeGate(state, replica, now);
  else joinGates(state, replica, now);
  state.deadlines.set(`start:${replica.id}`, now + model.settings.startTimeout);
  state.deadlines.set(`stall:${replica.id}`, now + model.settings.startStallTimeout);
  syncClocks(run, model);
  run.effects.push({ kind: 'replica.adopt', replica: refOf(replica), model: model.name, endpoint: seen.endpoint });
}

/** Who asked for a model meanwhile, and got none of those that were found, gets a start now. */
export function endAdoption(run: Run): void {
  const { state } = run;
  state.adopting = false;
  for (const model of state.models.values()) {
    if (model.current === null && isWanted(model)) state.orphaned.add(model.name);
  }
}

interface Places {
  readonly reservations: ReadonlyMap<string, Bytes>;
  readonly peaks: ReadonlyMap<string, Bytes>;
}

/**
 * While the devices cannot be read, what stands on any of them stands on the one in their place. What was promised at its
 * launch is not what the earlier run counted with once it had measured it.
 */
function placesOf(state: FleetState, seen: FoundReplica, model: Model | undefined): Places {
  const [reservations, peaks] = [new Map<string, Bytes>(), new Map<string, Bytes>()];
  for (const [id, bytes] of seen.reservations) {
    const device = state.devices.get(id) ?? unreadDevice(state) ?? strayDevice(state, id, bytes);
    const known = device.unmeasured ? null : knownOf(model, seen, device);
    const steady = device.unmeasured
      ? device.budgetBytes
      : known
        ? Math.min(device.budgetBytes, known.steadyBytes)
        : bytes;
    reservations.set(device.id, steady);
    // It may be in the middle of its start.
    peaks.set(device.id, Math.max(steady, bytes, Math.min(device.budgetBytes, known?.peakBytes ?? 0)));
  }
  return { reservations, peaks };
}

function knownOf(model: Model | undefined, seen: FoundReplica, device: Device): Footprint | null {
  if (model?.settings.specHash !== seen.specHash) return null;
  return matchingFootprint(model, device, seen.share?.tensorParallel ?? seen.reservations.size);
}

/** Until it is gone it stands somewhere, and where is not known. */
function strayDevice(state: FleetState, id: string, bytes: Bytes): Device {
  const whole = { id, totalBytes: bytes, budgetBytes: bytes, pool: null, uuid: null };
  const device = newDevice({ ...whole, deviceClass: 'unknown', unmeasured: true });
  state.devices.set(id, device);
  return device;
}

function unreadDevice(state: FleetState): Device | undefined {
  return [...state.devices.values()].find((device) => device.unmeasured && isListed(state, device.id));
}

/** What engines may hold there that this run has launched. */
function launchedHere(state: FleetState, deviceId: string): Bytes {
  let sum = 0;
  for (const { adopted, stopReason, phase, readyAt, reservations, peaks } of state.replicas.values()) {
    if (adopted || stopReason === 'not_adopted' || phase === 'reserved') continue;
    const steady = reservations.get(deviceId) ?? 0;
    sum += readyAt === null ? Math.max(steady, peaks.get(deviceId) ?? 0) : steady;
  }
  return sum;
}

/**
 * It runs, so it fits beside what is really there, and beside all that was found with it: only what was promised to others
 * since then speaks against it.
 */
function whyNot(run: Run, seen: FoundReplica, places: ReadonlyMap<string, Bytes>): string | null {
  const { state } = run;
  if (seen.usable !== true) return seen.usable;
  const model = state.models.get(seen.model);
  if (!model) return 'its model is not configured any more';
  const { driver, specHash } = model.settings;
  if (specHash !== seen.specHash || (seen.driver ?? driver) !== driver) return 'its configuration has changed';
  if (model.current !== null) return 'the model has another replica';
  if (state.shutdown) return 'the gateway is shutting down';
  const spans = seen.reservations.size;
  if (model.settings.deviceCount !== spans && !maySpan(state, model, spans))
    return 'it holds other devices than the model takes now';
  for (const [id, bytes] of places) {
    const device = state.devices.get(id);
    if (!isListed(state, id)) return `its device ${id} is not configured any more`;
    if (!model.settings.deviceIds.includes(id)) return `the model may not use device ${id} any more`;
    if (device && !device.unmeasured && launchedHere(state, id) + bytes > device.budgetBytes) {
      return `its memory does not fit on ${id}`;
    }
  }
  return null;
}
