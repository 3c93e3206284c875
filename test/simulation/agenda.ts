/** What will happen, ordered by time; at equal times in an order that is drawn, so that every interleaving is explored. */

interface Entry {
  readonly at: number;
  readonly priority: number;
  readonly order: number;
  readonly act: () => void;
}

const before = (one: Entry, other: Entry): boolean =>
  one.at !== other.at
    ? one.at < other.at
    : one.priority !== other.priority
      ? one.priority < other.priority
      : one.order < other.order;

export class Agenda {
  readonly #heap: Entry[] = [];
  #order = 0;

  get size(): number {
    return this.#heap.length;
  }

  nextAt(): number | undefined {
    return this.#heap[0]?.at;
  }

  add(at: number, priority: number, act: () => void): void {
    this.#order += 1;
    const entry: Entry = { at, priority, order: this.#order, act };
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (!above || !before(entry, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  take(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (!first || !last || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      let least = heap[child];
      if (!least) break;
      const right = heap[child + 1];
      if (right && before(right, least)) {
        child += 1;
        least = right;
      }
      if (!before(least, last)) break;
      heap[index] = least;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}
