/** When to come back: from how fast leases of the model end, so that the herd spreads by itself. */
import { MINUTE, SECOND, type Milliseconds } from '../../units.ts';
import { readyReplica, type Run } from '../run.ts';
import type { Model } from '../state.ts';

/** Weight of the newest lease in the mean. */
const SMOOTHING = 0.2;

/** A lease ran to its end. */
export function countLease(model: Model, took: Milliseconds): void {
  model.meanLease = model.meanLease === null ? took : model.meanLease * (1 - SMOOTHING) + took * SMOOTHING;
}

export function clampRetryAfter(span: Milliseconds): Milliseconds {
  return Math.min(MINUTE, Math.max(SECOND, Math.round(span)));
}

/** For a queue of this length, when as many leases end at a time as run now; ± 25 %, so that clients do not come back together. */
export function retryAfterQueue(run: Run, model: Model): Milliseconds {
  const jitter = 0.75 + run.random() / 2;
  // Without a mean (nothing finished yet) a guess has to do.
  if (model.meanLease === null) return clampRetryAfter(10 * SECOND * jitter);
  const parallel = readyReplica(run.state, model)?.leases.size || model.settings.maxConcurrent;
  return clampRetryAfter((model.queue.size / parallel) * model.meanLease * jitter);
}
