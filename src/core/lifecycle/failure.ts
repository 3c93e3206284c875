/** One failure, one outcome for all waiters, one rest for the model. */
import { SECOND } from '../../units.ts';
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
  const { failures, until } = model.backoff;
  const often = failures === 1 ? 'Its start failed' : `Its start failed ${failures} times in a row`;
  const rest = Math.ceil(Math.max(0, (until ?? run.now) - run.now) / SECOND);
  decide(run, 'model.backing_off', { model: model.name }, `${often}; it rests for ${rest} s.`, { failures });
  refuseAll(run, model, startFailedError(run, model));
  if (!isPinned(model)) model.loadRequested = false;
}
