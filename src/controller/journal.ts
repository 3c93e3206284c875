/** The last decisions, for `GET /gateway/events`, the log and tests. Bounded; nothing else remembers them. */
import type { Decision } from '../core/effects.ts';
import type { Clock } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import type { JournalEntry } from './control.ts';

const KEPT = 1_000;

/** Decisions that answer to something gone wrong: warnings in the log. */
const TROUBLE: ReadonlySet<string> = new Set([
  'config.rejected',
  'device.overrun',
  'device.silent',
  'model.backing_off',
  'model.no_capacity',
  'model.prepare_failed',
  'replica.crashed',
  'replica.not_adopted',
  'replica.stalled',
  'replica.start_failed',
  'replica.stuck',
  'replica.unhealthy',
]);

export class Journal {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #entries: JournalEntry[] = [];
  readonly #listeners = new Set<(entry: JournalEntry) => void>();
  #seq = 0;

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  add(decision: Decision): void {
    this.#seq += 1;
    const entry: JournalEntry = { ...decision, seq: this.#seq, at: this.#clock.wall() };
    this.#entries.push(entry);
    if (this.#entries.length > KEPT) this.#entries.shift();
    const fields = { event: entry.kind, model: entry.model, replica: entry.replica, ...entry.detail };
    if (TROUBLE.has(entry.kind)) this.#log.warn(fields, entry.reason);
    else this.#log.info(fields, entry.reason);
    for (const listener of this.#listeners) {
      try {
        listener(entry);
      } catch (error) {
        // Whoever watches must not be able to stop what is watched.
        this.#log.error({ err: error }, 'a listener of decisions failed');
      }
    }
  }

  recent(): readonly JournalEntry[] {
    return this.#entries.slice();
  }

  subscribe(listener: (entry: JournalEntry) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }
}
