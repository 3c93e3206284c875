/**
 * When to come back: once what is coming is there, and at the pace at which leases of the model end, so that the herd
 * spreads by itself.
 */
import { MINUTE, SECOND, type Milliseconds } from '../../units.ts';
import { comingStart, wholeStart } from '../lifecycle/forecast.ts';
import { readyReplica, type Run } from '../run.ts';
import type { Model } from '../state.ts';

/** Weight of the newest lease in the mean. */
const SMOOTHING = 0.2;
/** Of a minute, from where on a herd is spread. */
const SPREAD = 0.75;
/** Nothing has finished yet and no start was seen: a guess has to do. */
const GUESS: Milliseconds = 10 * SECOND;

/** A lease ran to its end. */
export function countLease(model: Model, took: Milliseconds): void {
  model.meanLease = model.meanLease === null ? took : model.meanLease * (1 - SMOOTHING) + took * SMOOTHING;
}

/** Between one second and one minute. */
export function clampRetryAfter(span: Milliseconds): Milliseconds {
  return Math.min(MINUTE, Math.max(SECOND, Math.round(span)));
}

/**
 * For a queue of this length, when as many leases end at a time as run now; ± 25 %, so that clients do not come back
 * together. While a start is under way, what is left of it comes first: nobody is asked to come before its end, and they
 * come spread over half of it.
 */
export function retryAfterQueue(run: Run, model: Model): Milliseconds {
  const jitter = 0.75 + run.random() / 2;
  const start = restOfStart(run, model);
  const line = model.meanLease === null ? null : lineOf(run, model) * model.meanLease;
  if (line === null && start === null) return clampRetryAfter(GUESS * jitter);
  const span = (start ?? 0) * (jitter + 0.25) + (line ?? 0) * jitter;
  return clampRetryAfter(span > MINUTE ? upToAMinute(start ?? 0, (jitter - 0.75) * 2) : span);
}

/** Nobody is told more than a minute; a herd that has to wait longer is spread over the end of it, behind a start that is over before. */
function upToAMinute(start: Milliseconds, share: number): Milliseconds {
  const from = start < MINUTE ? Math.max(start, SPREAD * MINUTE) : SPREAD * MINUTE;
  return from + (MINUTE - from) * share;
}

/** How many leases one after the other the whole queue is. */
function lineOf(run: Run, model: Model): number {
  const parallel = readyReplica(run.state, model)?.leases.size || model.settings.maxConcurrent;
  return model.queue.size / parallel;
}

/** Null when no start is under way, or nobody knows how long such a one takes. One that is later than ever counts whole. */
function restOfStart(run: Run, model: Model): Milliseconds | null {
  const coming = comingStart(run.state, model, run.now);
  return coming === null ? null : (coming.left ?? wholeStart(model) ?? coming.phaseLeft);
}
