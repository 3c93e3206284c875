/**
 * What a replica takes on each of its devices, and what its engine is told about it. The first that applies: what was
 * declared; what was seen of the very same engine on the same class of device; what its files say (budget mode); its
 * configured share of the device, which is measured once it is ready.
 */
import type { Bytes } from '../../units.ts';
import type { LaunchShare } from '../launch.ts';
import type { Device, FleetState, Model } from '../state.ts';
import { estimateNeed } from './estimate.ts';
import type { Footprint } from './footprint.ts';
import { capacity } from './ledger.ts';

export type NeedBasis = 'declared' | 'footprint' | 'estimate' | 'discovery';

/** On one device. */
export interface Need {
  readonly basis: NeedBasis;
  /** The parts of an estimate; null where nobody has computed any. */
  readonly parts: NeedParts | null;
  /** Once ready: what is reserved. */
  readonly totalBytes: Bytes;
  /** Between launch and ready; at least `totalBytes`. */
  readonly peakBytes: Bytes;
  /** What is known from an earlier run: where the numbers are from, or, beside declared ones, what it may be told. */
  readonly footprint: Footprint | null;
}

export interface NeedParts {
  readonly weightsBytes: Bytes;
  readonly kvBytes: Bytes;
  readonly activationBytes: Bytes;
  readonly overheadBytes: Bytes;
}

export type Estimate = NeedParts & { readonly totalBytes: Bytes };

/** Bytes promised on one device. */
export interface Place {
  readonly device: Device;
  readonly need: Need;
  readonly bytes: Bytes;
}

/** What its files say it takes on each of so many devices, with what earlier starts lacked; null = they do not say. */
export function estimateOf(state: FleetState, model: Model, tensorParallel: number): Estimate | null {
  const { sizing } = model.settings;
  if (sizing === null || model.size?.kind !== 'shape') return null;
  const estimate = estimateNeed(model.size.shape, sizing, state.settings.memory, tensorParallel);
  if (estimate === null || !isSound(estimate)) return null;
  if (model.shortage <= 0) return estimate;
  return {
    ...estimate,
    kvBytes: estimate.kvBytes + model.shortage,
    totalBytes: estimate.totalBytes + model.shortage,
  };
}

/** Files may say anything; a sum that is no number would be smaller than nothing and larger than nothing. */
const isSound = ({ weightsBytes, kvBytes, totalBytes }: Estimate): boolean =>
  Number.isFinite(totalBytes) && weightsBytes >= 0 && kvBytes >= 0;

/** Learned of the very same thing; an image that nobody has looked for yet is taken to be the one of the last run. */
export function matchingFootprint(model: Model, device: Device, tensorParallel: number): Footprint | null {
  const sameImage = (image: string | null): boolean =>
    image === model.image || (model.image === null && !model.prepared);
  for (const footprint of model.footprints) {
    const { specHash, image, deviceClass, tensorParallel: degree } = footprint.signature;
    if (degree !== tensorParallel || deviceClass !== device.deviceClass) continue;
    if (specHash === model.settings.specHash && sameImage(image)) return footprint;
  }
  return null;
}

export const isWholeCard = (state: FleetState): boolean => state.settings.memory.placementMode === 'whole_card';

/** It may share a device, and only with others of its kind. In budget mode all models share by their bytes alone. */
export function isColocated(state: FleetState, model: Model): boolean {
  return isWholeCard(state) && model.settings.sizing?.colocate === true;
}

/** In whole_card mode nothing but the device itself bounds what is promised on it. */
export function needOn(
  state: FleetState,
  model: Model,
  device: Device,
  tensorParallel: number,
  estimate: Estimate | null = estimateOf(state, model, tensorParallel),
): Need {
  const { memory, sizing } = model.settings;
  if (device.unmeasured) return allOf(device);
  const footprint = matchingFootprint(model, device, tensorParallel);
  if (memory !== null) return declared(memory, footprint);
  if (footprint) return seen(footprint, device.budgetBytes);
  if (estimate !== null && !isWholeCard(state)) return estimated(estimate, model.shortage, device.budgetBytes);
  // What no one knows anything of gets all that there is.
  if (sizing === null) return allOf(device);
  return plain('discovery', Math.min(device.budgetBytes, Math.floor(sizing.utilization * device.totalBytes)));
}

