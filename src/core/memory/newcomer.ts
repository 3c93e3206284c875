/** A model that wants a place: what it asks of each of its devices, and under which conditions it may stand there. */
import type { Bytes } from '../../units.ts';
import type { Device, FleetState, Model } from '../state.ts';
import type { Books, OpenBook } from './books.ts';
import { capacity } from './ledger.ts';
import { isColocated, needOn, type Need } from './need.ts';
import { devicesOf, spanOf, type Span } from './span.ts';

/** What is asked of one device. */
export interface Ask {
  readonly device: Device;
  readonly book: OpenBook;
  readonly need: Need;
  /** What must be free for it once it is ready; for one that is co-located also what it leaves free. */
  readonly bytes: Bytes;
  /** What must be free for it from launch to ready. */
  readonly peakBytes: Bytes;
  /** Co-located: a share smaller than this does not even hold its weights; null = not asked. */
  readonly floorBytes: Bytes | null;
}

export interface Newcomer {
  readonly model: Model;
  readonly span: Span;
  readonly asks: readonly Ask[];
  readonly colocated: boolean;
}

export function newcomerOf(state: FleetState, model: Model, books: Books): Newcomer {
  const devices = devicesOf(state, model);
  const span = spanOf(state, model, devices);
  const colocated = isColocated(state, model);
  const asks: Ask[] = [];
  let last: Ask | null = null;
  for (const { id } of devices) {
    const book = books.get(id);
    if (!book) continue;
    // It asks the same of devices that are alike.
    last =
      last && areAlike(last.device, book.device) ? onOther(last, book) : askOf(state, model, book, span, colocated);
    asks.push(last);
  }
  return { model, span, asks, colocated };
}

function areAlike(one: Device, other: Device): boolean {
  return (
    one.deviceClass === other.deviceClass &&
    one.totalBytes === other.totalBytes &&
    one.budgetBytes === other.budgetBytes &&
    one.foreignBytes === other.foreignBytes &&
    one.unmeasured === other.unmeasured
  );
}

function onOther({ need, bytes, peakBytes, floorBytes }: Ask, book: OpenBook): Ask {
  return { device: book.device, book, need, bytes, peakBytes, floorBytes };
}

function askOf(
  state: FleetState,
  model: Model,
  book: OpenBook,
  { tensorParallel, estimate }: Span,
  colocated: boolean,
): Ask {
  const { device } = book;
  const need = needOn(state, model, device, tensorParallel, estimate);
  if (!colocated || need.basis !== 'discovery' || device.unmeasured) {
    return { device, book, need, bytes: need.totalBytes, peakBytes: need.peakBytes, floorBytes: null };
  }
  const { colocateMargin, weightOverhead } = state.settings.memory;
  const floorBytes = estimate === null ? null : Math.ceil(estimate.weightsBytes * weightOverhead);
  const bytes = Math.max(need.totalBytes, floorBytes === null ? 0 : floorBytes + colocateMargin);
  return { device, book, need, bytes, peakBytes: bytes, floorBytes };
}

/** What is reserved where `room` is free for it: one that is co-located leaves a margin beside it. */
export function grantedBytes(state: FleetState, newcomer: Newcomer, { need }: Ask, room: Bytes): Bytes {
  if (!newcomer.colocated || need.basis !== 'discovery') return need.totalBytes;
  return Math.min(need.totalBytes, room - state.settings.memory.colocateMargin);
}

/** Its configured share of the device is too small for its weights, however empty the device. */
export function isTooSmallAShare({ need, floorBytes }: Ask): boolean {
  return floorBytes !== null && floorBytes > need.totalBytes;
}

/** One that shares nothing stands there, or has not left yet: co-located models keep away. */
export function isShutOut(newcomer: Newcomer, { book }: Ask): boolean {
  return newcomer.colocated && book.unshared;
}

/** Its bytes fit on the device when nobody else is there, but for processes outside the gateway. */
export function fitsAlone({ device, bytes, peakBytes }: Ask): boolean {
  return bytes > 0 && Math.max(bytes, peakBytes) <= capacity(device);
}

/** Quarantine and the memory of others pass; the size of a device does not. */
export function couldFitAlone(ask: Ask): boolean {
  const { device, bytes, peakBytes } = ask;
  if (device.unmeasured) return true;
  return bytes > 0 && Math.max(bytes, peakBytes) <= device.budgetBytes && !isTooSmallAShare(ask);
}
