/**
 * Tells workers how long queues are. One that asks hears it with its answer; what others ask for it would learn never, and
 * would go on saying what was so when it asked last.
 */
import type { Gate, QueueFacts } from '../controller/gate.ts';
import type { Clock } from '../platform/platform.ts';
import { SECOND, type Milliseconds } from '../units.ts';

/** So old may be what a worker says of a queue that it does not wait in, and what it takes to arrive. */
const TELL_EVERY: Milliseconds = SECOND / 4;

const NO_DEPTH = -1;

export interface QueueNewsOptions {
  readonly gate: Pick<Gate, 'queueFacts'>;
  readonly clock: Pick<Clock, 'after'>;
  readonly tell: (model: string, facts: QueueFacts) => void;
}

export class QueueNews implements Disposable {
  readonly #options: QueueNewsOptions;
  /** Depths as all workers know them; NO_DEPTH = not all know the same. None of a queue that all know to be empty. */
  readonly #known = new Map<string, number>();
  #next: Disposable | null = null;

  constructor(options: QueueNewsOptions) {
    this.#options = options;
  }

  /** One of them was told this depth. */
  said(model: string, depth: number): void {
    if (depth === (this.#known.get(model) ?? 0)) return;
    this.#known.set(model, NO_DEPTH);
    this.#next ??= this.#options.clock.after(TELL_EVERY, () => this.#look());
  }

  /** What a worker that begins to serve has to know; all else is as its configuration says. */
  present(): readonly (readonly [model: string, facts: QueueFacts])[] {
    return [...this.#known.keys()].map((model) => [model, this.#options.gate.queueFacts(model)] as const);
  }

  [Symbol.dispose](): void {
    this.#next?.[Symbol.dispose]();
  }

  #look(): void {
    const { gate, clock, tell } = this.#options;
    for (const [model, known] of this.#known) {
      const facts = gate.queueFacts(model);
      if (facts.depth !== known) tell(model, facts);
      if (facts.depth > 0) this.#known.set(model, facts.depth);
      else this.#known.delete(model);
    }
    this.#next = this.#known.size === 0 ? null : clock.after(TELL_EVERY, () => this.#look());
  }
}
