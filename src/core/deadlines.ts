/**
 * Every point in time that the core waits for, by name: a binary heap with an index, so that a deadline can be moved or
 * dropped. The shell arms one timer for the earliest. Equal times come due in the order in which they were set.
 */
import type { Milliseconds } from '../units.ts';

interface Entry {
  readonly key: string;
  at: Milliseconds;
  order: number;
  /** Where it stands in the heap. */
  index: number;
}

const before = (one: Entry, other: Entry): boolean =>
  one.at < other.at || (one.at === other.at && one.order < other.order);

export class Deadlines {
  readonly #heap: Entry[] = [];
  readonly #entries = new Map<string, Entry>();
  #order = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** The time of a named deadline; undefined when not set. */
  at(key: string): Milliseconds | undefined {
    return this.#entries.get(key)?.at;
  }

  /** Sets or moves. */
  set(key: string, at: Milliseconds): void {
    const known = this.#entries.get(key);
    if (known?.at === at) return;
    this.#order += 1;
    const entry = known ?? { key, at, order: this.#order, index: this.#heap.length };
    if (known) {
      known.at = at;
      known.order = this.#order;
    } else {
      this.#entries.set(key, entry);
      this.#heap.push(entry);
    }
    this.#settle(entry, entry.index);
  }

  delete(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    const last = this.#heap.pop();
    if (last && last !== entry) this.#settle(last, entry.index);
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
    return this.#entries.keys();
  }

  /** Puts it where it belongs, up or down from a place that nobody else has. */
  #settle(entry: Entry, from: number): void {
    this.#sink(entry, this.#rise(entry, from));
  }

  #rise(entry: Entry, from: number): number {
    let index = from;
    while (index > 0) {
      const parent = this.#heap[(index - 1) >> 1];
      if (!parent || !before(entry, parent)) break;
      const free = parent.index;
      this.#place(parent, index);
      index = free;
    }
    return index;
  }

  #sink(entry: Entry, from: number): void {
    let index = from;
    for (let child = this.#earlierChild(index); child && before(child, entry); child = this.#earlierChild(index)) {
      const free = child.index;
      this.#place(child, index);
      index = free;
    }
    this.#place(entry, index);
  }

  #earlierChild(index: number): Entry | undefined {
    const left = this.#heap[2 * index + 1];
    const right = this.#heap[2 * index + 2];
    return left && right && before(right, left) ? right : left;
  }

  #place(entry: Entry, index: number): void {
    this.#heap[index] = entry;
    entry.index = index;
  }
}
