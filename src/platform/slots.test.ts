import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { MIB } from '../units.ts';
import { NamedSlots, Slots } from './slots.ts';

it('finds what was added by its place, and gives the place of what is gone to the next', () => {
  const slots = new Slots<{ readonly name: string }>();
  const [a, b, c] = [{ name: 'a' }, { name: 'b' }, { name: 'c' }];
  const first = slots.add(a);
  slots.add(b);
  expect(slots.delete(first)).toBe(true);
  expect([slots.delete(first), slots.get(first), slots.size]).toEqual([false, undefined, 1]);
  expect(slots.add(c)).toBe(first);
  expect([...slots.values()]).toEqual([c, b]);
});

it('lets things go while all are visited, and forgets a name once', () => {
  const named = new NamedSlots<{ readonly name: string }>();
  for (const name of ['a', 'b', 'c']) named.set(name, { name });
  for (const { name } of named.values()) expect(named.delete(name)).toBe(true);
  expect([named.size, named.has('a'), named.get('b'), named.delete('c'), [...named.values()]]).toEqual([
    ...[0, false, undefined, false, []],
  ]);
  named.set('d', { name: 'one' });
  named.set('d', { name: 'other' });
  expect([named.size, named.get('d')?.name, [...named.values()].length]).toEqual([1, 'other', 1]);
  named.clear();
  expect([named.size, [...named.values()]]).toEqual([0, []]);
});

it('keeps nothing of what is gone, though the table is old', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options?: { readonly type: 'minor' }) => void;
  const named = new NamedSlots<object>();
  const pass = (from: number, to: number): void => {
    for (let count = from; count < to; count += 1) {
      named.set(`item ${count}`, { text: new Array<number>(128).fill(count) });
      named.delete(`item ${count - 32}`);
    }
  };
  pass(0, 2_000);
  // Of everything: whatever is left is old.
  collect();
  const before = process.memoryUsage().heapUsed;
  pass(2_000, 22_000);
  // Of the young only, until none is young.
  for (let count = 0; count < 3; count += 1) collect({ type: 'minor' });
  // 20 000 items of 1 KiB went through; a Map keeps all of them here.
  expect((process.memoryUsage().heapUsed - before) / MIB).toBeLessThan(8);
});
