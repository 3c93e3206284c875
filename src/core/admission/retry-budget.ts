/**
 * Retries are bounded by what else goes on: over any ten seconds at most a fifth of all requests, but three per model in
 * any case, and a ticket that is alone in retrying its model always gets its configured attempts.
 */
import { SECOND, type Milliseconds } from '../../units.ts';

const BUCKETS = 10;
const BUCKET_SPAN: Milliseconds = SECOND;
export const RETRY_SHARE = 0.2;
export const RETRY_FLOOR = 3;

/** Sliding counts over the last ten seconds. */
export class RetryWindow {
  readonly #requests = new Array<number>(BUCKETS).fill(0);
  readonly #retries = new Array<number>(BUCKETS).fill(0);
  #bucket = 0;
  /** Who retried in this window: a ticket id, or `many`. */
  #who: string | null = null;
  requests = 0;
  retries = 0;

  countRequest(now: Milliseconds): void {
    this.#turn(now);
    const slot = this.#bucket % BUCKETS;
    this.#requests[slot] = (this.#requests[slot] ?? 0) + 1;
    this.requests += 1;
  }

  countRetry(now: Milliseconds, ticketId: string): void {
    this.#turn(now);
    const slot = this.#bucket % BUCKETS;
    this.#retries[slot] = (this.#retries[slot] ?? 0) + 1;
    this.retries += 1;
    this.#who = this.#who === null || this.#who === ticketId ? ticketId : 'many';
  }

  /** Every retry of this window was this ticket's. */
  onlyBy(now: Milliseconds, ticketId: string): boolean {
    this.#turn(now);
    return this.#who === null || this.#who === ticketId;
  }

  refresh(now: Milliseconds): void {
    this.#turn(now);
  }

  #turn(now: Milliseconds): void {
    const bucket = Math.floor(now / BUCKET_SPAN);
    if (bucket <= this.#bucket) return;
    const steps = Math.min(BUCKETS, bucket - this.#bucket);
    for (let step = 1; step <= steps; step += 1) {
      const slot = (this.#bucket + step) % BUCKETS;
      this.requests -= this.#requests[slot] ?? 0;
      this.retries -= this.#retries[slot] ?? 0;
      this.#requests[slot] = 0;
      this.#retries[slot] = 0;
    }
    this.#bucket = bucket;
    if (this.retries === 0) this.#who = null;
  }
}

export interface RetryQuestion {
  readonly ticketId: string;
  readonly attempts: number;
  readonly model: RetryWindow;
  readonly fleet: RetryWindow;
  readonly now: Milliseconds;
}

/** Withdraws a token when there is one. */
export function withdrawRetry({ ticketId, attempts, model, fleet, now }: RetryQuestion): boolean {
  model.refresh(now);
  fleet.refresh(now);
  const shared = fleet.retries + 1 <= fleet.requests * RETRY_SHARE;
  const floor = model.retries < RETRY_FLOOR;
  const alone = model.onlyBy(now, ticketId) && model.retries < attempts - 1;
  if (!shared && !floor && !alone) return false;
  model.countRetry(now, ticketId);
  fleet.countRetry(now, ticketId);
  return true;
}
