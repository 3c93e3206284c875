/** What engines were seen to take: it replaces what was promised, in the same step, and is remembered. */
import { formatSize, type Bytes } from '../../units.ts';
import type { Footprint } from '../memory/footprint.ts';
import { capacity, held } from '../memory/ledger.ts';
import { matchingFootprint } from '../memory/need.ts';
import { decide, type Run } from '../run.ts';
import type { FleetState, Model, Replica } from '../state.ts';
import { forgetVanished, isListed } from './devices.ts';

/** What starts say they lacked makes an estimate larger by this share of it at most. */
const SHORTAGE_SHARE = 0.5;

export function measured(
  run: Run,
  replica: Replica,
  steady: ReadonlyMap<string, Bytes>,
  footprint: Footprint | null,
): void {
  const { state } = run;
  if (replica.phase !== 'ready' && replica.phase !== 'draining') return;
  const before = replica.reservations;
  // From a device that stood for others it moves to those on which it was seen; else it stands where it was put.
  const moves = [...before.keys()].some((id) => !isListed(state, id));
  const seen = new Map(
    [...steady].filter(([id, bytes]) => bytes > 0 && (before.has(id) || (moves && state.devices.has(id)))),
  );
  if (seen.size === 0) return;
  const over = new Set([...state.devices.keys()].filter((id) => isOver(state, id)));
  replica.reservations = settled(state, before, seen);
  replica.measured = true;
  tell(run, replica, before);
  for (const id of seen.keys()) if (!over.has(id)) tellOverrun(run, replica, id);
  const model = state.models.get(replica.model);
  if (model && footprint) learn(run, model, footprint);
  forgetVanished(state);
  run.capacityChanged = true;
}

/** A device that was not read keeps its promise, unless it stood for others that were. */
function settled(
  state: FleetState,
  promised: ReadonlyMap<string, Bytes>,
  seen: ReadonlyMap<string, Bytes>,
): ReadonlyMap<string, Bytes> {
  const next = new Map<string, Bytes>();
  for (const [id, bytes] of promised) if (!seen.has(id) && isListed(state, id)) next.set(id, bytes);
  for (const [id, bytes] of seen) next.set(id, Math.ceil(bytes));
  return next;
}

function tell(run: Run, replica: Replica, before: ReadonlyMap<string, Bytes>): void {
  const words = [...replica.reservations].map(([id, bytes]) => {
    const promised = before.get(id);
    return `${formatSize(bytes)} on ${id}${promised === undefined ? '' : ` (promised ${formatSize(promised)})`}`;
  });
  decide(run, 'replica.measured', { model: replica.model, replica: replica.id }, `It takes ${words.join(', ')}.`);
}

function isOver(state: FleetState, deviceId: string): boolean {
  const device = state.devices.get(deviceId);
  return device !== undefined && held(state, deviceId) > capacity(device);
}

/** Reality is no failure: the device is full, and nothing is started there until it is not. */
function tellOverrun(run: Run, replica: Replica, deviceId: string): void {
  const device = run.state.devices.get(deviceId);
  if (!device || !isOver(run.state, deviceId)) return;
  const words = `Engines hold ${formatSize(held(run.state, deviceId))} on ${deviceId}, which has ${formatSize(capacity(device))} to give: nothing more is started there.`;
  decide(run, 'device.overrun', { model: replica.model, replica: replica.id }, words, { device: deviceId });
}

const sameKind = (one: Footprint, other: Footprint): boolean =>
  one.signature.deviceClass === other.signature.deviceClass &&
  one.signature.tensorParallel === other.signature.tensorParallel;

function keep(model: Model, footprint: Footprint): void {
  const place = model.footprints.findIndex((known) => sameKind(known, footprint));
  model.footprints = place < 0 ? [...model.footprints, footprint] : model.footprints.with(place, footprint);
}

function learn(run: Run, model: Model, footprint: Footprint): void {
  keep(model, footprint);
  model.shortage = 0;
  run.effects.push({ kind: 'footprint.learned', footprint });
}

/** From earlier runs; what this one has learned already is newer. */
export function footprintsLoaded(run: Run, footprints: readonly Footprint[]): void {
  for (const footprint of footprints) {
    const model = run.state.models.get(footprint.model);
    const known = model?.footprints.find((other) => sameKind(other, footprint));
    if (model && (!known || known.measuredAt < footprint.measuredAt)) keep(model, footprint);
  }
  run.capacityChanged = true;
}

/** A start ran out of memory and said by how much: the next one is planned larger, within bounds. */
export function recordShortage(run: Run, model: Model, replica: Replica, lacked: Bytes): void {
  const { state } = run;
  if (model.settings.sizing === null || model.settings.memory !== null || lacked <= 0) return;
  const estimate = Math.max(0, ...replica.reservations.values()) - model.shortage;
  const budgets = [...replica.reservations.keys()].map((id) => state.devices.get(id)?.budgetBytes ?? 0);
  const most = Math.min(Math.floor(estimate * SHORTAGE_SHARE), Math.min(...budgets) - estimate);
  const shortage = Math.min(model.shortage + Math.ceil(lacked), most);
  if (shortage <= model.shortage) return;
  model.shortage = shortage;
  decide(
    run,
    'model.resized',
    { model: model.name },
    `Its start lacked ${formatSize(lacked)} on each device: the next one is planned ${formatSize(shortage)} above the estimate.`,
    { lacked_bytes: lacked, shortage_bytes: shortage },
  );
}

/**
 * A start that was planned with a footprint ran out of memory, and not for the first time in a row: something may have
 * passed by once, but what fails twice was not seen right, and would be believed for ever.
 */
export function doubtFootprint(run: Run, model: Model, replica: Replica): void {
  if (model.backoff.failures === 0) return;
  for (const id of replica.reservations.keys()) {
    const device = run.state.devices.get(id);
    const footprint = device && matchingFootprint(model, device, replica.share.tensorParallel);
    if (!footprint) continue;
    model.footprints = model.footprints.filter((known) => known !== footprint);
    const words = `Its starts run out of memory with the ${formatSize(footprint.steadyBytes)} that were seen of it on ${id}: it is planned without them and measured anew.`;
    decide(run, 'footprint.doubted', { model: model.name }, words, { steady_bytes: footprint.steadyBytes });
  }
}
