/** The pins in `state_dir`. A model that one configuration lacks stays pinned for the next that has it. */
import type { Clock } from './platform/platform.ts';
import type { StateDir } from './platform/state-dir.ts';
import type { Logger } from './telemetry/telemetry.ts';
import { SECOND, type Milliseconds } from './units.ts';

/** A disk that is full now will have room again; nobody pins a second time what is pinned. */
const WRITE_AGAIN: Milliseconds = 5 * SECOND;

export interface PinBookOptions {
  readonly stateDir: Pick<StateDir, 'writePins'>;
  readonly log: Pick<Logger, 'error' | 'info'>;
  readonly clock: Pick<Clock, 'after'>;
  /** As an earlier run left them. */
  readonly pinned: readonly string[];
}

export class PinBook implements Disposable {
  readonly #options: PinBookOptions;
  readonly #pinned: Set<string>;
  #again: Disposable | null = null;
  /** What is on disk is not what is in force, which was told. */
  #failed = false;
  #closed = false;

  constructor(options: PinBookOptions) {
    this.#options = options;
    this.#pinned = new Set(options.pinned);
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
    this.#write();
  }

  /** Nothing is tried again any more. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#again?.[Symbol.dispose]();
    this.#again = null;
  }

  #write(): void {
    const { stateDir, log, clock } = this.#options;
    this.#again?.[Symbol.dispose]();
    this.#again = null;
    stateDir.writePins(this.pinned).then(
      () => {
        if (this.#failed) log.info({}, 'pins are written down again');
        this.#failed = false;
      },
      (error: unknown) => {
        if (!this.#failed) log.error({ err: error }, 'pins cannot be written down; it is tried again');
        this.#failed = true;
        if (!this.#closed) this.#again ??= clock.after(WRITE_AGAIN, () => this.#write());
      },
    );
  }
}
