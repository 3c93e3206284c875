/**
 * Retries are bounded by what else goes on: over any ten seconds at most a fifth of all requests, but three per model in
 * any case, and a ticket that is alone in retrying its model always gets its configured attempts.
 */
import { SECOND, type Milliseconds } from '../../units.ts';

const BUCKET_SPAN: Milliseconds = SECOND;
/** Ten seconds; the newest bucket is only begun. */
const REQUEST_BUCKETS = 10;
/** One more, so that no retry of the last ten seconds is ever missed. */
const RETRY_BUCKETS = 11;
export const RETRY_SHARE = 0.2;
export const RETRY_FLOOR = 3;

/** A sum over the newest buckets of time. */
class SlidingCount {
  readonly #counts: number[];
  #bucket = 0;
  sum = 0;

  constructor(buckets: number) {
    this.#counts = new Array<number>(buckets).fill(0);
  }

  add(now: Milliseconds): void {
    this.refresh(now);
    const slot = this.#bucket % this.#counts.length;
    this.#counts[slot] = (this.#counts[slot] ?? 0) + 1;
    this.sum += 1;
  }

  refresh(now: Milliseconds): void {
    const bucket = Math.floor(now / BUCKET_SPAN);
    const { length } = this.#counts;
    const steps = Math.min(length, bucket - this.#bucket);
    for (let step = 1; step <= steps; step += 1) {
      const slot = (bucket - steps + step) % length;
      this.sum -= this.#counts[slot] ?? 0;
      this.#counts[slot] = 0;
    }
    this.#bucket = Math.max(this.#bucket, bucket);
  }
}

/** Requests and retries of about the last ten seconds: rather fewer of the former, rather more of the latter. */
export class RetryWindow {
  readonly #requests = new SlidingCount(REQUEST_BUCKETS);
  readonly #retries = new SlidingCount(RETRY_BUCKETS);
  /** Who retried in this window: a ticket id, or `many`. */
  #who: string | null = null;

  get requests(): number {
    return this.#requests.sum;
  }

  get retries(): number {
    return this.#retries.sum;
  }

  countRequest(now: Milliseconds): void {
    this.#requests.add(now);
  }

  countRetry(now: Milliseconds, ticketId: string): void {
    this.refresh(now);
    this.#retries.add(now);
    this.#who = this.#who === null || this.#who === ticketId ? ticketId : 'many';
  }

  /** Every retry of this window was this ticket's. */
  onlyBy(now: Milliseconds, ticketId: string): boolean {
    this.refresh(now);
    return this.#who === null || this.#who === ticketId;
  }

  refresh(now: Milliseconds): void {
    this.#requests.refresh(now);
    this.#retries.refresh(now);
    if (this.#retries.sum === 0) this.#who = null;
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
