/** A start that failed has moved others out for nothing: those that nobody waits for come back if they still fit. */
import type { Run } from '../run.ts';
import type { Model, Replica } from '../state.ts';
import { isWanted } from './wanted.ts';

/** The memory of the failed replica is on its way back. Who is waited for comes back by itself. */
export function restoreDisplaced(run: Run, model: Model, failed: Replica): void {
  for (const name of model.displaced) {
    const victim = run.state.models.get(name);
    if (victim && mayReturn(run, victim)) run.state.restoring.set(name, failed.id);
  }
  model.displaced.clear();
}

/** A courtesy: nothing is fetched for it, and no rest is cut short. */
export function mayReturn(run: Run, model: Model): boolean {
  return (
    run.state.shutdown === null &&
    model.current === null &&
    model.prepared &&
    model.backoff.until === null &&
    model.settings.unstartable === null &&
    !isWanted(model)
  );
}
