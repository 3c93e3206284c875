import { describe, expect, it } from 'vitest';
import { systemClock } from '../platform/clock.ts';
import type { Clock } from '../platform/platform.ts';
import { TurnAllowance } from './turn-allowance.ts';

/** A clock whose turns end when the test says so. */
function turningClock(): Clock & { turn(): void; readonly armed: number } {
  let due: (() => void)[] = [];
  return {
    ...systemClock,
    afterReads: (run) => void due.push(run),
    turn() {
      const now = due;
      due = [];
      for (const run of now) run();
    },
    get armed() {
      return due.length;
    },
  };
}

describe('what one turn of the loop looks at', () => {
  it('is spent, and is there again in the next turn', () => {
    const clock = turningClock();
    const turns = new TurnAllowance(clock, 100);
    turns.spend(60);
    expect(turns.isSpent).toBe(false);
    turns.spend(60);
    expect(turns.isSpent).toBe(true);
    expect(clock.armed).toBe(1);
    clock.turn();
    expect(turns.isSpent).toBe(false);
    expect(clock.armed).toBe(0);
  });

  it('goes to those that wait in their order, as many in a turn as it is enough for', () => {
    const clock = turningClock();
    const turns = new TurnAllowance(clock, 100);
    const looked: string[] = [];
    const wait = (name: string, again: boolean): void => {
      turns.later(() => {
        looked.push(name);
        turns.spend(60);
        if (again) wait(name, false);
      });
    };
    turns.spend(100);
    for (const name of ['a', 'b', 'c', 'd', 'e']) wait(name, name === 'a');
    const perTurn: string[] = [];
    while (clock.armed > 0) {
      clock.turn();
      perTurn.push(looked.splice(0).join(''));
    }
    expect(perTurn).toEqual(['ab', 'cd', 'ea', '']);
  });
});
