/** Promises about more than one request, or about what a request is counted as; seen from outside, as all here. */
import type { RequestRecord } from '../../../src/telemetry/telemetry.ts';
import { SECOND, type Milliseconds } from '../../../src/units.ts';
import { check, type Story } from './checks.ts';

/** The gateway writes its line: who went away is no failure of an engine that did its work. */
export function checkCount({ exchange, receptions }: Story, record: RequestRecord): void {
  const last = receptions.at(-1);
  if (!exchange.left || last === undefined) return;
  const sound = last.manner.fault === 'none' && last.engine.alive && last.engine.listening;
  const blamed = sound && record.outcome === 'upstream_failed';
  check('blamed', !blamed, () => `${exchange.order.nonce} left, and its engine is said to have failed`);
}

/**
 * An engine that died without a byte is no answer: its request goes back to the queue, once. `since`: when this gateway began;
 * the end of an engine that an earlier one had launched is seen by looking, which may be too late for that.
 */
export function checkReturned(
  { exchange, receptions }: Story,
  code: string | null | undefined,
  since: Milliseconds,
): void {
  const [only, ...more] = receptions;
  if (only === undefined || more.length > 0 || code !== 'upstream_lost' || only.engine.startedAt < since) return;
  const died = only.manner.fault === 'crash' && only.sent === 0;
  check('not_returned', !died, () => `${exchange.order.nonce} was told ${code} though its engine had died`);
}

const WINDOW: Milliseconds = 10 * SECOND;

/** Over any ten seconds: a fifth of the requests in sight (a retry sees the ten seconds before it), and what is always free. */
export class RetryBudget {
  readonly #asks: Milliseconds[] = [];
  readonly #retries: { readonly at: Milliseconds; readonly model: string }[] = [];
  readonly #free: number;

  /** `attempts`: as configured, for one request. */
  constructor(attempts: number) {
    this.#free = Math.max(3, attempts - 1);
  }

  asked(now: Milliseconds): void {
    this.#asks.push(now);
  }

  /** Of a request that goes back to the queue nobody asks whether it may. */
  retried(now: Milliseconds, model: string, reason: string): void {
    if (reason === 'engine_down') return;
    this.#retries.push({ at: now, model });
    const recent = this.#retries.filter(({ at }) => at > now - WINDOW);
    const asks = this.#asks.filter((at) => at > now - 2 * WINDOW).length;
    const models = new Set(recent.map((retry) => retry.model)).size;
    const allowed = asks * 0.2 + models * this.#free;
    check('budget', recent.length <= allowed, () => `${recent.length} retries in 10 s, ${allowed} are allowed`);
  }
}
