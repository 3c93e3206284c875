/**
 * The waiting tickets of one model: round-robin over key ids, first come first served within one, every operation in
 * constant time. The bound is admission's business, not the queue's.
 */
import { Ring } from '../ring.ts';
import type { Ticket } from '../state.ts';

export class TicketQueue {
  readonly #lanes = new Map<string, Ring<Ticket>>();
  /** Key ids with waiting tickets, in turn order. */
  readonly #turns = new Ring<string>();
  readonly #arrivals = new Ring<Ticket>();

  get size(): number {
    return this.#arrivals.size;
  }

  push(ticket: Ticket): void {
    this.#lane(ticket.keyId).add(ticket);
    this.#turns.add(ticket.keyId);
    this.#arrivals.add(ticket);
  }

  /** Back to the head, where only others that came back and were earlier stand before it; its key has the next turn. */
  putBack(ticket: Ticket): void {
    this.#lane(ticket.keyId).insert(ticket, (other) => other.order > ticket.order);
    this.#turns.delete(ticket.keyId);
    this.#turns.addFirst(ticket.keyId);
    this.#arrivals.insert(ticket, (other) => !other.returned || other.order > ticket.order);
  }

  /** Takes the next ticket in turn. */
  shift(): Ticket | undefined {
    const keyId = this.#turns.first();
    if (keyId === undefined) return undefined;
    const ticket = this.#lanes.get(keyId)?.first();
    if (!ticket) return undefined;
    this.#turns.rotate();
    this.delete(ticket);
    return ticket;
  }

  delete(ticket: Ticket): boolean {
    if (!this.#arrivals.delete(ticket)) return false;
    const lane = this.#lanes.get(ticket.keyId);
    lane?.delete(ticket);
    if (lane?.size === 0) {
      this.#lanes.delete(ticket.keyId);
      this.#turns.delete(ticket.keyId);
    }
    return true;
  }

  /** The one that has waited longest. */
  oldest(): Ticket | undefined {
    return this.#arrivals.first();
  }

  /** In order of arrival. */
  [Symbol.iterator](): IterableIterator<Ticket> {
    return this.#arrivals[Symbol.iterator]();
  }

  /** For checks: what is wrong with its three lists; null when they agree. Time grows with the queue. */
  recount(): string | null {
    let inLanes = 0;
    for (const [keyId, lane] of this.#lanes) {
      if (lane.size === 0) return `the lane of ${keyId} is empty`;
      if (!this.#turns.has(keyId)) return `${keyId} waits and has no turn`;
      for (const ticket of lane) if (!this.#arrivals.has(ticket)) return `${ticket.id} is in a lane only`;
      inLanes += lane.size;
    }
    if (this.#turns.size !== this.#lanes.size) return `${this.#turns.size} turns, ${this.#lanes.size} lanes`;
    return inLanes === this.size ? null : `${this.size} arrivals, ${inLanes} in lanes`;
  }

  #lane(keyId: string): Ring<Ticket> {
    const known = this.#lanes.get(keyId);
    if (known) return known;
    const lane = new Ring<Ticket>();
    this.#lanes.set(keyId, lane);
    return lane;
  }
}
