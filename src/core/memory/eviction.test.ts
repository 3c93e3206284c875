import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addResident,
  device,
  fleetOf,
  footprintOf,
  modelNamed,
  modelOn,
} from '../../../test/support/resident-fleet.ts';
import { GIB } from '../../units.ts';
import { chooseVictims, EVICTION_POLICIES, lossOf, type Candidate, type EvictionPolicy } from './eviction.ts';

const { lru, value } = EVICTION_POLICIES;

const candidate = (id: string, bytes: number, idleSince: number, over: Partial<Candidate> = {}): Candidate => ({
  id,
  bytes,
  idleSince,
  young: false,
  busy: 0,
  loss: 1,
  ...over,
});
const ids = (victims: readonly Candidate[] | undefined): string[] | undefined => victims?.map((victim) => victim.id);

describe('victims on one device, in the cases of the original', () => {
  it('1: nobody leaves for one that fits already [items 104, 146]', () => {
    expect(chooseVictims([candidate('a', 8_000, 1)], 0, lru)).toEqual([]);
    expect(chooseVictims([candidate('a', 8_000, 1)], -5, lru)).toEqual([]);
  });

  it('2: of three equals only the least recently used leaves [items 104, 146]', () => {
    const three = [candidate('b', 8_000, 20), candidate('a', 8_000, 10), candidate('c', 8_000, 30)];
    expect(ids(chooseVictims(three, 8_000, lru))).toEqual(['a']);
  });

  it('5: a young one leaves when there is no other [items 105, 146]', () => {
    expect(ids(chooseVictims([candidate('a', 20_000, 1, { young: true })], 8_000, lru))).toEqual(['a']);
  });

  it('6: with old ones at hand the young one stays, and the oldest used leaves [items 105, 146]', () => {
    const young = candidate('young', 8_000, 1, { young: true });
    const some = [young, candidate('late', 8_000, 50), candidate('early', 8_000, 40)];
    expect(ids(chooseVictims(some, 8_000, lru))).toEqual(['early']);
  });

  it('7: nobody leaves for one that would not fit anyway [items 104, 106, 146]', () => {
    expect(chooseVictims([candidate('a', 4_000, 1)], 8_000, lru)).toBeUndefined();
    expect(chooseVictims([], 1, lru)).toBeUndefined();
  });

  it('spares those that turn out not to be needed', () => {
    const some = [candidate('small', 2_000, 1), candidate('middle', 4_000, 2), candidate('large', 16_000, 3)];
    expect(ids(chooseVictims(some, 16_000, lru))).toEqual(['large']);
  });
});

describe('victims by value', () => {
  it('are those whose leaving costs least for each byte that it frees', () => {
    const some = [
      candidate('dear', 8_000, 1, { loss: 900 }),
      candidate('cheap', 8_000, 2, { loss: 100 }),
      candidate('large', 16_000, 3, { loss: 400 }),
    ];
    expect(ids(chooseVictims(some, 8_000, value))).toEqual(['cheap']);
    expect(ids(chooseVictims(some, 24_000, value))).toEqual(['cheap', 'large']);
    expect(ids(chooseVictims(some, 8_000, lru))).toEqual(['dear']);
  });

  it('are young only when old ones do not suffice [item 105]', () => {
    const some = [candidate('old', 8_000, 1, { loss: 900 }), candidate('young', 8_000, 2, { loss: 1, young: true })];
    expect(ids(chooseVictims(some, 8_000, value))).toEqual(['old']);
  });
});

describe('what is lost when a replica leaves', () => {
  const NOW = 1_000_000;
  const state = fleetOf(
    [device('gpu-0', 24 * GIB)],
    ['a', 'b', 'c', 'd'].map((name) => modelOn(name, GIB, ['gpu-0'])),
  );
  const on = { 'gpu-0': 4 * GIB };

  it('is the time of its own start, by how long ago it was used', () => {
    const a = addResident(state, { model: 'a', on, launchedAt: 0, readyAt: 60_000, idleSince: NOW });
    expect(lossOf(state, a, NOW)).toBe(60_000_000);
    a.idleSince = NOW - 9_000;
    expect(lossOf(state, a, NOW)).toBe(6_000_000);
  });

  it('is told by the last measured start of an adopted one, else by its bytes', () => {
    const b = addResident(state, { model: 'b', on, launchedAt: 0, readyAt: 5, idleSince: NOW, adopted: true });
    expect(lossOf(state, b, NOW)).toBe(4_000_000);
    modelNamed(state, 'b').footprints = [footprintOf(modelNamed(state, 'b'), 4 * GIB, { startTime: 30_000 })];
    expect(lossOf(state, b, NOW)).toBe(30_000_000);
  });

  it('grows with the requests of its model', () => {
    const c = addResident(state, { model: 'c', on, launchedAt: 0, readyAt: 10_000, idleSince: 0, leases: 3 });
    expect(lossOf(state, c, NOW)).toBe(40_000_000);
  });
});

/** Among all sets that suffice, the one that spares the least willing most: a number whose highest bits are the least willing. */
function bruteForceVictims(
  candidates: readonly Candidate[],
  missing: number,
  policy: EvictionPolicy,
): string[] | undefined {
  const ranked = candidates.toSorted(policy.order);
  for (let set = 0; set < 2 ** ranked.length; set += 1) {
    const chosen = ranked.filter((_, index) => (set >> index) % 2 === 1);
    if (chosen.reduce((sum, victim) => sum + victim.bytes, 0) >= missing) return chosen.map((victim) => victim.id);
  }
  return undefined;
}

describe('chooseVictims', () => {
  it.each(['lru', 'value'] as const)(
    'agrees with a search of all sets, by %s: the least willing stay, and nobody leaves in vain [item 104]',
    (kind) => {
      const policy = EVICTION_POLICIES[kind];
      const residents = fc.array(
        fc.record({
          bytes: fc.integer({ min: 1, max: 12 }),
          idleSince: fc.nat(8),
          young: fc.boolean(),
          busy: fc.constantFrom(0, 0, 1, 3),
          loss: fc.nat(30),
        }),
        { maxLength: 7 },
      );
      fc.assert(
        fc.property(residents, fc.integer({ min: -2, max: 40 }), (list, missing) => {
          const candidates = list.map((it, index) => ({ ...it, id: `r${index}` }));
          const chosen = chooseVictims(candidates, missing, policy);
          const expected = bruteForceVictims(candidates, Math.max(0, missing), policy);
          expect(ids(chosen)?.toSorted()).toEqual(expected?.toSorted());
        }),
        { numRuns: 2_000 },
      );
    },
  );
});
