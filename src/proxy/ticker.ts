/** One coarse timer for all deadlines of all exchanges, instead of one per request and per chunk. Runs only while somebody is on it. */
import type { Clock } from '../platform/platform.ts';
import { Slots } from '../platform/slots.ts';
import type { Milliseconds } from '../units.ts';
import { LATE, TICK } from './limits.ts';

export interface Ticking {
  tick(now: Milliseconds): void;
}

export class Ticker {
  private readonly clock: Clock;
  private readonly all = new Slots<Ticking>();
  /** The last tick came too late to judge anybody; the next one does, however late. */
  private excused = false;
  private timer: Disposable | null = null;
  private dueAt: Milliseconds = 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  get size(): number {
    return this.all.size;
  }

  /** What delete() has to be told, once. */
  add(ticking: Ticking): number {
    const place = this.all.add(ticking);
    if (this.timer === null) this.arm();
    return place;
  }

  delete(place: number): void {
    this.all.delete(place);
  }

  private readonly run = (): void => {
    const now = this.clock.monotonic();
    // Nobody could do anything meanwhile, and what has arrived was not read yet: judged at the next tick.
    const stoodStill = now - this.dueAt > LATE && !this.excused;
    this.excused = stoodStill;
    this.timer = null;
    if (!stoodStill) for (const ticking of this.all.values()) ticking.tick(now);
    if (this.all.size > 0) this.arm();
  };

  private arm(): void {
    this.dueAt = this.clock.monotonic() + TICK;
    this.timer = this.clock.after(TICK, this.run);
  }

  stop(): void {
    this.timer?.[Symbol.dispose]();
    this.timer = null;
  }
}
