import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KIB, MIB } from '../units.ts';
import { ChunkList } from './chunk-list.ts';

describe('a list of chunks', () => {
  it('gives back the bytes that came, whatever their sizes', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.nat(40), fc.nat(20_000)), { maxLength: 60 }), (sizes) => {
        const list = new ChunkList();
        const chunks = sizes.map((size, index) => Buffer.alloc(size, index));
        for (const chunk of chunks) list.add(chunk);
        expect(Buffer.concat(list.all()).equals(Buffer.concat(chunks))).toBe(true);
        list.clear();
        expect(list.all()).toEqual([]);
      }),
    );
  });

  it.each([
    ['single bytes', () => 1],
    ['single bytes between large chunks', (index: number) => (index % 2 === 0 ? 1 : 4 * KIB)],
    ['chunks a little below the size that is kept', () => 4 * KIB - 1],
  ])('takes little more memory than the bytes it holds: %s', (_name, sizeOf) => {
    const list = new ChunkList();
    let size = 0;
    for (let index = 0; size < MIB; index++) {
      const chunk = Buffer.allocUnsafeSlow(sizeOf(index));
      size += chunk.length;
      list.add(chunk);
    }
    const held = new Set(list.all().map((chunk) => chunk.buffer));
    const bytes = [...held].reduce((sum, buffer) => sum + buffer.byteLength, 0);
    expect(bytes).toBeLessThan(1.1 * size);
    expect(list.all().length).toBeLessThan(size / KIB);
  });
});
