/** When to come back: from how fast leases of the model have been ending, so that the herd spreads by itself. */
import { MINUTE, SECOND, type Milliseconds } from '../../units.ts';
import type { Run } from '../run.ts';
import type { Model } from '../state.ts';

/** Weight of the newest interval in the rate. */
const SMOOTHING = 0.2;

export function countCompletion(run: Run, model: Model): void {
  const { lastAt } = model.drainRate;
  model.drainRate.lastAt = run.now;
  if (lastAt === null) return;
  const perSecond = SECOND / Math.max(1, run.now - lastAt);
  model.drainRate.perSecond =
    model.drainRate.perSecond === 0 ? perSecond : model.drainRate.perSecond * (1 - SMOOTHING) + perSecond * SMOOTHING;
}

export function clampRetryAfter(span: Milliseconds): Milliseconds {
  return Math.min(MINUTE, Math.max(SECOND, Math.round(span)));
}

/** For a queue of this length; ± 25 %, so that clients do not come back together. */
export function retryAfterQueue(run: Run, model: Model): Milliseconds {
  const jitter = 0.75 + run.random() / 2;
  const rate = model.drainRate.perSecond;
  // Without a rate (nothing finished yet) half of what is left of a start is as good a guess as any.
  const span = rate > 0 ? (model.queue.size / rate) * SECOND : 10 * SECOND;
  return clampRetryAfter(span * jitter);
}
