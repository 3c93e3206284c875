/** A model that wants a place: what it asks of each of its devices, and under which conditions it may stand there. */
import type { Bytes } from '../../units.ts';
import type { FleetState, Model } from '../state.ts';
import type { Ask, Asked } from './asked.ts';
import type { Books, OpenBook } from './books.ts';

export interface Newcomer extends Asked {
  readonly model: Model;
  /** Of the devices that its `asks` are for, one by one. */
  readonly books: readonly OpenBook[];
}

export function newcomerOf(state: FleetState, model: Model, books: Books): Newcomer {
  const shelf = books.shelf(model.settings.deviceIds);
  const { span, colocated, asks } = model.asking.now(state, model, shelf);
  return { model, span, colocated, asks, books: shelf.books };
}

/** Books of those of its devices for which this holds. */
export function booksWhere(newcomer: Newcomer, holds: (ask: Ask, book: OpenBook) => boolean): OpenBook[] {
  return newcomer.books.filter((book, index) => {
    const ask = newcomer.asks[index];
    return ask !== undefined && holds(ask, book);
  });
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
export function isShutOut(newcomer: Newcomer, book: OpenBook): boolean {
  return newcomer.colocated && book.unshared;
}

/** Its bytes fit on the device when nobody else is there, but for processes outside the gateway. */
export function fitsAlone({ bytes, mostBytes }: Ask, book: OpenBook): boolean {
  return bytes > 0 && mostBytes <= book.capacityBytes;
}

/** Quarantine and the memory of others pass; the size of a device does not. */
export function couldFitAlone(ask: Ask, { device }: OpenBook): boolean {
  if (device.unmeasured) return true;
  return ask.bytes > 0 && ask.mostBytes <= device.budgetBytes && !isTooSmallAShare(ask);
}
