/** The time of a world in which a whole gateway runs: what is due at one moment runs in an order that is drawn. */
import type { Clock } from '../../../src/platform/platform.ts';
import { TIMER_MAX, type Milliseconds } from '../../../src/units.ts';
import { Agenda } from '../agenda.ts';
import type { Random } from '../random.ts';

/** Wall time at monotonic zero: 2026-01-01T00:00:00Z. */
const EPOCH: Milliseconds = 1_767_225_600_000;

export class Time {
  now: Milliseconds = 0;
  events = 0;
  readonly #agenda = new Agenda();
  readonly #order: Random;

  constructor(order: Random) {
    this.#order = order;
  }

  /** In whole milliseconds, never before its time. */
  after(delay: Milliseconds, act: () => void): void {
    this.#agenda.add(Math.ceil(this.now + Math.max(0, delay)), this.#order.next(), act);
  }

  nextAt(): Milliseconds | undefined {
    return this.#agenda.nextAt();
  }

  /** Runs the next one, and everything that follows from it without time or lines. False when nothing is to come. */
  async next(): Promise<boolean> {
    const at = this.#agenda.nextAt();
    if (at === undefined) return false;
    const act = this.#agenda.take();
    this.now = Math.max(this.now, at);
    this.events += 1;
    act?.();
    await settled();
    return true;
  }
}

/** Every chain of promises and ticks that waits for nothing outside has run to its end. */
export function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** The clock of one process. When the process is gone none of its timers runs. */
export class ProcessClock implements Clock {
  dead = false;
  /** Timers that are armed: to be told from a baseline. */
  armed = 0;
  readonly #time: Time;

  constructor(time: Time) {
    this.#time = time;
  }

  monotonic(): Milliseconds {
    return this.#time.now;
  }

  wall(): Milliseconds {
    return EPOCH + this.#time.now;
  }

  after(delay: Milliseconds, run: () => void): Disposable {
    const wait = Number.isNaN(delay) ? 0 : Math.min(Math.max(delay, 0), TIMER_MAX);
    let pending = true;
    const leave = (): boolean => {
      if (!pending) return false;
      pending = false;
      this.armed -= 1;
      return true;
    };
    this.armed += 1;
    this.#time.after(wait, () => {
      if (leave() && !this.dead) run();
    });
    return {
      [Symbol.dispose]: () => {
        leave();
      },
    };
  }

  afterReads(run: () => void): void {
    this.#time.after(0, () => {
      if (!this.dead) run();
    });
  }

  sleep(delay: Milliseconds, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const aborted = (): void => {
        timer[Symbol.dispose]();
        reject(signal?.reason as Error);
      };
      const timer = this.after(delay, () => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      });
      signal?.addEventListener('abort', aborted, { once: true });
    });
  }
}
