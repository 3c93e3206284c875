import { expect, it } from 'vitest';
import type { Clock } from '../platform/platform.ts';
import { Ticker } from './ticker.ts';

it('[F96] judges nobody at a tick that comes far too late, and everybody at the next one, however late', () => {
  let now = 0;
  const timer: { due: () => void } = { due: () => undefined };
  const clock: Pick<Clock, 'monotonic' | 'after'> = {
    monotonic: () => now,
    after: (_delay, run) => {
      timer.due = run;
      return { [Symbol.dispose]: () => undefined };
    },
  };
  const ticker = new Ticker(clock as Clock);
  const ticks: number[] = [];
  ticker.add({ tick: (at) => ticks.push(at) });
  for (const at of [250, 600, 9_000, 9_250, 9_500, 20_000, 40_000, 40_250]) {
    now = at;
    timer.due();
  }
  expect(ticks).toEqual([250, 600, 9_250, 9_500, 40_000, 40_250]);
  ticker.stop();
});
