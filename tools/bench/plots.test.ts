import { describe, expect, it } from 'vitest';
import { plotOf, ticksOf } from './plots.ts';

describe('a plot', () => {
  it('has ticks that enclose what it shows', () => {
    expect(ticksOf(0.3, 7)).toEqual([0.2, 0.5, 1, 2, 5, 10]);
    expect(ticksOf(1, 1)).toEqual([1]);
  });

  it('draws twice as much as far on the right everywhere, and escapes names', () => {
    const groups = [1, 2, 4].map((value) => ({ label: `a < b ${value}`, bars: [{ name: 'one', value }] }));
    const svg = plotOf({ title: 'A "plot"', unit: 'µs', names: ['one'], groups });
    const [first = 0, second = 0, third = 0] = [...svg.matchAll(/width="([\d.]+)" height="11"/g)].map((match) =>
      Number(match[1]),
    );
    expect(third - second).toBeGreaterThan(50);
    expect(Math.abs(third - second - (second - Math.min(first, second)))).toBeLessThan(2);
    expect(svg).toContain('a &lt; b 1');
    expect(svg).toContain('aria-label="A &quot;plot&quot;"');
    expect(svg).not.toContain('NaN');
  });
});
