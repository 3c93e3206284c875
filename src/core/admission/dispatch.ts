/**
 * Waiting tickets meet free slots. `max_in_flight` leases go round-robin over the models that have both; within a model
 * its queue decides. Work-conserving: no ticket waits while its model is ready with a free slot and a lease is to be had.
 */
import { readClock, syncQueueDeadline } from '../lifecycle/clocks.ts';
import { readyReplica, refOf, type Run } from '../run.ts';
import type { Model, Replica, Ticket } from '../state.ts';

export function hasFreeSlot(model: Model, replica: Replica): boolean {
  return replica.leases.size < model.settings.maxConcurrent;
}

export function hasFreeLease(run: Run): boolean {
  return run.state.leases.size < run.state.settings.limits.maxInFlight;
}

/** Keeps the turn order of models that could use a lease. */
export function syncGrantable(run: Run, model: Model): void {
  const replica = readyReplica(run.state, model);
  if (replica && model.queue.size > 0 && hasFreeSlot(model, replica)) run.state.grantable.add(model.name);
  else run.state.grantable.delete(model.name);
}

/** Gives this ticket a lease. The caller has checked slot and lease, and that the replica is ready in this very step. */
export function grant(run: Run, model: Model, replica: Replica, ticket: Ticket): void {
  const { state, now } = run;
  const waited = readClock(model.queueClock, now) - ticket.queueClockAtArrival;
  state.leases.set(ticket.id, { id: ticket.id, ticket, replicaId: replica.id, grantedAt: now, waited, cut: false });
  replica.leases.add(ticket.id);
  model.lastUsedAt = now;
  state.counters.grantedTotal += 1;
  state.deadlines.delete(`idle:${replica.id}`);
  const coldStartMs = readClock(model.coldClock, now) - ticket.coldClockAtArrival;
  run.effects.push({
    kind: 'ticket.granted',
    id: ticket.id,
    replica: refOf(replica),
    model: model.name,
    queuedMs: now - ticket.arrivedAt,
    coldStartMs: Math.max(0, coldStartMs),
  });
}

/** Hands out leases until slots, leases or tickets run out. */
export function dispatch(run: Run): void {
  const { state } = run;
  while (hasFreeLease(run)) {
    const name = state.grantable.first();
    const model = name === undefined ? undefined : state.models.get(name);
    if (!model) return;
    const replica = readyReplica(state, model);
    const ticket = replica ? takeNext(run, model) : undefined;
    if (replica && ticket) grant(run, model, replica, ticket);
    state.grantable.rotate();
    syncGrantable(run, model);
  }
}

function takeNext(run: Run, model: Model): Ticket | undefined {
  const oldest = model.queue.oldest();
  const ticket = model.queue.shift();
  if (!ticket) return undefined;
  run.state.tickets.delete(ticket.id);
  if (ticket.patienceUntil !== null) run.state.deadlines.delete(`patience:${ticket.id}`);
  if (ticket === oldest || ticket.returned) syncQueueDeadline(run, model);
  return ticket;
}
