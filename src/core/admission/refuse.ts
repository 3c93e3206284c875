/** The end of a ticket that gets no lease. */
import { gatewayError, type GatewayError, type StartFailureCause } from '../../errors.ts';
import { syncQueueDeadline } from '../lifecycle/clocks.ts';
import { noticeIdle } from '../lifecycle/idle.ts';
import { readyReplica, type Run } from '../run.ts';
import type { Model, Ticket } from '../state.ts';
import { syncGrantable } from './dispatch.ts';
import { clampRetryAfter } from './retry-after.ts';

/** Takes the ticket out of every list; the caller says how it ended. */
export function removeTicket(run: Run, model: Model, ticket: Ticket): void {
  const wasOldest = model.queue.oldest() === ticket;
  model.queue.delete(ticket);
  run.state.tickets.delete(ticket.id);
  if (ticket.patienceUntil !== null) run.state.deadlines.delete(`patience:${ticket.id}`);
  if (wasOldest || ticket.returned) syncQueueDeadline(run, model);
  syncGrantable(run, model);
  const replica = readyReplica(run.state, model);
  if (replica && replica.leases.size === 0 && model.queue.size === 0) noticeIdle(run, replica);
}

export function refuse(run: Run, model: Model, ticket: Ticket, error: GatewayError): void {
  removeTicket(run, model, ticket);
  run.state.counters.refused += 1;
  run.effects.push({ kind: 'ticket.refused', id: ticket.id, error });
}

export function refuseAll(run: Run, model: Model, error: GatewayError): void {
  for (const ticket of model.queue) refuse(run, model, ticket, error);
}

/** Undefined when nothing in its settings forbids a start. */
export function unstartableError(model: Model): GatewayError | undefined {
  if (model.settings.unstartable === null) return undefined;
  const { cause, message } = model.settings.unstartable;
  return gatewayError('model_start_failed', `Model '${model.name}' cannot be started: ${message}`, {
    cause,
    shouldRetry: false,
  });
}

/** What its configuration makes impossible stays so until somebody changes it, however long a client waits. */
function causeOf(cause: StartFailureCause = 'crashed'): Pick<GatewayError, 'cause' | 'shouldRetry'> {
  return cause === 'bad_arguments' || cause === 'unsupported' ? { cause, shouldRetry: false } : { cause };
}

export function startFailedError(run: Run, model: Model): GatewayError {
  const failure = model.lastFailure;
  const rest = model.backoff.until === null ? 0 : model.backoff.until - run.now;
  return gatewayError(
    'model_start_failed',
    `Model '${model.name}' could not be started: ${failure?.message ?? 'unknown reason'}`,
    {
      ...causeOf(failure?.cause),
      retryAfterMs: clampRetryAfter(rest),
    },
  );
}

export function backingOffError(run: Run, model: Model): GatewayError {
  const failure = model.lastFailure;
  const rest = model.backoff.until === null ? 0 : model.backoff.until - run.now;
  const again = `The next attempt is possible in ${Math.max(1, Math.ceil(rest / 1000))} s.`;
  return gatewayError(
    'model_backing_off',
    `Model '${model.name}' failed to start before: ${failure?.message ?? 'its engine died'} ${again}`,
    {
      ...causeOf(failure?.cause),
      retryAfterMs: clampRetryAfter(rest),
    },
  );
}
