/** An engine ended or went silent without being asked. Any unasked exit is a crash, whatever its code. */
import { gatewayError, type StartFailureCause } from '../../errors.ts';
import { isPinned } from '../memory/eviction.ts';
import { decide, type Run } from '../run.ts';
import type { Bytes } from '../../units.ts';
import type { Replica } from '../state.ts';
import { backOffAfterCrash, recordFailure } from './backoff.ts';
import { startFailed } from './start.ts';
import { cutLeases, stopNow } from './stop.ts';

/** `shortage`: as in `startFailed`. */
export function exited(
  run: Run,
  replica: Replica,
  detail: string,
  cause: StartFailureCause,
  shortage: Bytes | null = null,
): void {
  replica.exited = true;
  switch (replica.phase) {
    case 'starting':
      // One that an earlier run had started proves nothing about a start: it was on its way out, or died with us.
      if (replica.adopted) crashed(run, replica, 'crashed', detail);
      else startFailed(run, replica, cause, detail, shortage);
      return;
    case 'ready':
      crashed(run, replica, 'crashed', detail);
      return;
    case 'draining':
      // It was to leave anyway; its leases end by themselves when their sockets do.
      stopNow(run, replica, 'crashed');
      return;
    case 'reserved':
    case 'stopping':
    case 'zombie':
      return;
  }
}

/** A ready replica is lost. Work that waits is kept and restarts it, with back-off when it happens again and again. */
export function crashed(run: Run, replica: Replica, reason: 'crashed' | 'stalled' | 'unhealthy', detail: string): void {
  const model = run.state.models.get(replica.model);
  decide(run, `replica.${reason}`, { model: replica.model, replica: replica.id }, detail);
  stopNow(run, replica, reason);
  if (model) {
    recordFailure(run, model, 'crashed', detail);
    backOffAfterCrash(run, model);
  }
  if (reason !== 'crashed') {
    cutLeases(
      run,
      replica,
      gatewayError('upstream_timeout', `The engine of model '${replica.model}' stopped answering: ${detail}`),
    );
  }
  if (model && (isPinned(model) || model.queue.size > 0)) run.state.orphaned.add(model.name);
}
