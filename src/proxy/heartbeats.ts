/** Keeps a waiting stream alive: when the next heartbeat is due, and what it looks like. */
import type { Milliseconds } from '../units.ts';
import type { StreamDialect } from './endpoints.ts';
import type { ProxyModel } from './settings.ts';
import { heartbeat } from './stream-events.ts';

export class Heartbeats {
  private readonly piece: Buffer;
  private readonly keepalive: ProxyModel['keepalive'];
  private dueAt: Milliseconds;

  /** @param since when the wait began, on the monotonic clock */
  constructor(dialect: StreamDialect, keepalive: ProxyModel['keepalive'], since: Milliseconds) {
    this.piece = heartbeat(dialect);
    this.keepalive = keepalive;
    this.dueAt = since + keepalive.after;
  }

  /** Null: none is due. */
  next(now: Milliseconds): Buffer | null {
    if (now < this.dueAt) return null;
    const { every } = this.keepalive;
    this.dueAt = every > 0 ? now + every : Number.POSITIVE_INFINITY;
    return this.piece;
  }
}
