/**
 * Tables of what comes and goes with every request. A `Map` or `Set` would do, but for V8's collector: when such a table is
 * rebuilt, which happens as often as it fills, the old one keeps what it held and points to the new one. Once one of them has
 * grown old, all that was ever in any of them is copied and kept until the next collection of everything.
 */

/** Found by its place. */
export class Slots<T extends object> {
  readonly #items: (T | null)[] = [];
  readonly #free: number[] = [];

  get size(): number {
    return this.#items.length - this.#free.length;
  }

  /** Its place, until it is deleted. */
  add(item: T): number {
    const place = this.#free.pop() ?? this.#items.length;
    this.#items[place] = item;
    return place;
  }

  get(place: number): T | undefined {
    return this.#items[place] ?? undefined;
  }

  /** False: nothing was there. Its place is the next one's. */
  delete(place: number): boolean {
    if (this.get(place) === undefined) return false;
    this.#items[place] = null;
    this.#free.push(place);
    return true;
  }

  /** In no particular order. What comes or goes meanwhile is told or not. */
  *values(): IterableIterator<T> {
    for (const item of this.#items) if (item !== null) yield item;
  }
}

/** Found by its name: the `Map` holds nothing but names and numbers. */
export class NamedSlots<T extends object> {
  readonly #slots = new Slots<T>();
  readonly #places = new Map<string, number>();

  get size(): number {
    return this.#places.size;
  }

  has(name: string): boolean {
    return this.#places.has(name);
  }

  get(name: string): T | undefined {
    const place = this.#places.get(name);
    return place === undefined ? undefined : this.#slots.get(place);
  }

  /** In place of the one with this name, if there is one. */
  set(name: string, item: T): void {
    this.delete(name);
    this.#places.set(name, this.#slots.add(item));
  }

  /** False: there was none. */
  delete(name: string): boolean {
    const place = this.#places.get(name);
    return place !== undefined && this.#places.delete(name) && this.#slots.delete(place);
  }

  clear(): void {
    for (const place of this.#places.values()) this.#slots.delete(place);
    this.#places.clear();
  }

  /** In no particular order. */
  values(): IterableIterator<T> {
    return this.#slots.values();
  }
}
