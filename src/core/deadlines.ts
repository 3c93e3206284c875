/**
 * Every point in time that the core waits for, by name: a binary heap with an index, so that a deadline can be moved or
 * dropped. The shell arms one timer for the earliest. Equal times come due in the order in which they were set.
 */
import type { Milliseconds } from '../units.ts';

interface Entry {
  readonly key: string;
  readonly at: Milliseconds;
  readonly order: number;
}

const before = (one: Entry, other: Entry): boolean =>
  one.at < other.at || (one.at === other.at && one.order < other.order);

export class Deadlines {
  readonly #heap: Entry[] = [];
  readonly #index = new Map<string, number>();
  #order = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** The time of a named deadline; undefined when not set. */
  at(key: string): Milliseconds | undefined {
    const index = this.#index.get(key);
    return index === undefined ? undefined : this.#heap[index]?.at;
  }

  /** Sets or moves. */
  set(key: string, at: Milliseconds): void {
    if (this.at(key) === at) return;
    this.delete(key);
    this.#order += 1;
    this.#heap.push({ key, at, order: this.#order });
    this.#index.set(key, this.#heap.length - 1);
    this.#up(this.#heap.length - 1);
  }

  delete(key: string): void {
    const index = this.#index.get(key);
    if (index === undefined) return;
    const last = this.#heap.length - 1;
    this.#swap(index, last);
    this.#heap.pop();
    this.#index.delete(key);
    if (index < last) {
      this.#up(index);
      this.#down(index);
    }
  }

  /** Time of the earliest; null when there is none. */
  next(): Milliseconds | null {
    return this.#heap[0]?.at ?? null;
  }

  /** Takes the earliest out when its time has come. */
  takeDue(now: Milliseconds): string | null {
    const first = this.#heap[0];
    if (!first || first.at > now) return null;
    this.delete(first.key);
    return first.key;
  }

  /** All names, in no particular order: for recounts. */
  keys(): IterableIterator<string> {
    return this.#index.keys();
  }

  #up(from: number): void {
    let index = from;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#less(index, parent)) return;
      this.#swap(index, parent);
      index = parent;
    }
  }

  #down(from: number): void {
    let index = from;
    for (;;) {
      const left = 2 * index + 1;
      const right = left + 1;
      let least = index;
      if (left < this.#heap.length && this.#less(left, least)) least = left;
      if (right < this.#heap.length && this.#less(right, least)) least = right;
      if (least === index) return;
      this.#swap(index, least);
      index = least;
    }
  }

  #less(one: number, other: number): boolean {
    const first = this.#heap[one];
    const second = this.#heap[other];
    return first !== undefined && second !== undefined && before(first, second);
  }

  #swap(one: number, other: number): void {
    const first = this.#heap[one];
    const second = this.#heap[other];
    if (!first || !second || one === other) return;
    this.#heap[one] = second;
    this.#heap[other] = first;
    this.#index.set(second.key, one);
    this.#index.set(first.key, other);
  }
}
