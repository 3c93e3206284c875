/**
 * step(state, event, context) → effects. The only writer of fleet state: synchronous, without clock, randomness of its own
 * or IO. The same state, event and context give the same effects.
 */
import { patienceOver, queueTimeOut, ticketAbandoned, ticketArrived } from './admission/admit.ts';
import { leaseReleased, leaseReturned, retryAsked } from './admission/lease.ts';
import type { FleetEffect } from './effects.ts';
import type { FleetEvent } from './events.ts';
import { endAdoption, found } from './lifecycle/adopt.ts';
import { load, pin, replaceSettings, unload } from './lifecycle/commands.ts';
import { deviceObserved, deviceSilent } from './lifecycle/devices.ts';
import { exited } from './lifecycle/exit.ts';
import { idleTimeOut } from './lifecycle/idle.ts';
import { footprintsLoaded, measured } from './lifecycle/learn.ts';
import { checked } from './lifecycle/liveness.ts';
import { prepared, prepareFailed, prepareProgressed, prepareTimeOut, sized } from './lifecycle/prepare.ts';
import { settle } from './lifecycle/scaling.ts';
import { advanceShutdown, beginShutdown, shutdownDue } from './lifecycle/shutdown.ts';
import { startTimesLoaded } from './lifecycle/start-times.ts';
import { backoffOver, becameReady, launched, progressed, startFailed, startTimeOut } from './lifecycle/start.ts';
import { drainTimeOut, stopFailed, stopped } from './lifecycle/stop.ts';
import { turnDue } from './lifecycle/turns.ts';
import { resolve, type Run, type StepContext } from './run.ts';
import type { FleetState, Model, Replica } from './state.ts';

export type { StepContext } from './run.ts';

export function step(state: FleetState, event: FleetEvent, context: StepContext): readonly FleetEffect[] {
  const run: Run = {
    state,
    now: context.now,
    random: context.random,
    effects: [],
    capacityChanged: false,
    books: null,
    turns: null,
  };
  apply(run, event);
  if (run.capacityChanged || state.orphaned.size > 0) {
    run.capacityChanged = true;
    settle(run);
  }
  if (state.shutdown) advanceShutdown(run);
  return run.effects;
}

function apply(run: Run, event: FleetEvent): void {
  switch (event.kind) {
    case 'ticket.arrived':
      return ticketArrived(run, event);
    case 'ticket.abandoned':
      return ticketAbandoned(run, event.id);
    case 'lease.released':
      return leaseReleased(run, event.id, event.outcome);
    case 'lease.returned':
      return leaseReturned(run, event.id);
    case 'retry.asked':
      return retryAsked(run, event.id);
    case 'device.observed':
      return deviceObserved(run, event);
    case 'device.silent':
      return deviceSilent(run, event.id, event.reason);
    case 'footprints.loaded':
      return footprintsLoaded(run, event.footprints);
    case 'start_times.loaded':
      return startTimesLoaded(run, event.times);
    case 'model.load':
      return withModel(run, event.model, (model) => load(run, model));
    case 'model.unload':
      return withModel(run, event.model, (model) => unload(run, model, event.reason));
    case 'model.pin':
      return withModel(run, event.model, (model) => pin(run, model, event.pinned));
    case 'settings.replaced':
      return replaceSettings(run, event.settings);
    case 'shutdown.begun':
      return beginShutdown(run, event.keep, event.deadline);
    case 'time.passed':
      return timePassed(run);
    case 'adoption.begun':
      run.state.adopting = true;
      return;
    case 'replica.found':
      return found(run, event.found);
    case 'adoption.ended':
      return endAdoption(run);
    case 'model.sized':
    case 'model.prepare_progressed':
    case 'model.prepared':
    case 'model.prepare_failed':
      return withModel(run, event.model, (model) => applyToPreparation(run, model, event));
    default:
      return applyToReplica(run, event);
  }
}

type PreparationEvent = Extract<
  FleetEvent,
  { readonly kind: 'model.sized' | 'model.prepare_progressed' | 'model.prepared' | 'model.prepare_failed' }
>;

function applyToPreparation(run: Run, model: Model, event: PreparationEvent): void {
  switch (event.kind) {
    case 'model.sized':
      return sized(run, model, event.size);
    case 'model.prepare_progressed':
      return prepareProgressed(run, model, event.phase, event.fraction);
    case 'model.prepared':
      return prepared(run, model, event.image);
    case 'model.prepare_failed':
      return prepareFailed(run, model, event.cause, event.message);
  }
}

type ReplicaEvent = Extract<FleetEvent, { readonly replica: unknown }>;

/** Results name the replica by id and generation: a stale one changes nothing. */
function applyToReplica(run: Run, event: ReplicaEvent): void {
  const replica = resolve(run, event.replica);
  if (!replica) return;
  switch (event.kind) {
    case 'replica.launched':
      return launched(run, replica, event.endpoint);
    case 'replica.progressed':
      return progressed(run, replica, event.phase, event.fraction, event.milestone);
    case 'replica.ready':
      return becameReady(run, replica);
    case 'replica.start_failed':
      return startFailed(run, replica, event.cause, event.message, event.shortage ?? null);
    case 'replica.exited':
      return exited(run, replica, event.detail, event.cause, event.shortage ?? null);
    case 'replica.stopped':
      return stopped(run, replica);
    case 'replica.stop_failed':
      return stopFailed(run, replica, event.detail);
    case 'replica.measured':
      return measured(run, replica, event.steady, event.footprint);
    case 'replica.checked':
      return checked(run, replica, event.report);
  }
}

function withModel(run: Run, name: string, act: (model: Model) => void): void {
  const model = run.state.models.get(name);
  if (model) act(model);
}

/** Everything that is due, in order of time. */
function timePassed(run: Run): void {
  for (;;) {
    const key = run.state.deadlines.takeDue(run.now);
    if (key === null) return;
    const colon = key.indexOf(':');
    const kind = colon < 0 ? key : key.slice(0, colon);
    if (kind !== 'turn') run.turns = null;
    due(run, kind, key.slice(colon + 1));
  }
}

function due(run: Run, kind: string, name: string): void {
  const model = (): Model | undefined => run.state.models.get(name);
  const replica = (): Replica | undefined => run.state.replicas.get(name);
  switch (kind) {
    case 'queue':
      return on(model(), (it) => queueTimeOut(run, it));
    case 'patience':
      return patienceOver(run, name);
    case 'turn':
      return on(model(), (it) => turnDue(run, it));
    case 'settle':
      run.capacityChanged = true;
      return;
    case 'backoff':
      return on(model(), (it) => backoffOver(run, it));
    case 'prepare':
    case 'prepstall':
      return on(model(), (it) => prepareTimeOut(run, it, kind));
    case 'start':
    case 'stall':
      return on(replica(), (it) => startTimeOut(run, it, kind));
    case 'idle':
      return on(replica(), (it) => idleTimeOut(run, it));
    case 'drain':
      return on(replica(), (it) => drainTimeOut(run, it));
    case 'shutdown':
      return shutdownDue(run);
    default:
      throw new Error(`unknown deadline: ${kind}`);
  }
}

function on<T>(found: T | undefined, act: (it: T) => void): void {
  if (found !== undefined) act(found);
}
