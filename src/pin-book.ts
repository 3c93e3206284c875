/** The pins in `state_dir`. A model that one configuration lacks stays pinned for the next that has it. */
import type { StateDir } from './platform/state-dir.ts';
import type { Logger } from './telemetry/telemetry.ts';

export class PinBook {
  readonly #stateDir: Pick<StateDir, 'writePins'>;
  readonly #log: Pick<Logger, 'error'>;
  readonly #pinned: Set<string>;

  /** `pinned`: as an earlier run left them. */
  constructor(stateDir: Pick<StateDir, 'writePins'>, log: Pick<Logger, 'error'>, pinned: readonly string[]) {
    this.#stateDir = stateDir;
    this.#log = log;
    this.#pinned = new Set(pinned);
  }

  get pinned(): readonly string[] {
    return [...this.#pinned];
  }

  has(model: string): boolean {
    return this.#pinned.has(model);
  }

  /** `pinned` of the models that are `configured`. */
  save(pinned: readonly string[], configured: Iterable<string>): void {
    for (const model of configured) this.#pinned.delete(model);
    for (const model of pinned) this.#pinned.add(model);
    this.#stateDir
      .writePins([...this.#pinned])
      .catch((error: unknown) => this.#log.error({ err: error }, 'pins cannot be written down'));
  }
}
