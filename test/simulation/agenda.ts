/**
 * What will happen, ordered by time; at equal times in an order that is drawn, so that every interleaving is explored. A
 * binary heap over one number per entry: the time, then sixteen drawn bits; what is still equal comes as it was added.
 */
import type { Milliseconds } from '../../src/units.ts';

/** Of the drawn order; times stay exact up to 2^37 ms. */
const DRAWN = 0x1_0000;

export class Agenda {
  #keys = new Float64Array(256);
  #orders = new Uint32Array(256);
  readonly #acts: (() => void)[] = [];
  #count = 0;

  get size(): number {
    return this.#acts.length;
  }

  /** Whole milliseconds; undefined when nothing is to come. */
  nextAt(): Milliseconds | undefined {
    return this.#acts.length === 0 ? undefined : Math.floor((this.#keys[0] ?? 0) / DRAWN);
  }

  /** `at`: whole milliseconds; `drawn`: in [0, 1). */
  add(at: Milliseconds, drawn: number, act: () => void): void {
    const acts = this.#acts;
    if (acts.length === this.#keys.length) this.#grow();
    const key = at * DRAWN + Math.floor(drawn * DRAWN);
    this.#count += 1;
    acts.push(act);
    this.#up(acts.length - 1, key, this.#count, act);
  }

  take(): (() => void) | undefined {
    const acts = this.#acts;
    const [first] = acts;
    const last = acts.length - 1;
    const act = acts.pop();
    if (!first || !act || last === 0) return first;
    this.#down(last, this.#keys[last] ?? 0, this.#orders[last] ?? 0, act);
    return first;
  }

  #up(from: number, key: number, order: number, act: () => void): void {
    const keys = this.#keys;
    const orders = this.#orders;
    const acts = this.#acts;
    let index = from;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = keys[parent] ?? 0;
      // Of equal keys the parent was there first.
      if (above <= key) break;
      keys[index] = above;
      orders[index] = orders[parent] ?? 0;
      acts[index] = acts[parent] ?? act;
      index = parent;
    }
    keys[index] = key;
    orders[index] = order;
    acts[index] = act;
  }

  #down(length: number, key: number, order: number, act: () => void): void {
    const keys = this.#keys;
    const orders = this.#orders;
    const acts = this.#acts;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= length) break;
      if (child + 1 < length && this.#isBefore(child + 1, child)) child += 1;
      const below = keys[child] ?? 0;
      if (below > key || (below === key && (orders[child] ?? 0) > order)) break;
      keys[index] = below;
      orders[index] = orders[child] ?? 0;
      acts[index] = acts[child] ?? act;
      index = child;
    }
    keys[index] = key;
    orders[index] = order;
    acts[index] = act;
  }

  #isBefore(one: number, other: number): boolean {
    const first = this.#keys[one] ?? 0;
    const second = this.#keys[other] ?? 0;
    return first < second || (first === second && (this.#orders[one] ?? 0) < (this.#orders[other] ?? 0));
  }

  #grow(): void {
    const keys = new Float64Array(2 * this.#keys.length);
    keys.set(this.#keys);
    this.#keys = keys;
    const orders = new Uint32Array(2 * this.#orders.length);
    orders.set(this.#orders);
    this.#orders = orders;
  }
}
