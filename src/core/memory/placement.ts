/**
 * Where a newcomer goes. Pure: one offer per device in, the chosen devices out. A direct fit goes where most stays free;
 * else fewest victims, then least recently used ones, then most free left.
 */
import type { Bytes } from '../../units.ts';
import type { Candidate } from './eviction.ts';

export interface Offer {
  readonly deviceId: string;
  readonly bytes: Bytes;
  /** What its victims must free; not positive when it fits as it is. */
  readonly missing: Bytes;
  readonly victims: readonly Candidate[];
  /** After the newcomer is in. */
  readonly freeLeft: Bytes;
  readonly totalBytes: Bytes;
}

/** Largest difference in size between devices of one tensor-parallel group. */
export const HOMOGENEITY = 0.05;

/** Above this many groups the best offers are taken as they come. */
const MAX_GROUPS = 1_000;

/** Better groups of offers (one device is a group of one) first. One victim may stand in several offers and counts once. */
export function compareGroups(one: readonly Offer[], other: readonly Offer[]): number {
  const ours = victimsOf(one);
  const theirs = victimsOf(other);
  const young = (victims: readonly Candidate[]): number => victims.filter((victim) => victim.young).length;
  const latest = (victims: readonly Candidate[]): number => Math.max(...victims.map((victim) => victim.idleSince));
  const free = (group: readonly Offer[]): number => group.reduce((sum, offer) => sum + offer.freeLeft, 0);
  return (
    young(ours) - young(theirs) ||
    ours.length - theirs.length ||
    (ours.length > 0 ? latest(ours) - latest(theirs) : 0) ||
    free(other) - free(one) ||
    compareIds(one, other)
  );
}

function victimsOf(group: readonly Offer[]): Candidate[] {
  const found = new Map<string, Candidate>();
  for (const offer of group) for (const victim of offer.victims) found.set(victim.id, victim);
  return [...found.values()];
}

function compareIds(one: readonly Offer[], other: readonly Offer[]): number {
  const ids = (group: readonly Offer[]): string => group.map((offer) => offer.deviceId).join(' ');
  const [ours, theirs] = [ids(one), ids(other)];
  return ours === theirs ? 0 : ours < theirs ? -1 : 1;
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

/** `count` devices of about equal size, the best such group; undefined when there is none. */
export function chooseDevices(offers: readonly Offer[], count: number): readonly Offer[] | undefined {
  const ranked = offers.toSorted((one, other) => compareGroups([one], [other]));
  if (count === 1) return ranked.length > 0 ? ranked.slice(0, 1) : undefined;
  let best: readonly Offer[] | undefined;
  const seen = new Set<Bytes>();
  for (const anchor of ranked) {
    if (seen.has(anchor.totalBytes)) continue;
    seen.add(anchor.totalBytes);
    for (const group of groupsOf(homogeneousWith(ranked, anchor), count)) {
      if (!best || compareGroups(group, best) < 0) best = group;
    }
  }
  return best;
}

function* groupsOf(ranked: readonly Offer[], count: number): Generator<readonly Offer[]> {
  if (ranked.length < count) return;
  if (groupCount(ranked.length, count) > MAX_GROUPS) yield ranked.slice(0, count);
  else yield* combinations(ranked, count);
}

function groupCount(from: number, count: number): number {
  let groups = 1;
  for (let index = 1; index <= count; index += 1) groups = (groups * (from - count + index)) / index;
  return groups;
}

function* combinations<T>(list: readonly T[], count: number): Generator<readonly T[]> {
  if (count === 0) {
    yield [];
    return;
  }
  for (let index = 0; index <= list.length - count; index += 1) {
    const first = list.slice(index, index + 1);
    for (const rest of combinations(list.slice(index + 1), count - 1)) yield [...first, ...rest];
  }
}
