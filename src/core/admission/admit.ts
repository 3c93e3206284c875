/** A ticket arrives: granted, queued or refused, decided once, here, with the reason. */
import { SECOND } from '../../units.ts';
import { gatewayError } from '../../errors.ts';
import type { FleetEvent } from '../events.ts';
import { isBackingOff } from '../lifecycle/backoff.ts';
import { readClock, syncQueueDeadline } from '../lifecycle/clocks.ts';
import { considerAbandoned, place } from '../lifecycle/scaling.ts';
import { syncTurnDeadline } from '../lifecycle/turn-deadline.ts';
import { whyItWaits } from '../memory/explain.ts';
import { currentOf, readyReplica, type Run } from '../run.ts';
import type { Model, Ticket } from '../state.ts';
import { dispatch, grant, hasFreeLease, hasFreeSlot, syncGrantable } from './dispatch.ts';
import { backingOffError, refuse, removeTicket, unstartableError } from './refuse.ts';
import { retryAfterQueue } from './retry-after.ts';
import { waitingFor } from './waiting-for.ts';

type Arrived = Extract<FleetEvent, { kind: 'ticket.arrived' }>;

export function ticketArrived(run: Run, event: Arrived): void {
  const { state, now } = run;
  state.counters.received += 1;
  const model = state.models.get(event.model);
  if (!model) {
    turnAway(
      run,
      event.id,
      gatewayError('model_not_found', `Model '${event.model}' is not configured any more.`, { param: 'model' }),
    );
    return;
  }
  model.retries.countRequest(now);
  state.retries.countRequest(now);
  const barred = whyBarred(run, model);
  if (barred) {
    turnAway(run, event.id, barred);
    return;
  }
  const ticket = ticketFor(run, model, event);
  const replica = readyReplica(state, model);
  if (replica && model.queue.size === 0 && hasFreeSlot(model, replica) && hasFreeLease(run)) {
    grant(run, model, replica, ticket);
    return;
  }
  const { maxQueueSize, maxConcurrent } = model.settings;
  const bound = replica ? maxQueueSize : maxQueueSize + maxConcurrent;
  if (model.queue.size >= bound) {
    const queue = { depth: model.queue.size, max: bound };
    const requests = queue.depth === 1 ? '1 request' : `${queue.depth} requests`;
    const message = `Model '${model.name}' has ${requests} waiting, which is its limit. Retry later, or raise max_queue_size.`;
    turnAway(run, event.id, gatewayError('queue_full', message, { retryAfterMs: retryAfterQueue(run, model), queue }));
    return;
  }
  enqueue(run, model, ticket);
}

/** Puts the ticket in the queue (at its head when it came back) and sees to it that something is coming for it. */
export function enqueue(run: Run, model: Model, ticket: Ticket): void {
  const { state } = run;
  if (ticket.returned) model.queue.putBack(ticket);
  else model.queue.push(ticket);
  state.tickets.set(ticket.id, ticket);
  if (ticket.patienceUntil !== null) state.deadlines.set(`patience:${ticket.id}`, ticket.patienceUntil);
  const current = currentOf(state, model);
  if (current) state.deadlines.delete(`idle:${current.id}`);
  if (ticket.returned || model.queue.oldest() === ticket) syncQueueDeadline(run, model);
  syncGrantable(run, model);
  run.effects.push({ kind: 'ticket.queued', id: ticket.id, depth: model.queue.size });
  if (!current) {
    if (model.unplacedSince === null) place(run, model);
    else syncTurnDeadline(run, model);
  }
  if (ticket.returned) dispatch(run);
}

export function ticketAbandoned(run: Run, id: string): void {
  const ticket = run.state.tickets.get(id);
  if (!ticket) return;
  const model = run.state.models.get(ticket.model);
  if (!model) return;
  removeTicket(run, model, ticket);
  run.state.counters.abandoned += 1;
  considerAbandoned(run, model);
}

/** The oldest tickets whose time is over, and the tickets of impatient clients. */
export function queueTimeOut(run: Run, model: Model): void {
  for (const ticket of model.queue) {
    const waited = readClock(model.queueClock, run.now) - ticket.queueClockAtArrival;
    if (waited < model.settings.queueTimeout) {
      if (ticket.returned) continue;
      break;
    }
    refuse(run, model, ticket, timeOutError(run, model, ticket, `limits.queue_timeout`));
  }
  syncQueueDeadline(run, model);
  considerAbandoned(run, model);
}

export function patienceOver(run: Run, ticketId: string): void {
  const ticket = run.state.tickets.get(ticketId);
  const model = ticket && run.state.models.get(ticket.model);
  if (!ticket || !model) return;
  refuse(run, model, ticket, timeOutError(run, model, ticket, `the client's own time-out`));
  considerAbandoned(run, model);
}

function timeOutError(run: Run, model: Model, ticket: Ticket, limit: string) {
  const seconds = Math.round((run.now - ticket.arrivedAt) / 1000);
  const why = run.state.unplaced.has(model.name) ? whyItWaits(model) : null;
  if (why !== null) {
    return gatewayError(
      'no_capacity',
      `No memory became free for model '${model.name}' within ${seconds} s (${limit}). ${why}`,
      {
        retryAfterMs: retryAfterQueue(run, model),
      },
    );
  }
  // Without a replica and without files on their way, what is known is an earlier failure: not what it waited for.
  const awaited = model.current !== null || model.preparation ? waitingFor(run.state, model) : null;
  return gatewayError(
    'queue_timeout',
    `The request waited ${seconds} s for model '${model.name}', longer than ${limit} allows${awaited === null ? '' : `; it waited for ${awaited}`}.`,
    {
      retryAfterMs: retryAfterQueue(run, model),
    },
  );
}

function whyBarred(run: Run, model: Model) {
  const { state, now } = run;
  if (state.shutdown)
    return gatewayError('shutting_down', 'The gateway is shutting down. Retry against its successor.', {
      retryAfterMs: SECOND,
    });
  const unstartable = unstartableError(model);
  if (unstartable) return unstartable;
  if (isBackingOff(model, now) && model.current === null) return backingOffError(run, model);
  return null;
}

function turnAway(run: Run, id: string, error: ReturnType<typeof gatewayError>): void {
  run.state.counters.refused += 1;
  run.effects.push({ kind: 'ticket.refused', id, error });
}

function ticketFor({ state, now }: Run, model: Model, event: Arrived): Ticket {
  return {
    id: event.id,
    model: model.name,
    keyId: event.keyId,
    arrivedAt: now,
    order: state.counters.received,
    patienceUntil: event.patience === null ? null : now + event.patience,
    stream: event.stream,
    configVersion: state.settings.version,
    returned: false,
    coldClockAtArrival: readClock(model.coldClock, now),
    queueClockAtArrival: readClock(model.queueClock, now),
  };
}
