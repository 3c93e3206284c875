/** Which names may stand in labels: the configured ones, and for a while those that were, as their last requests still end. */

/** So many names that are configured no longer keep their series. */
export const FORMER_KEPT = 200;

export class ModelNames {
  #isModel: (name: string) => boolean;
  #configured: ReadonlySet<string> = new Set();
  /** The one that was removed last is last. */
  readonly #former = new Set<string>();
  readonly #forget: (name: string) => void;

  /** `isModel` holds until names are told; `forget` is told of names that nothing is counted under any more. */
  constructor(isModel: (name: string) => boolean, forget: (name: string) => void) {
    this.#isModel = isModel;
    this.#forget = forget;
  }

  has(name: string): boolean {
    return this.#isModel(name);
  }

  replace(names: Iterable<string>): void {
    const before = this.#configured;
    this.#configured = new Set(names);
    this.#isModel = (name) => this.#configured.has(name) || this.#former.has(name);
    for (const name of before) if (!this.#configured.has(name)) this.#former.add(name);
    for (const name of this.#configured) this.#former.delete(name);
    for (const name of this.#former) {
      if (this.#former.size <= FORMER_KEPT) break;
      this.#former.delete(name);
      this.#forget(name);
    }
  }
}
