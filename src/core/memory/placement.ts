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
const MAX_GROUPS = 500;

/** One victim may stand in several offers and counts once. */
export function tollOf(group: readonly Offer[]): Toll {
  const seen = new Set<string>();
  const toll = { young: 0, victims: 0, busiest: 0, latest: 0, loss: 0, free: 0 };
  for (const offer of group) {
    toll.free += offer.freeLeft;
    for (const victim of offer.victims) {
      if (seen.has(victim.id)) continue;
      seen.add(victim.id);
      toll.victims += 1;
      toll.young += Number(victim.young);
      toll.busiest = Math.max(toll.busiest, victim.busy);
      toll.latest = Math.max(toll.latest, victim.idleSince);
      toll.loss += victim.loss;
    }
  }
  return toll;
}

/** Better groups first; of equal ones the one whose devices come first by name. */
export function compareGroups(one: readonly Offer[], other: readonly Offer[], policy: EvictionPolicy): number {
  const [ours, theirs] = [tollOf(one), tollOf(other)];
  for (const { of } of policy.criteria) {
    const difference = of(ours) - of(theirs);
    if (difference !== 0) return difference;
  }
  return compareIds(one, other);
}

function compareIds(one: readonly Offer[], other: readonly Offer[]): number {
  const ids = (group: readonly Offer[]): string =>
    group
      .map((offer) => offer.deviceId)
      .toSorted()
      .join(' ');
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
  const sizes = devices.map((device) => device.totalBytes).toSorted((one, other) => one - other);
  // Among equals in order, the smallest and the largest of a group stand `count - 1` apart.
  return sizes.some((smallest, index) => {
    const largest = sizes[index + count - 1];
    return largest !== undefined && smallest >= largest * (1 - HOMOGENEITY);
  });
}

/** `count` devices of about equal size, the best such group; undefined when there is none. */
export function chooseDevices(
  offers: readonly Offer[],
  count: number,
  policy: EvictionPolicy,
): readonly Offer[] | undefined {
  if (offers.length < count) return undefined;
  if (count === 1) return bestOfIndependent(offers, 1, policy);
  let best: readonly Offer[] | undefined;
  let budget = MAX_GROUPS;
  const seen = new Set<Bytes>();
  for (const anchor of offers.toSorted((one, other) => compareGroups([one], [other], policy))) {
    if (seen.has(anchor.totalBytes)) continue;
    seen.add(anchor.totalBytes);
    const members = homogeneousWith(offers, anchor);
    if (members.length < count) continue;
    const groups = groupCount(members.length, count);
    const oneByOne = sharesVictims(members) && groups <= budget;
    if (oneByOne) budget -= groups;
    const found = oneByOne ? combinations(members, count) : [bestOfIndependent(members, count, policy)];
    for (const group of found) if (!best || compareGroups(group, best, policy) < 0) best = group;
  }
  return best;
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
function bestOfIndependent(offers: readonly Offer[], count: number, policy: EvictionPolicy): readonly Offer[] {
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
