/** Keeps a waiting stream alive: when the next heartbeat is due, and what it looks like. */
import type { Gate } from '../controller/gate.ts';
import type { Milliseconds } from '../units.ts';
import type { StreamDialect } from './endpoints.ts';
import type { ProxyModel } from './settings.ts';
import { startComment } from './start-comment.ts';
import { heartbeat } from './stream-events.ts';

export class Heartbeats {
  private readonly dialect: StreamDialect;
  private readonly keepalive: ProxyModel['keepalive'];
  private dueAt: Milliseconds;

  /** @param since when the wait began, on the monotonic clock */
  constructor(dialect: StreamDialect, keepalive: ProxyModel['keepalive'], since: Milliseconds) {
    this.dialect = dialect;
    this.keepalive = keepalive;
    this.dueAt = since + keepalive.after;
  }

  /**
   * Null: none is due. Where comments are the heartbeat, one says how far the start of the model is.
   *
   * @param gate who knows it; null when it is not waited for any more
   */
  next(now: Milliseconds, gate: Pick<Gate, 'comingStart'> | null, model: string): Buffer | null {
    if (now < this.dueAt) return null;
    const { every } = this.keepalive;
    this.dueAt = every > 0 ? now + every : Number.POSITIVE_INFINITY;
    const coming = this.dialect === 'messages' ? null : (gate?.comingStart(model) ?? null);
    return coming === null ? heartbeat(this.dialect) : Buffer.from(startComment(model, coming));
  }
}
