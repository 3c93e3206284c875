import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ring } from './ring.ts';

type Command =
  | { readonly kind: 'add'; readonly value: number }
  | { readonly kind: 'addFirst'; readonly value: number }
  | { readonly kind: 'delete'; readonly value: number }
  | { readonly kind: 'insert'; readonly value: number; readonly before: number }
  | { readonly kind: 'rotate' };

const value = fc.integer({ min: 0, max: 12 });
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant('add' as const), value }),
  fc.record({ kind: fc.constant('addFirst' as const), value }),
  fc.record({ kind: fc.constant('delete' as const), value }),
  fc.record({ kind: fc.constant('insert' as const), value, before: value }),
  fc.constant({ kind: 'rotate' as const }),
);

function onArray(list: number[], it: Command): number[] {
  if (it.kind === 'rotate') return [...list.slice(1), ...list.slice(0, 1)];
  if (it.kind === 'delete') return list.filter((member) => member !== it.value);
  if (list.includes(it.value)) return list;
  if (it.kind === 'insert') {
    const { value, before } = it;
    const place = list.findIndex((member) => member > before);
    return place < 0 ? [...list, value] : list.toSpliced(place, 0, value);
  }
  return it.kind === 'add' ? [...list, it.value] : [it.value, ...list];
}

function onRing(ring: Ring<number>, it: Command): void {
  if (it.kind === 'rotate') ring.rotate();
  else if (it.kind === 'insert') insert(ring, it.value, it.before);
  else if (it.kind === 'delete') ring.delete(it.value);
  else ring[it.kind](it.value);
}

function insert(ring: Ring<number>, value: number, before: number): void {
  ring.insert(value, (member) => member > before);
}

describe('Ring', () => {
  it('behaves like an array without doubles, whatever is done to it', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        const ring = new Ring<number>();
        let list: number[] = [];
        for (const it of commands) {
          onRing(ring, it);
          list = onArray(list, it);
          expect([...ring]).toEqual(list);
          expect(ring.size).toBe(list.length);
          expect(ring.first()).toBe(list[0]);
        }
        for (let member = 0; member <= 12; member += 1) expect(ring.has(member)).toBe(list.includes(member));
      }),
    );
  });

  it('may lose the member at hand while it is walked', () => {
    const ring = new Ring<number>();
    for (let member = 0; member < 10; member += 1) ring.add(member);
    const seen: number[] = [];
    for (const member of ring) {
      seen.push(member);
      ring.delete(member);
    }
    expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(ring.size).toBe(0);
  });
});
