/** Plans in words. Client, operator, log and `plan` read the same sentences. */
import { formatSize, type Bytes } from '../../units.ts';
import type { FleetState, Model } from '../state.ts';
import type { Holder } from './books.ts';
import type { Need } from './need.ts';
import type { Plan } from './plan.ts';
import type { DeviceShortage, Shortage } from './shortage.ts';

const WHY: Readonly<Record<Holder['why'], string>> = {
  pinned: 'pinned',
  busy: 'busy',
  starting: 'starting',
  leaving: 'leaving',
  idle: 'idle',
  stuck: 'not seen to be gone',
};

/** Devices and holders beyond these are counted only. */
const MOST_DEVICES = 4;
const MOST_HOLDERS = 8;

export function explainShortage(model: Model, shortage: Shortage): string {
  return `Model '${model.name}' ${whatIsWrong(model, shortage)}`;
}

/** Why it has no place yet; null when it does not wait for one. */
export function whyItWaits(model: Model): string | null {
  const { waitingFor } = model;
  if (waitingFor === null) return null;
  const { plan } = waitingFor;
  waitingFor.words ??=
    plan.kind === 'fits'
      ? `Model '${model.name}' would fit, but one that has waited longer needs the same memory.`
      : explainLack(model, plan);
  return waitingFor.words;
}

function explainLack(model: Model, { kind, shortage }: Exclude<Plan, { kind: 'fits' }>): string {
  return `${explainShortage(model, shortage)} ${kind === 'wait' ? whatItWaitsFor(shortage) : remedy(shortage)}`;
}

export function explainPlan(state: FleetState, model: Model, plan: Plan): string {
  if (plan.kind !== 'fits') return explainLack(model, plan);
  // Of a device that cannot be read nobody knows the bytes: a model takes it as a whole.
  const place = (id: string, bytes: Bytes): string =>
    state.devices.get(id)?.unmeasured ? `all of ${id} (its memory cannot be read)` : `${formatSize(bytes)} on ${id}`;
  const places = [...plan.reservations].map(([id, bytes]) => place(id, bytes)).join(', ');
  if (places === '') return `Model '${model.name}' takes no device memory.`;
  return plan.victims.length > 0
    ? `Model '${model.name}' gets ${places} as soon as ${enumerated(plan.victims)} ${plan.victims.length > 1 ? 'have' : 'has'} left.`
    : `Model '${model.name}' gets ${places}.`;
}

/** Where its numbers are from, in brackets; nothing when they are declared. */
export function explainNeed(model: Model, need: Need): string {
  if (need.basis === 'declared') return '';
  if (need.basis === 'footprint') return ' (as it was measured)';
  if (need.parts) {
    const { weightsBytes, kvBytes, activationBytes, overheadBytes } = need.parts;
    return ` (estimated: weights ${formatSize(weightsBytes)}, KV cache ${formatSize(kvBytes)}, activations ${formatSize(activationBytes)}, overhead ${formatSize(overheadBytes)})`;
  }
  if (model.settings.sizing === null) return ' (all of it: no memory is declared)';
  return model.size?.kind === 'unknown'
    ? ` (its share: its size is unknown, ${model.size.reason.replace(/\.$/, '')})`
    : ' (its share of it)';
}

function whatIsWrong(model: Model, shortage: Shortage): string {
  const { cause, devices, deviceId, need, pool } = shortage;
  if (cause === 'no_device') return noDevice(model);
  const where = devices > 1 ? `each of ${devices} devices` : 'a device';
  const basis = need ? explainNeed(model, need) : '';
  const lead = `needs ${formatSize(shortage.neededBytes)}${basis} on ${where}${pool === null ? '' : ` of pool '${pool}'`}`;
  const largest = shortage.places.toSorted((one, other) => other.totalBytes - one.totalBytes)[0];
  switch (cause) {
    case 'no_group':
      return `${lead}; ${noGroup(shortage)}`;
    case 'too_large':
      return `${lead}; the largest that it may use, ${largest?.deviceId ?? deviceId}, has ${formatSize(largest?.totalBytes ?? 0)} in all.`;
    case 'over_budget':
      return `${lead}; ${overBudget(shortage)}`;
    case 'weights':
      return `${lead}, its configured share, which does not hold its weights: they take ${formatSize(shortage.floorBytes ?? 0)} with memory.weight_overhead.`;
    case 'quarantined':
    case 'unseen':
      return `${lead}; ${inTrouble(shortage)}`;
    case 'unshared':
      return `${lead} that only co-located models share.${heldBy(shortage)}${elsewhere(shortage)}`;
    case 'foreign':
    case 'kept':
    case 'held':
      return `${lead}; ${missingOn(shortage)}${heldBy(shortage)}${elsewhere(shortage)}`;
  }
}

function noDevice(model: Model): string {
  const ids = model.settings.deviceIds;
  const why =
    ids.length === 0 ? 'none that its devices or its pool name is there' : `${ids.join(', ')} cannot be found`;
  return `has no device it may use: ${why}.`;
}

