/** One coarse timer for all deadlines of all exchanges, instead of one per request and per chunk. Runs only while somebody is on it. */
import type { Clock } from '../platform/platform.ts';
import type { Milliseconds } from '../units.ts';
import { TICK } from './limits.ts';

export interface Ticking {
  tick(now: Milliseconds): void;
}

export class Ticker {
  private readonly clock: Clock;
  private readonly all = new Set<Ticking>();
  private timer: Disposable | null = null;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  get size(): number {
    return this.all.size;
  }

  add(ticking: Ticking): void {
    this.all.add(ticking);
    this.timer ??= this.clock.after(TICK, this.run);
  }

  delete(ticking: Ticking): void {
    this.all.delete(ticking);
  }

  private readonly run = (): void => {
    this.timer = null;
    const now = this.clock.monotonic();
    for (const ticking of this.all) ticking.tick(now);
    if (this.all.size > 0) this.timer = this.clock.after(TICK, this.run);
  };

  stop(): void {
    this.timer?.[Symbol.dispose]();
    this.timer = null;
    this.all.clear();
  }
}
