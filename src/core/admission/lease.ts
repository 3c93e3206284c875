/** The end of a lease, once, by identity: a release for a lease that is gone changes nothing. */
import { gatewayError } from '../../errors.ts';
import type { LeaseOutcome } from '../events.ts';
import { readClock } from '../lifecycle/clocks.ts';
import { crashed } from '../lifecycle/exit.ts';
import { becameIdle } from '../lifecycle/idle.ts';
import { leaseLeft } from '../lifecycle/stop.ts';
import type { Run } from '../run.ts';
import type { Lease, Replica } from '../state.ts';
import { enqueue } from './admit.ts';
import { dispatch, syncGrantable } from './dispatch.ts';
import { countLease } from './retry-after.ts';
import { withdrawRetry } from './retry-budget.ts';

export function leaseReleased(run: Run, id: string, outcome: LeaseOutcome): void {
  const lease = run.state.leases.get(id);
  if (!lease) return;
  const model = run.state.models.get(lease.ticket.model);
  if (model && outcome === 'completed') countLease(model, run.now - lease.grantedAt);
  run.state.counters.released += 1;
  end(run, lease);
}

/** The engine is going down and the client has seen nothing: its ticket goes back to the head of the queue, once. */
export function leaseReturned(run: Run, id: string): void {
  const lease = run.state.leases.get(id);
  if (!lease) return;
  const { ticket, waited } = lease;
  const model = run.state.models.get(ticket.model);
  run.state.counters.returned += 1;
  const replica = run.state.replicas.get(lease.replicaId);
  // The engine's own words came before its end was seen: without this the ticket would get the same replica again.
  if (replica?.phase === 'ready' && replica.driver !== 'external') {
    crashed(run, replica, 'crashed', 'It said that it is going down.');
  }
  end(run, lease);
  if (!model || ticket.returned || run.state.shutdown) {
    const error = gatewayError('upstream_lost', `The engine of model '${ticket.model}' went away before it answered.`);
    run.state.counters.refused += 1;
    run.effects.push({ kind: 'ticket.refused', id, error });
    return;
  }
  const queueClockAtArrival = readClock(model.queueClock, run.now) - waited;
  enqueue(run, model, { ...ticket, returned: true, queueClockAtArrival });
}

export function retryAsked(run: Run, id: string): void {
  const { state, now } = run;
  const lease = state.leases.get(id);
  const model = lease && state.models.get(lease.ticket.model);
  const granted =
    lease !== undefined &&
    model !== undefined &&
    !lease.cut &&
    !state.shutdown &&
    withdrawRetry({
      ticketId: id,
      attempts: state.settings.retry.attempts,
      model: model.retries,
      fleet: state.retries,
      now,
    });
  run.effects.push({ kind: 'retry.answered', id, granted });
}

function end(run: Run, lease: Lease): void {
  const { state, now } = run;
  state.leases.delete(lease.id);
  const replica = state.replicas.get(lease.replicaId);
  replica?.leases.delete(lease.id);
  const model = state.models.get(lease.ticket.model);
  if (model) {
    model.lastUsedAt = now;
    syncGrantable(run, model);
  }
  dispatch(run);
  if (replica) afterLease(run, replica);
}

function afterLease(run: Run, replica: Replica): void {
  if (replica.leases.size > 0) return;
  if (replica.phase === 'ready') becameIdle(run, replica);
  else leaseLeft(run, replica);
}
