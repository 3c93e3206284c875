/** One failure, one outcome for all waiters, one rest for the model. */
import type { StartFailureCause } from '../../errors.ts';
import { refuseAll, startFailedError } from '../admission/refuse.ts';
import { isPinned } from '../memory/eviction.ts';
import { decide, type Run } from '../run.ts';
import type { Model } from '../state.ts';
import { backOff, recordFailure } from './backoff.ts';

/** The caller has told of the failure itself and brought the model's clocks up to date. */
export function failWaiters(run: Run, model: Model, cause: StartFailureCause, message: string): void {
  recordFailure(run, model, cause, message);
  backOff(run, model);
  const { failures } = model.backoff;
  decide(run, 'model.backing_off', { model: model.name }, `Start failed ${failures} time(s) in a row; it rests.`, {
    failures,
  });
  refuseAll(run, model, startFailedError(run, model));
  if (!isPinned(model)) model.loadRequested = false;
}
