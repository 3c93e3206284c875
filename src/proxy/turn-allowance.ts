/**
 * How much of all bodies together is looked at in one turn of the event loop. A fast client can hand over megabytes in one
 * turn, and so can many slow ones: whoever comes when it is spent waits for one of the next turns, in order, and everybody
 * else's work runs in between.
 */
import type { Clock } from '../platform/platform.ts';
import type { Bytes } from '../units.ts';

export class TurnAllowance {
  private readonly clock: Clock;
  private readonly limit: Bytes;
  private spent: Bytes = 0;
  private armed = false;
  private waiting: (() => void)[] = [];

  constructor(clock: Clock, limit: Bytes) {
    this.clock = clock;
    this.limit = limit;
  }

  /** Nothing more is to be looked at in this turn. */
  get isSpent(): boolean {
    return this.spent >= this.limit;
  }

  spend(bytes: Bytes): void {
    this.spent += bytes;
    this.arm();
  }

  /** Runs `run` once, in the first turn that has something left for it. */
  later(run: () => void): void {
    this.waiting.push(run);
    this.arm();
  }

  private arm(): void {
    if (this.armed) return;
    this.armed = true;
    this.clock.afterReads(this.nextTurn);
  }

  private readonly nextTurn = (): void => {
    this.armed = false;
    this.spent = 0;
    const due = this.waiting;
    this.waiting = [];
    let index = 0;
    for (; index < due.length && !this.isSpent; index++) due[index]?.();
    // Those that came meanwhile stand behind.
    if (index < due.length) this.waiting = [...due.slice(index), ...this.waiting];
    if (this.waiting.length > 0) this.arm();
  };
}