/** All that others leave free there. */
export function allOf(device: Device): Need {
  return plain('discovery', capacity(device));
}

function plain(basis: NeedBasis, bytes: Bytes): Need {
  return { basis, parts: null, totalBytes: bytes, peakBytes: bytes, footprint: null };
}

/** An engine that kept to what was declared is told its KV cache of last time: then it need not measure, nor be left in peace. */
function declared(memory: Bytes, footprint: Footprint | null): Need {
  const kept = footprint !== null && footprint.peakBytes <= memory;
  return { ...plain('declared', memory), footprint: kept ? footprint : null };
}

/** It has run on such a device, so it fits on it: what it took beyond the budget is no reason to refuse it for ever. */
function seen(footprint: Footprint, budget: Bytes): Need {
  const totalBytes = Math.min(budget, Math.ceil(footprint.steadyBytes));
  const peakBytes = Math.max(totalBytes, Math.min(budget, Math.ceil(footprint.peakBytes)));
  return { basis: 'footprint', parts: null, totalBytes, peakBytes, footprint };
}

/** What earlier starts lacked never makes it too large for a device that it would fit without. */
function estimated(estimate: Estimate, shortage: Bytes, budget: Bytes): Need {
  const { weightsBytes, activationBytes, overheadBytes } = estimate;
  const spared = Math.max(0, Math.min(shortage, estimate.totalBytes - budget));
  const totalBytes = estimate.totalBytes - spared;
  const parts = { weightsBytes, kvBytes: estimate.kvBytes - spared, activationBytes, overheadBytes };
  return { basis: 'estimate', parts, totalBytes, peakBytes: totalBytes, footprint: null };
}

/** A share that is rounded up would be more than what is reserved. */
const FOUR_DECIMALS = 10_000;
const share = (bytes: Bytes, total: Bytes): number =>
  Math.floor((bytes / total) * FOUR_DECIMALS + 1e-6) / FOUR_DECIMALS;

/** What the engine is told. `tensorParallel`: how many devices it spans; the places may be fewer when they are unmeasured. */
export function shareFor(
  state: FleetState,
  model: Model,
  places: readonly Place[],
  tensorParallel: number,
): LaunchShare {
  const { footprint: first = null } = places[0]?.need ?? {};
  // Seen on devices of one class, it says nothing of others that it spans.
  const footprint = places.every(({ need }) => need.footprint === first) ? first : null;
  return {
    tensorParallel,
    utilization: utilizationFor(state, model, places, footprint),
    kvCacheBytes: footprint?.kvCacheBytes ?? null,
    maxModelLen: maxModelLen(model),
  };
}

function utilizationFor(
  state: FleetState,
  model: Model,
  places: readonly Place[],
  footprint: Footprint | null,
): number | null {
  const { memory, sizing } = model.settings;
  const { budgetFraction } = state.settings.memory;
  if (places.length === 0 || places.some(({ device }) => device.unmeasured)) return null;
  if (memory === null && sizing === null) return null;
  const most = isWholeCard(state) ? 1 : budgetFraction;
  // A share that followed what was seen would grow with every run.
  if (footprint && footprint.utilization !== null) return Math.min(most, footprint.utilization);
  const least = Math.min(
    ...places.map(({ device, need, bytes }) =>
      need.basis === 'discovery' && sizing && bytes === need.totalBytes
        ? sizing.utilization
        : share(bytes, device.totalBytes),
    ),
  );
  return memory === null ? Math.min(most, least) : least;
}

/** Tokens: as configured, at most what the model was made for; null = whatever it was made for. */
function maxModelLen(model: Model): number | null {
  const configured = model.settings.sizing?.maxModelLen ?? 0;
  if (configured <= 0) return null;
  const native = model.size?.kind === 'shape' ? model.size.shape.nativeLength : null;
  return native === null ? configured : Math.min(native, configured);
}