const sizes = (places: readonly DeviceShortage[]): string =>
  bounded(
    places.map((place) => `${place.deviceId} ${formatSize(place.totalBytes)}`),
    MOST_DEVICES,
  );

function noGroup({ places, devices }: Shortage): string {
  return places.length < devices
    ? `it may use ${places.length} only (${sizes(places)}).`
    : `no ${devices} of those that it may use are of about equal size (${sizes(places)}).`;
}

function overBudget({ places }: Shortage): string {
  const told = places.map(
    (place) => `${formatSize(place.budgetBytes)} of the ${formatSize(place.totalBytes)} of ${place.deviceId}`,
  );
  return `no more than ${bounded(told, MOST_DEVICES)} may be promised (devices.budget_fraction).`;
}

function inTrouble({ places, cause }: Shortage): string {
  const told = places.filter((place) => place.trouble !== null).map((place) => `${place.deviceId} (${place.trouble})`);
  const what = cause === 'unseen' ? 'no start may begin where memory cannot be read' : 'no start may begin';
  return `${what}: ${bounded(told, MOST_DEVICES)}.`;
}

function missingOn({ missingBytes, deviceId, places }: Shortage): string {
  const place = places.find((it) => it.deviceId === deviceId);
  const free = place ? ` (${freeOf(place)})` : '';
  return `${formatSize(missingBytes)} are missing on ${deviceId}${free}.`;
}

function heldBy({ places, deviceId }: Shortage): string {
  const place = places.find((it) => it.deviceId === deviceId);
  const who = place ? holdersOf(place) : '';
  return who === '' ? '' : ` Held by ${who}.`;
}

function holdersOf({ holders, foreignBytes }: DeviceShortage): string {
  const who = holders.map((holder) => `${holder.model} (${formatSize(holder.bytes)}, ${whyHeld(holder)})`);
  const foreign = foreignBytes > 0 ? [`processes outside the gateway (${formatSize(foreignBytes)})`] : [];
  return [...(who.length > 0 ? [bounded(who, MOST_HOLDERS)] : []), ...foreign].join(', ');
}

function whyHeld({ why, leases }: Holder): string {
  if (why !== 'busy' || leases === 0) return WHY[why];
  return `busy with ${leases} ${leases === 1 ? 'request' : 'requests'}`;
}

/** The numbers of the other devices that it may use. */
function elsewhere({ places, deviceId }: Shortage): string {
  const others = places.filter((place) => place.deviceId !== deviceId);
  const told = others.slice(0, MOST_DEVICES - 1).map((place) => ` ${ofDevice(place)}`);
  const more = others.length - told.length;
  return `${told.join('')}${more > 0 ? ` ${more} more ${more === 1 ? 'device has' : 'devices have'} no room either.` : ''}`;
}

/** What others hold and what is above the budget is nobody's to give. */
function freeOf({ freeBytes, capacityBytes }: DeviceShortage): string {
  return `${formatSize(freeBytes)} of the ${formatSize(capacityBytes)} to give are free`;
}

function ofDevice(place: DeviceShortage): string {
  const { deviceId, trouble, missingBytes } = place;
  if (trouble !== null) return `No start may begin on ${deviceId} (${trouble}).`;
  const who = holdersOf(place);
  const held = who === '' ? '' : `, held by ${who}`;
  const free = freeOf(place);
  return missingBytes > 0
    ? `On ${deviceId} ${formatSize(missingBytes)} are missing (${free})${held}.`
    : `On ${deviceId} ${free}${held}.`;
}

function whatItWaitsFor({ cause }: Shortage): string {
  return cause === 'unseen' ? 'It waits until it can be read again.' : 'It waits for them.';
}

function remedy(shortage: Shortage): string {
  switch (shortage.cause) {
    case 'no_device':
      return 'Name devices or a pool that are there.';
    case 'no_group':
      return 'Lower tensor_parallel_size, or give it devices of equal size.';
    case 'too_large':
    case 'over_budget':
      return smaller(shortage);
    case 'weights':
      return 'Raise its gpu_memory_utilization, or give it a larger device.';
    case 'unseen':
    case 'quarantined':
      return 'It can start again once that is settled.';
    case 'foreign':
      return 'Free that memory, or give it another device.';
    case 'kept':
    case 'unshared':
    case 'held':
      return 'Unpin or unload what holds them.';
  }
}

function smaller({ need, places }: Shortage): string {
  const most = Math.max(0, ...places.map((place): Bytes => place.budgetBytes));
  const parts = need?.parts;
  if (parts && parts.weightsBytes + parts.overheadBytes < most) {
    return 'Lower max_model_len, kv_reservation_seqs or max_num_seqs, or give it a larger device or more devices.';
  }
  return 'Give it a larger device, more devices, or less memory.';
}

function enumerated(names: readonly string[]): string {
  const last = names.at(-1) ?? '';
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${last}` : last;
}

function bounded(texts: readonly string[], most: number): string {
  if (texts.length <= most) return texts.join(', ');
  return `${texts.slice(0, most).join(', ')} and ${texts.length - most} more`;
}
