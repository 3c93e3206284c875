import { describe, expect, it } from 'vitest';
import { VirtualClock } from './virtual-clock.ts';

describe('virtual clock', () => {
  it('runs timers in time order, and in arming order at the same instant', () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    clock.after(20, () => seen.push('late'));
    clock.after(10, () => seen.push('first'));
    clock.after(10, () => seen.push('second'));
    clock.advance(15);
    expect(seen).toEqual(['first', 'second']);
    expect(clock.monotonic()).toBe(15);
    clock.advance(5);
    expect(seen).toEqual(['first', 'second', 'late']);
  });

  it('runs timers that were armed while advancing, when they fall within the span', () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    const tick = (): void => {
      seen.push(clock.monotonic());
      clock.after(10, tick);
    };
    clock.after(10, tick);
    clock.advance(35);
    expect(seen).toEqual([10, 20, 30]);
    expect(clock.pending).toBe(1);
  });

  it('keeps order over thousands of timers armed and cancelled at random places', () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    for (let index = 0; index < 5_000; index += 1) {
      const at = (index * 7_919) % 1_000;
      const timer = clock.after(at, () => seen.push(at));
      if (index % 3 === 0) timer[Symbol.dispose]();
    }
    clock.advance(1_000);
    expect(seen).toHaveLength(3_333);
    expect(seen).toEqual(seen.toSorted((one, other) => one - other));
    expect(clock.pending).toBe(0);
  });

  it('rejects a sleep with the reason of its signal and disarms the timer', async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const slept = clock.sleep(1_000, controller.signal);
    controller.abort(new Error('enough'));
    await expect(slept).rejects.toThrow('enough');
    expect(clock.pending).toBe(0);
  });

  it('lets promise chains run between timers', async () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    const work = async (): Promise<void> => {
      for (let round = 0; round < 3; round += 1) {
        await clock.sleep(10);
        seen.push(clock.monotonic());
      }
    };
    const done = work();
    await clock.advanceAsync(100);
    await done;
    expect(seen).toEqual([10, 20, 30]);
  });

  it('says so when a condition can no longer come true', async () => {
    const clock = new VirtualClock();
    await expect(clock.runUntil(() => false)).rejects.toThrow('no timer is armed');
  });
});
