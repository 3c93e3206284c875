/**
 * How many devices one replica takes. As configured; or, where the configuration leaves it open, the smallest degree at
 * which it fits on empty devices of about equal size, found anew for each plan: sizes, budgets and devices change.
 */
import type { Device, FleetState, Model } from '../state.ts';
import { estimateNeed, validDegrees } from './estimate.ts';
import { estimateOf, isWholeCard, matchingFootprint, needOn, type Estimate } from './need.ts';
import { hasGroup } from './placement.ts';

/** What a newcomer asks for, the same on all devices. */
export interface Span {
  /** Devices of the ledger; 0 = it takes no device memory. */
  readonly devices: number;
  /** What the engine is told. Differs where one unmeasured device stands for several. */
  readonly tensorParallel: number;
  /** On each of so many devices. */
  readonly estimate: Estimate | null;
}

/** Those of its devices that exist, whatever state they are in. */
export function devicesOf(state: FleetState, model: Model): Device[] {
  const found: Device[] = [];
  for (const id of model.settings.deviceIds) {
    const device = state.devices.get(id);
    if (device) found.push(device);
  }
  return found;
}

export function spanOf(state: FleetState, model: Model, devices: readonly Device[] = devicesOf(state, model)): Span {
  const { deviceCount, sizing } = model.settings;
  if (deviceCount === 0) return { devices: 0, tensorParallel: 1, estimate: null };
  if (devices.length > 0 && devices.every((device) => device.unmeasured)) {
    return { devices: 1, tensorParallel: deviceCount, estimate: null };
  }
  if (deviceCount > 1 || sizing?.autoParallel !== true) return forced(state, model, deviceCount);
  return smallest(state, model, devices) ?? forced(state, model, 1);
}

/** May a replica that stands on so many devices be one of this model as it is configured now? */
export function maySpan(state: FleetState, model: Model, devices: number): boolean {
  const { deviceCount, sizing } = model.settings;
  if (deviceCount === 1 && sizing?.autoParallel === true) return devices >= 1;
  return devices === spanOf(state, model).devices;
}

function forced(state: FleetState, model: Model, degree: number): Span {
  return { devices: degree, tensorParallel: degree, estimate: estimateOf(state, model, degree) };
}

/** The largest degree that there are devices for when it fits at none; undefined when nothing is known of its weights. */
function smallest(state: FleetState, model: Model, devices: readonly Device[]): Span | undefined {
  if (model.size?.kind !== 'shape') return undefined;
  let largest: Span | undefined;
  for (const degree of degreesOf(model, devices.length)) {
    if (!hasGroup(devices, degree)) continue;
    const estimate = estimateOf(state, model, degree);
    if (estimate === null) return undefined;
    largest = { devices: degree, tensorParallel: degree, estimate };
    const roomy = devices.filter((device) => fitsEmpty(state, model, device, degree, estimate));
    if (hasGroup(roomy, degree)) return largest;
  }
  return largest;
}

function degreesOf(model: Model, most: number): number[] {
  const valid = model.size?.kind === 'shape' ? validDegrees(model.size.shape, most) : [];
  return [...new Set([1, ...valid])].filter((degree) => degree <= Math.max(1, most)).toSorted((a, b) => a - b);
}

function fitsEmpty(state: FleetState, model: Model, device: Device, degree: number, estimate: Estimate): boolean {
  const seen = matchingFootprint(model, device, degree) !== null;
  if (!seen && isWholeCard(state)) return leastNeed(state, model, degree) <= shareOf(model, device);
  const need = needOn(state, model, device, degree, estimate);
  // A start that lacked something is a reason to take another device.
  const bytes = need.basis === 'estimate' ? estimate.totalBytes : need.totalBytes;
  return bytes <= device.budgetBytes;
}

function shareOf(model: Model, device: Device): number {
  return Math.floor((model.settings.sizing?.utilization ?? 1) * device.totalBytes);
}

/** An engine that gets a share whatever its size starts when that holds its weights and one sequence. */
function leastNeed(state: FleetState, model: Model, degree: number): number {
  const { sizing } = model.settings;
  if (sizing === null || model.size?.kind !== 'shape') return 0;
  const one = { ...sizing, kvSequences: 1 };
  return (estimateNeed(model.size.shape, one, state.settings.memory, degree)?.totalBytes ?? 0) + model.shortage;
}
