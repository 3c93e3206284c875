/** A clock that moves only when told. Timers due at the same instant run in the order in which they were armed. */
import type { Clock } from '../../src/platform/platform.ts';
import { TIMER_MAX, type Milliseconds } from '../../src/units.ts';

interface Timer {
  readonly at: Milliseconds;
  readonly order: number;
  run: (() => void) | null;
}

/** Wall time at monotonic zero: 2026-01-01T00:00:00Z. */
const EPOCH: Milliseconds = 1_767_225_600_000;

export class VirtualClock implements Clock {
  #now: Milliseconds;
  #wallOffset: Milliseconds;
  #order = 0;
  #armed = 0;
  readonly #heap: Timer[] = [];

  constructor(start: Milliseconds = 0, wallAtStart: Milliseconds = EPOCH) {
    this.#now = start;
    this.#wallOffset = wallAtStart - start;
  }

  monotonic(): Milliseconds {
    return this.#now;
  }

  wall(): Milliseconds {
    return this.#now + this.#wallOffset;
  }

  /** What an operator or NTP may do to the wall clock; monotonic time is untouched. */
  jumpWall(by: Milliseconds): void {
    this.#wallOffset += by;
  }

  after(delay: Milliseconds, run: () => void): Disposable {
    const wait = Number.isNaN(delay) ? 0 : Math.min(Math.max(delay, 0), TIMER_MAX);
    const timer: Timer = { at: this.#now + wait, order: this.#order++, run };
    this.#armed += 1;
    this.#push(timer);
    return {
      [Symbol.dispose]: () => {
        if (timer.run === null) return;
        timer.run = null;
        this.#armed -= 1;
      },
    };
  }

  afterReads(run: () => void): void {
    queueMicrotask(run);
  }

  sleep(delay: Milliseconds, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
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

  /** Timers that are armed and not cancelled. */
  get pending(): number {
    return this.#armed;
  }

  /** When the next timer is due; undefined when none is armed. */
  get nextAt(): Milliseconds | undefined {
    this.#dropCancelled();
    return this.#heap[0]?.at;
  }

  /** Jumps to the next timer and runs it. False when none is armed. */
  runNext(): boolean {
    this.#dropCancelled();
    const timer = this.#heap[0];
    if (timer === undefined) return false;
    this.#pop();
    const run = timer.run;
    timer.run = null;
    this.#armed -= 1;
    this.#now = Math.max(this.#now, timer.at);
    run?.();
    return true;
  }

  /** Runs everything that falls due within `span`, timers armed meanwhile included, then stands at its end. */
  advance(span: Milliseconds): void {
    const end = this.#now + span;
    for (let next = this.nextAt; next !== undefined && next <= end; next = this.nextAt) this.runNext();
    this.#now = Math.max(this.#now, end);
  }

  /** As `advance`, but promise chains run to rest before the first timer and after each. */
  async advanceAsync(span: Milliseconds): Promise<void> {
    const end = this.#now + span;
    await settle();
    for (let next = this.nextAt; next !== undefined && next <= end; next = this.nextAt) {
      this.runNext();
      await settle();
    }
    this.#now = Math.max(this.#now, end);
  }

  /** Runs timers until `done` holds; throws after `limit` of virtual time, or when nothing is left to run. */
  async runUntil(done: () => boolean, limit: Milliseconds = 3_600_000): Promise<void> {
    const end = this.#now + limit;
    await settle();
    while (!done()) {
      const next = this.nextAt;
      if (next === undefined) throw new Error('the condition does not hold and no timer is armed');
      if (next > end) throw new Error(`the condition did not hold within ${limit} ms`);
      this.runNext();
      await settle();
    }
  }

  #dropCancelled(): void {
    while (this.#heap.length > 0 && this.#heap[0]?.run === null) this.#pop();
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(timer);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !before(timer, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      let below = heap[child];
      if (below === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && before(right, below)) {
        child += 1;
        below = right;
      }
      if (!before(below, last)) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
  }
}

function before(one: Timer, other: Timer): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order);
}

/** Lets every promise chain that needs no timer and no IO run to its end. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
