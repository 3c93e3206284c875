/** A line of any length. An array's own `shift` costs time in its length, and `push(...)` has a bound. */

/** Below this many taken ones the array is not worth copying. */
const COMPACT_AT = 1_024;

export class Fifo<T> {
  #items: T[] = [];
  #taken = 0;

  push(items: readonly T[]): void {
    for (const item of items) this.#items.push(item);
  }

  shift(): T | undefined {
    const item = this.#items[this.#taken];
    if (item === undefined) return undefined;
    this.#taken += 1;
    if (this.#taken === this.#items.length) {
      this.#items = [];
      this.#taken = 0;
    } else if (this.#taken >= COMPACT_AT && this.#taken * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#taken);
      this.#taken = 0;
    }
    return item;
  }
}
