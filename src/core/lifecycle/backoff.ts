/** After a failed start a model rests, longer each time, so that a broken one does not evict its neighbours for nothing. */
import { MINUTE, SECOND, type Milliseconds } from '../../units.ts';
import type { StartFailureCause } from '../../errors.ts';
import type { Run } from '../run.ts';
import type { Model, Replica } from '../state.ts';

export const BACKOFF_FIRST: Milliseconds = SECOND;
export const BACKOFF_MAX: Milliseconds = 5 * MINUTE;
/** A replica that was ready this long proved that the model works: the count begins anew. */
export const BACKOFF_FORGET: Milliseconds = MINUTE;

export function isBackingOff(model: Model, now: Milliseconds): boolean {
  return model.backoff.until !== null && now < model.backoff.until;
}

/** A start failed: rest 1 s, 2 s, 4 s … 5 min, each ± 25 %. */
export function backOff(run: Run, model: Model): void {
  model.backoff.failures += 1;
  rest(run, model, model.backoff.failures - 1);
}

/** It leaves, however: was it ready long enough to prove that the model works? */
export function forgetFailures(run: Run, model: Model, replica: Replica): void {
  if (replica.readyAt !== null && run.now - replica.readyAt >= BACKOFF_FORGET) model.backoff.failures = 0;
}

/** A ready replica died. The first time it may come back at once: work that was accepted waits for it. */
export function backOffAfterCrash(run: Run, model: Model): void {
  model.backoff.failures += 1;
  if (model.backoff.failures === 1) {
    model.backoff.until = null;
    run.state.deadlines.delete(`backoff:${model.name}`);
  } else {
    rest(run, model, model.backoff.failures - 2);
  }
}

function rest(run: Run, model: Model, exponent: number): void {
  const span = Math.min(BACKOFF_MAX, BACKOFF_FIRST * 2 ** Math.min(exponent, 20)) * (0.75 + run.random() / 2);
  model.backoff.until = run.now + Math.round(span);
  run.state.deadlines.set(`backoff:${model.name}`, model.backoff.until);
}

/** It may start again; how often it failed is not forgotten. */
export function endRest(run: Run, model: Model): void {
  if (model.backoff.until === null) return;
  model.backoff.until = null;
  run.state.deadlines.delete(`backoff:${model.name}`);
}

export function recordFailure(run: Run, model: Model, cause: StartFailureCause, message: string): void {
  model.lastFailure = { cause, message, at: run.now };
}
