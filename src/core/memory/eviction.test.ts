import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byPolicy, chooseVictims, type Candidate } from './eviction.ts';

const candidate = (id: string, bytes: number, idleSince: number, young = false): Candidate => ({
  id,
  bytes,
  idleSince,
  young,
});
const ids = (victims: readonly Candidate[] | undefined): string[] | undefined => victims?.map((victim) => victim.id);

describe('victims on one device, in the cases of the original', () => {
  it('1: nobody leaves for one that fits already', () => {
    expect(chooseVictims([candidate('a', 8_000, 1)], 0)).toEqual([]);
    expect(chooseVictims([candidate('a', 8_000, 1)], -5)).toEqual([]);
  });

  it('2: of three equals only the least recently used leaves', () => {
    const three = [candidate('b', 8_000, 20), candidate('a', 8_000, 10), candidate('c', 8_000, 30)];
    expect(ids(chooseVictims(three, 8_000))).toEqual(['a']);
  });

  it('5: a young one leaves when there is no other', () => {
    expect(ids(chooseVictims([candidate('a', 20_000, 1, true)], 8_000))).toEqual(['a']);
  });

  it('6: with old ones at hand the young one stays, and the oldest used leaves', () => {
    const some = [candidate('young', 8_000, 1, true), candidate('late', 8_000, 50), candidate('early', 8_000, 40)];
    expect(ids(chooseVictims(some, 8_000))).toEqual(['early']);
  });

  it('7: nobody leaves for one that would not fit anyway', () => {
    expect(chooseVictims([candidate('a', 4_000, 1)], 8_000)).toBeUndefined();
    expect(chooseVictims([], 1)).toBeUndefined();
  });

  it('spares those that turn out not to be needed', () => {
    const some = [candidate('small', 2_000, 1), candidate('middle', 4_000, 2), candidate('large', 16_000, 3)];
    expect(ids(chooseVictims(some, 16_000))).toEqual(['large']);
  });
});

/** Among all sets that suffice, the one that spares the least willing most: a number whose highest bits are the least willing. */
export function bruteForceVictims(candidates: readonly Candidate[], missing: number): string[] | undefined {
  const ranked = candidates.toSorted(byPolicy);
  for (let set = 0; set < 2 ** ranked.length; set += 1) {
    const chosen = ranked.filter((_, index) => (set >> index) % 2 === 1);
    if (chosen.reduce((sum, victim) => sum + victim.bytes, 0) >= missing) return chosen.map((victim) => victim.id);
  }
  return undefined;
}

describe('chooseVictims', () => {
  it('agrees with a search of all sets: the least willing stay, and nobody leaves in vain', () => {
    const residents = fc.array(
      fc.record({ bytes: fc.integer({ min: 1, max: 12 }), idleSince: fc.nat(8), young: fc.boolean() }),
      { maxLength: 7 },
    );
    fc.assert(
      fc.property(residents, fc.integer({ min: -2, max: 40 }), (list, missing) => {
        const candidates = list.map((it, index) => ({ ...it, id: `r${index}` }));
        const chosen = chooseVictims(candidates, missing);
        expect(ids(chosen)?.toSorted()).toEqual(bruteForceVictims(candidates, Math.max(0, missing))?.toSorted());
      }),
      { numRuns: 2_000 },
    );
  });
});
