/** An ordered set with constant-time add, delete, first and rotate. (A Map's first key costs time in its deleted ones.) */

interface Node<T> {
  readonly value: T;
  previous: Node<T> | null;
  next: Node<T> | null;
}

export class Ring<T> {
  readonly #nodes = new Map<T, Node<T>>();
  #head: Node<T> | null = null;
  #tail: Node<T> | null = null;

  get size(): number {
    return this.#nodes.size;
  }

  has(value: T): boolean {
    return this.#nodes.has(value);
  }

  /** At the end; no change when present. */
  add(value: T): void {
    if (this.#nodes.has(value)) return;
    const node: Node<T> = { value, previous: this.#tail, next: null };
    if (this.#tail) this.#tail.next = node;
    else this.#head = node;
    this.#tail = node;
    this.#nodes.set(value, node);
  }

  /** At the front; no change when present. */
  addFirst(value: T): void {
    if (this.#nodes.has(value)) return;
    const node: Node<T> = { value, previous: null, next: this.#head };
    if (this.#head) this.#head.previous = node;
    else this.#tail = node;
    this.#head = node;
    this.#nodes.set(value, node);
  }

  /** Before the first member, seen from the front, for which `stop` holds; at the end when there is none. */
  insert(value: T, stop: (other: T) => boolean): void {
    if (this.#nodes.has(value)) return;
    let next = this.#head;
    while (next && !stop(next.value)) ({ next } = next);
    if (!next) {
      this.add(value);
      return;
    }
    const node: Node<T> = { value, previous: next.previous, next };
    if (next.previous) next.previous.next = node;
    else this.#head = node;
    next.previous = node;
    this.#nodes.set(value, node);
  }

  delete(value: T): boolean {
    const node = this.#nodes.get(value);
    if (!node) return false;
    if (node.previous) node.previous.next = node.next;
    else this.#head = node.next;
    if (node.next) node.next.previous = node.previous;
    else this.#tail = node.previous;
    this.#nodes.delete(value);
    return true;
  }

  first(): T | undefined {
    return this.#head?.value;
  }

  /** Moves the first to the end. */
  rotate(): void {
    const head = this.#head;
    if (!head || head === this.#tail) return;
    this.delete(head.value);
    this.add(head.value);
  }

  *[Symbol.iterator](): IterableIterator<T> {
    let node = this.#head;
    while (node) {
      const { next } = node;
      yield node.value;
      node = next;
    }
  }
}
