import { describe, expect, it } from 'vitest';
import { Fifo } from './fifo.ts';

describe('first in, first out', () => {
  it('holds for any mixture of pushes and shifts', () => {
    const fifo = new Fifo<number>();
    let pushed = 0;
    let taken = 0;
    for (let round = 0; round < 2_000; round += 1) {
      fifo.push(Array.from({ length: (round * 7) % 11 }, () => pushed++));
      for (let count = (round * 5) % 9; count > 0 && taken < pushed; count -= 1) expect(fifo.shift()).toBe(taken++);
    }
    while (taken < pushed) expect(fifo.shift()).toBe(taken++);
    expect(fifo.shift()).toBeUndefined();
  });

  it('takes more at once than a call may have arguments', () => {
    const fifo = new Fifo<number>();
    fifo.push(Array.from({ length: 300_000 }, (_, index) => index));
    for (let index = 0; index < 300_000; index += 1) if (fifo.shift() !== index) throw new Error(`lost ${index}`);
    expect(fifo.shift()).toBeUndefined();
  });
});
