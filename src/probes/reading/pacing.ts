/** One read at a time, each within its deadline, and none for a while after one that hung. */
import type { Platform } from '../../platform/platform.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import { ProbeError } from './probe-error.ts';
import type { ProbeReading } from '../probe.ts';

/** A healthy nvidia-smi takes a fraction of a second; one that wakes eight sleeping GPUs a few. */
export const READ_LIMIT: Milliseconds = 5 * SECOND;
/** What killing a command and reading what is left of its output may take beyond its own limit. */
const GRACE: Milliseconds = SECOND;
const FIRST_PAUSE: Milliseconds = 2 * SECOND;
const LONGEST_PAUSE: Milliseconds = 30 * SECOND;

/** It did not answer in time. Asked again at once, a driver that hangs only gathers stuck processes. */
export class ProbeHang extends ProbeError {}

export class Pacing {
  readonly #clock: Platform['clock'];
  readonly #limit: Milliseconds;
  #current: Promise<ProbeReading> | null = null;
  /** The work behind a read that was given up: no other begins before it has ended. */
  #stuck: { readonly since: Milliseconds } | null = null;
  #pause: Milliseconds = 0;
  #notBefore: Milliseconds = Number.NEGATIVE_INFINITY;
  #lastHang: ProbeHang | null = null;

  /** `limit` is what the work keeps by itself. */
  constructor(clock: Platform['clock'], limit: Milliseconds) {
    this.#clock = clock;
    this.#limit = limit;
  }

  /** Runs `work`, or joins the run under way. Rejects at the deadline, whatever `work` does. */
  read(work: () => Promise<ProbeReading>): Promise<ProbeReading> {
    this.#current ??= this.#read(work).finally(() => {
      this.#current = null;
    });
    return this.#current;
  }

  async #read(work: () => Promise<ProbeReading>): Promise<ProbeReading> {
    const begun = this.#clock.monotonic();
    if (this.#stuck !== null) {
      throw new ProbeHang(`a read that began ${seconds(begun - this.#stuck.since)} ago has not ended`);
    }
    if (this.#lastHang !== null && begun < this.#notBefore) throw this.#lastHang;
    try {
      const reading = await this.#limited(work, begun);
      this.#pause = 0;
      this.#lastHang = null;
      return reading;
    } catch (error) {
      if (error instanceof ProbeHang) {
        this.#pause = Math.min(LONGEST_PAUSE, Math.max(FIRST_PAUSE, 2 * this.#pause));
        this.#notBefore = this.#clock.monotonic() + this.#pause;
        this.#lastHang = error;
      }
      throw error;
    }
  }

  async #limited(work: () => Promise<ProbeReading>, since: Milliseconds): Promise<ProbeReading> {
    const over = new AbortController();
    const running = work();
    const late = this.#clock.sleep(this.#limit + GRACE, over.signal).then(
      () => 'late' as const,
      () => 'done' as const,
    );
    try {
      const first = await Promise.race([running, late]);
      if (typeof first === 'object') return first;
      const stuck = { since };
      this.#stuck = stuck;
      const ended = (): void => {
        if (this.#stuck === stuck) this.#stuck = null;
      };
      running.then(ended, ended);
      throw new ProbeHang(`it did not answer within ${seconds(this.#limit)} and cannot be killed`);
    } finally {
      over.abort();
    }
  }
}

function seconds(span: Milliseconds): string {
  return `${Math.round(span / SECOND)} s`;
}
