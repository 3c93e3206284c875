/**
 * Where a newcomer goes. Pure: one offer per device and a policy in, the chosen devices out. A direct fit goes where most
 * stays free; otherwise the policy's criteria say which victims are the smallest loss.
 */
import type { Bytes } from '../../units.ts';
import type { Candidate, Criterion, EvictionPolicy, Toll } from './eviction.ts';

export interface Offer {
  readonly deviceId: string;
  /** What its victims must free; not positive when it fits as it is. */
  readonly missing: Bytes;
  readonly victims: readonly Candidate[];
  /** After the newcomer is in. */
  readonly freeLeft: Bytes;
  readonly totalBytes: Bytes;
}

/** Largest difference in size between devices of one tensor-parallel group. */
export const HOMOGENEITY = 0.05;

/** Groups whose offers share victims are compared one by one: so many at most. */
const MAX_GROUPS = 128;

/** One victim may stand in several offers and counts once. */
function tollOf(group: readonly Offer[]): Toll {
  const toll = { young: 0, victims: 0, busiest: 0, latest: 0, loss: 0, free: 0 };
  for (const [index, offer] of group.entries()) {
    toll.free += offer.freeLeft;
    for (const victim of offer.victims) {
      if (isIn(group, index, victim.id)) continue;
      toll.victims += 1;
      toll.young += Number(victim.young);
      toll.busiest = Math.max(toll.busiest, victim.busy);
      toll.latest = Math.max(toll.latest, victim.idleSince);
      toll.loss += victim.loss;
    }
  }
  return toll;
}

/** Is it a victim of one of the first so many offers? */
function isIn(group: readonly Offer[], count: number, id: string): boolean {
  for (let index = 0; index < count; index += 1) {
    for (const victim of group[index]?.victims ?? []) if (victim.id === id) return true;
  }
  return false;
}

interface Group<T extends Offer = Offer> {
  readonly offers: readonly T[];
  readonly toll: Toll;
}

const asGroup = <T extends Offer>(offers: readonly T[]): Group<T> => ({ offers, toll: tollOf(offers) });

/** Better groups first; of equal ones the one whose devices come first by name. */
function compareGroups(one: Group, other: Group, policy: EvictionPolicy): number {
  for (const { of } of policy.criteria) {
    const difference = of(one.toll) - of(other.toll);
    if (difference !== 0) return difference;
  }
  const [ours, theirs] = [namesOf(one), namesOf(other)];
  return ours === theirs ? 0 : ours < theirs ? -1 : 1;
}

const namesOf = ({ offers }: Group): string =>
  offers
    .map((offer) => offer.deviceId)
    .toSorted()
    .join(' ');

/** True when `count` of these are about equal in size. */
export function hasGroup<T extends { readonly totalBytes: Bytes }>(devices: readonly T[], count: number): boolean {
  if (count <= 1) return devices.length >= count;
  const sizes = devices.map((device) => device.totalBytes).toSorted((one, other) => one - other);
  // Among equals in order, the smallest and the largest of a group stand `count - 1` apart.
  return sizes.some((smallest, index) => {
    const largest = sizes[index + count - 1];
    return largest !== undefined && smallest >= largest * (1 - HOMOGENEITY);
  });
}

/** `count` devices of about equal size, the best such group; undefined when there is none. */
export function chooseDevices<T extends Offer>(
  offers: readonly T[],
  count: number,
  policy: EvictionPolicy,
): readonly T[] | undefined {
  if (offers.length < count) return undefined;
  if (count === 1) return bestOfIndependent(offers, 1, policy);
  let best: Group<T> | undefined;
  let left = MAX_GROUPS;
  for (const members of homogeneousSets(offers)) {
    if (members.length < count) continue;
    const groups = groupCount(members.length, count);
    const oneByOne = groups <= left && sharesVictims(members);
    if (oneByOne) left -= groups;
    const found = oneByOne ? combinations(members, count) : [bestOfIndependent(members, count, policy)];
    for (const offered of found) {
      const group = asGroup(offered);
      if (!best || compareGroups(group, best, policy) < 0) best = group;
    }
  }
  return best?.offers;
}

/** The largest sets of devices of about equal size: every homogeneous group lies within one of them. */
function* homogeneousSets<T extends Offer>(offers: readonly T[]): Generator<readonly T[]> {
  const bySize = offers.toSorted((one, other) => other.totalBytes - one.totalBytes);
  let covered = 0;
  for (const [first, { totalBytes }] of bySize.entries()) {
    let end = Math.max(first + 1, covered);
    while (end < bySize.length && (bySize[end]?.totalBytes ?? 0) >= totalBytes * (1 - HOMOGENEITY)) end += 1;
    if (end > covered) yield bySize.slice(first, end);
    covered = end;
  }
}

function sharesVictims(offers: readonly Offer[]): boolean {
  const seen = new Set<string>();
  for (const { victims } of offers) {
    for (const { id } of victims) {
      if (seen.has(id)) return true;
      seen.add(id);
    }
  }
  return false;
}

/**
 * The best `count` offers when no victim stands in two of them, criterion by criterion. A sum is least with the least of
 * its terms: what is below the last of these is in, what equals it stays in question. A maximum rules out what exceeds it.
 */
function bestOfIndependent<T extends Offer>(offers: readonly T[], count: number, policy: EvictionPolicy): readonly T[] {
  let open = offers.map((offer) => ({ offer, toll: tollOf([offer]) }));
  const chosen: typeof open = [];
  for (const criterion of policy.criteria) {
    const wanted = count - chosen.length;
    if (open.length <= wanted) break;
    const worst = worstNeeded(open, chosen, wanted, criterion);
    const value = ({ toll }: (typeof open)[number]): number => criterion.of(toll);
    if (criterion.fold === 'sum') chosen.push(...open.filter((it) => value(it) < worst));
    open = open.filter((it) => (criterion.fold === 'sum' ? value(it) === worst : value(it) <= worst));
  }
  const rest = open.toSorted((one, other) => (one.offer.deviceId < other.offer.deviceId ? -1 : 1));
  return [...chosen, ...rest.slice(0, count - chosen.length)].map(({ offer }) => offer);
}

function worstNeeded(
  open: readonly { readonly toll: Toll }[],
  chosen: readonly { readonly toll: Toll }[],
  wanted: number,
  { fold, of }: Criterion,
): number {
  const values = open.map(({ toll }) => of(toll)).toSorted((one, other) => one - other);
  const last = values[wanted - 1] ?? 0;
  return fold === 'sum' ? last : Math.max(last, ...chosen.map(({ toll }) => of(toll)));
}

function groupCount(from: number, count: number): number {
  let groups = 1;
  for (let index = 1; index <= count; index += 1) groups = (groups * (from - count + index)) / index;
  return groups;
}

/** All groups of so many, one after the other. */
function* combinations<T>(list: readonly T[], count: number): Generator<readonly T[]> {
  const at = Array.from({ length: count }, (_, index) => index);
  for (;;) {
    yield at.flatMap((index) => list.slice(index, index + 1));
    let place = count - 1;
    while (place >= 0 && at[place] === list.length - count + place) place -= 1;
    if (place < 0) return;
    let next = (at[place] ?? 0) + 1;
    for (; place < count; place += 1, next += 1) at[place] = next;
  }
}
