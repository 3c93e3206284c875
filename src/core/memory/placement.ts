/**
 * Where a newcomer goes. Pure: one offer per device in, the chosen devices out. A direct fit goes where most stays free;
 * else fewest victims, then least recently used ones, then most free left.
 */
import type { Bytes, Milliseconds } from '../../units.ts';

export interface Offer {
  readonly deviceId: string;
  readonly bytes: Bytes;
  readonly victims: readonly { readonly id: string; readonly idleSince: Milliseconds; readonly young: boolean }[];
  /** After the newcomer is in. */
  readonly freeLeft: Bytes;
  readonly totalBytes: Bytes;
}

/** Largest difference in size between devices of one tensor-parallel group. */
export const HOMOGENEITY = 0.05;

const latestUse = (offer: Offer): number =>
  offer.victims.reduce((latest, victim) => Math.max(latest, victim.idleSince), -Infinity);
const youngCount = (offer: Offer): number => offer.victims.filter((victim) => victim.young).length;

/** Better offers first. */
export function compareOffers(one: Offer, other: Offer): number {
  return (
    youngCount(one) - youngCount(other) ||
    one.victims.length - other.victims.length ||
    (one.victims.length > 0 ? latestUse(one) - latestUse(other) : 0) ||
    other.freeLeft - one.freeLeft ||
    (one.deviceId < other.deviceId ? -1 : 1)
  );
}

/** The devices among these that are at most as large as this one and about as large. */
export function homogeneousWith<T extends { readonly totalBytes: Bytes }>(devices: readonly T[], anchor: T): T[] {
  return devices.filter(
    ({ totalBytes }) => totalBytes <= anchor.totalBytes && totalBytes >= anchor.totalBytes * (1 - HOMOGENEITY),
  );
}

/** True when `count` of these are about equal in size. */
export function hasGroup<T extends { readonly totalBytes: Bytes }>(devices: readonly T[], count: number): boolean {
  if (count <= 1) return devices.length >= count;
  return devices.some((anchor) => homogeneousWith(devices, anchor).length >= count);
}

/** `count` devices of about equal size, best offers first; undefined when there are not enough. */
export function chooseDevices(offers: readonly Offer[], count: number): Offer[] | undefined {
  if (offers.length < count) return undefined;
  const ranked = offers.toSorted(compareOffers);
  if (count === 1) return ranked.slice(0, 1);
  let best: Offer[] | undefined;
  for (const anchor of ranked) {
    const group = homogeneousWith(ranked, anchor).slice(0, count);
    if (group.length === count && (!best || compareGroups(group, best) < 0)) best = group;
  }
  return best;
}

function compareGroups(one: readonly Offer[], other: readonly Offer[]): number {
  const victims = (group: readonly Offer[]): number =>
    new Set(group.flatMap((offer) => offer.victims.map((victim) => victim.id))).size;
  const free = (group: readonly Offer[]): number => group.reduce((sum, offer) => sum + offer.freeLeft, 0);
  return victims(one) - victims(other) || free(other) - free(one);
}
