import { TIMER_MAX, type Milliseconds } from '../units.ts';
import type { Clock, Random } from './platform.ts';
import { randomBytes } from 'node:crypto';

export const systemClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  after,
  afterReads: (run) => void setImmediate(run),
  sleep(delay, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const aborted = (): void => {
        timer[Symbol.dispose]();
        reject(signal?.reason as Error);
      };
      const timer = after(delay, () => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      });
      signal?.addEventListener('abort', aborted, { once: true });
    });
  },
};

function after(delay: Milliseconds, run: () => void): Disposable {
  const timer = setTimeout(run, Number.isNaN(delay) ? 0 : Math.min(Math.max(delay, 0), TIMER_MAX));
  timer.unref();
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer);
    },
  };
}

export const systemRandom: Random = {
  next: () => Math.random(),
  hex: (length) =>
    randomBytes(Math.ceil(length / 2))
      .toString('hex')
      .slice(0, length),
};
