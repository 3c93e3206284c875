/** The idle clock counts from the last byte of the last request, or from ready. Decision and grant are the same step. */
import { isPinned } from '../memory/eviction.ts';
import { decide, type Run } from '../run.ts';
import type { Replica } from '../state.ts';
import { drain } from './stop.ts';

/** Its last lease ended. */
export function becameIdle(run: Run, replica: Replica): void {
  replica.idleSince = run.now;
  noticeIdle(run, replica);
}

/** It has neither leases nor waiting tickets: it may leave for others, and some day by itself. */
export function noticeIdle(run: Run, replica: Replica): void {
  if (run.state.unplaced.size > 0) run.capacityChanged = true;
  armIdle(run, replica);
}

export function armIdle(run: Run, replica: Replica): void {
  const { state } = run;
  const key = `idle:${replica.id}`;
  const model = state.models.get(replica.model);
  const stays = !model || isPinned(model) || model.settings.inactivityTimeout === 0 || model.queue.size > 0;
  if (stays || replica.phase !== 'ready' || replica.leases.size > 0) state.deadlines.delete(key);
  else state.deadlines.set(key, replica.idleSince + model.settings.inactivityTimeout);
}

export function idleTimeOut(run: Run, replica: Replica): void {
  const model = run.state.models.get(replica.model);
  if (!model || replica.phase !== 'ready' || replica.leases.size > 0 || model.queue.size > 0 || isPinned(model)) return;
  const seconds = Math.round((run.now - replica.idleSince) / 1000);
  decide(
    run,
    'replica.idle',
    { model: model.name, replica: replica.id },
    `No request for ${seconds} s (inactivity_timeout).`,
  );
  drain(run, replica, 'idle');
}
