/** `max_buffered_bytes`: what all bodies in memory may weigh together. */
import type { Bytes } from '../units.ts';

export class BodyBudget {
  private readonly limit: () => Bytes;
  private held = 0;

  constructor(limit: () => Bytes) {
    this.limit = limit;
  }

  get used(): Bytes {
    return this.held;
  }

  take(bytes: Bytes): boolean {
    if (this.held + bytes > this.limit()) return false;
    this.held += bytes;
    return true;
  }

  give(bytes: Bytes): void {
    this.held -= bytes;
  }
}
