import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isoTimes } from './iso-time.ts';

it('tells every moment as Date does, whichever came before it', () => {
  const iso = isoTimes();
  const moments = fc.integer({ min: Date.UTC(1970), max: Date.UTC(9999) });
  const near = fc.tuple(moments, fc.array(fc.integer({ min: -2_500, max: 2_500 }), { maxLength: 10 }));
  fc.assert(
    fc.property(near, fc.double({ min: 0, max: 0.999, noNaN: true }), ([moment, steps], fraction) => {
      for (const wall of [moment, ...steps.map((step) => Math.abs(moment + step))]) {
        expect(iso(wall + fraction)).toBe(new Date(wall + fraction).toISOString());
      }
    }),
  );
});
