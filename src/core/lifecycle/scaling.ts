/** Demand becomes a replica: plan, reservation, eviction, launch; and goes away again when nobody wants it any more. */
import { gatewayError } from '../../errors.ts';
import { refuseAll, unstartableError } from '../admission/refuse.ts';
import { isPinned } from '../memory/eviction.ts';
import { explainPlan, whyItWaits } from '../memory/explain.ts';
import { booksOf, type Books } from '../memory/books.ts';
import { bytesAreFree, capacity, committed, takesStarts } from '../memory/ledger.ts';
import { planIdle, wouldStillFit, type Plan } from '../memory/plan.ts';
import { SECOND, type Bytes } from '../../units.ts';
import { currentOf, decide, type Run } from '../run.ts';
import type { Model, Replica } from '../state.ts';
import { endRest, isBackingOff } from './backoff.ts';
import { syncClocks } from './clocks.ts';
import { cancelUnwanted, prepare } from './prepare.ts';
import { mayReturn } from './restore.ts';
import { awaitsPort, launch, replicaFor } from './start.ts';
import { requestGate, takeNext } from './start-gate.ts';
import { beginStop, drain, stopNow, withdraw } from './stop.ts';
import { syncTurnDeadline } from './turn-deadline.ts';
import { isWanted } from './wanted.ts';

/** Finds a place for a model that has none, or notes that it waits for one, or refuses its tickets. */
export function place(run: Run, model: Model): void {
  const { state, now } = run;
  if (model.current !== null || state.shutdown || state.adopting) return;
  const unstartable = unstartableError(model);
  if (unstartable) {
    forgetPlace(run, model);
    model.loadRequested = false;
    refuseAll(run, model, unstartable);
    return;
  }
  if (isBackingOff(model, now)) return;
  endRest(run, model);
  if (!isWanted(model)) {
    forgetPlace(run, model);
    return;
  }
  if (!model.prepared) {
    forgetPlace(run, model);
    prepare(run, model);
    return;
  }
  const books = run.books ?? booksOf(state);
  // All that may be decided below changes what the books tell of; that a model goes on waiting does not.
  run.books = null;
  const plan = planIdle(state, model, now, books);
  if (plan.kind === 'impossible') {
    refuseForGood(run, model, plan);
    return;
  }
  if (plan.kind === 'fits' && mayPass(run, model, plan.reservations, books)) {
    reserve(run, model, plan, 'evicted');
    return;
  }
  const waited = model.unplacedSince !== null;
  waitForPlace(run, model, plan, books);
  if (waited) run.books = books;
}

function waitForPlace(run: Run, model: Model, plan: Plan, books: Books): void {
  const { state, now } = run;
  model.waitingFor = { plan, words: null };
  if (model.unplacedSince === null) {
    model.unplacedSince = now;
    state.unplaced.add(model.name);
    decide(run, 'model.waiting', { model: model.name }, whyItWaits(model) ?? '');
    abandonUnwanted(run, model);
  }
  model.lastPlanFailure = null;
  if (plan.kind === 'wait' && plan.retryAt !== null) state.deadlines.set(`settle:${model.name}`, plan.retryAt);
  syncTurnDeadline(run, model, books);
}

export function forgetPlace(run: Run, model: Model): void {
  model.unplacedSince = null;
  model.waitingFor = null;
  run.state.unplaced.delete(model.name);
  run.state.deadlines.delete(`turn:${model.name}`);
  run.state.deadlines.delete(`settle:${model.name}`);
}

function refuseForGood(run: Run, model: Model, plan: Extract<Plan, { kind: 'impossible' }>): void {
  const words = explainPlan(run.state, model, plan);
  if (words !== model.lastPlanFailure) {
    decide(run, 'model.no_capacity', { model: model.name }, words, { missing_bytes: plan.shortage.missingBytes });
  }
  forgetPlace(run, model);
  model.loadRequested = false;
  model.lastPlanFailure = words;
  refuseAll(run, model, gatewayError('no_capacity', words, { shouldRetry: !plan.never, retryAfterMs: 30 * SECOND }));
}

/** A model may pass one that has waited longer only when that one would still fit beside it. */
export function mayPass(
  run: Run,
  model: Model,
  reservations: ReadonlyMap<string, Bytes>,
  books: Books = booksOf(run.state),
): boolean {
  if (reservations.size === 0) return true;
  for (const name of run.state.unplaced) {
    if (name === model.name) return true;
    const ahead = run.state.models.get(name);
    if (ahead && !wouldStillFit(run.state, ahead, reservations, books)) return false;
  }
  return true;
}

/** Bytes are promised in the same step as the decision; victims stop being routable in it too. */
export function reserve(
  run: Run,
  model: Model,
  plan: Extract<Plan, { kind: 'fits' }>,
  reason: 'evicted' | 'turn',
): void {
  const { state, now } = run;
  const replica = replicaFor(run, model, plan);
  for (const id of plan.victims) {
    const victim = state.replicas.get(id);
    if (!victim) continue;
    const busy = victim.leases.size > 0;
    state.counters.evictions += 1;
    if (busy) state.counters.fences += 1;
    const words = busy
      ? `It is fenced: model '${model.name}' has waited for its turn.`
      : `It is idle and model '${model.name}' needs its memory.`;
    decide(run, busy ? 'replica.fenced' : 'replica.evicted', { model: victim.model, replica: victim.id }, words, {
      for: model.name,
    });
    model.displaced.add(victim.model);
    drain(run, victim, busy ? 'turn' : reason);
  }
  forgetPlace(run, model);
  model.lastPlanFailure = null;
  model.current = replica.id;
  state.replicas.set(replica.id, replica);
  decide(run, 'replica.reserved', { model: model.name, replica: replica.id }, explainPlan(state, model, plan));
  syncClocks(run, model);
  requestGate(state, { replicaId: replica.id, operation: 'start', since: now });
  run.capacityChanged = true;
}

/** Stops and starts whose gates are free begin. */
export function pumpGate(run: Run): void {
  const { state } = run;
  for (;;) {
    const next = takeNext(state, (replica) => bytesAreFree(state, replica) && !awaitsPort(state, replica));
    if (!next) return;
    if (next.request.operation === 'stop') beginStop(run, next.replica);
    else launch(run, next.replica);
  }
}

/** Looks again at all that wait, until nothing changes any more. */
export function settle(run: Run): void {
  while (run.capacityChanged) {
    run.capacityChanged = false;
    withdrawMisfits(run);
    pumpGate(run);
    run.books = null;
    for (const name of run.state.unplaced) {
      const model = run.state.models.get(name);
      if (model) place(run, model);
    }
    // What is to be on always does not take an earlier no for an answer.
    for (const model of run.state.models.values()) {
      if (model.lastPlanFailure !== null && isPinned(model)) place(run, model);
    }
    // A model may have lost its replica while its tickets wait.
    for (const name of run.state.orphaned) {
      run.state.orphaned.delete(name);
      const model = run.state.models.get(name);
      if (model && model.current === null && isWanted(model)) place(run, model);
    }
    for (const [name, failed] of run.state.restoring) restore(run, name, failed);
  }
  run.books = null;
}

/** Who was evicted for a start that failed comes back, if that takes nothing from anybody. */
function restore(run: Run, name: string, failed: string): void {
  const { state } = run;
  const model = state.models.get(name);
  if (!model || !mayReturn(run, model)) {
    state.restoring.delete(name);
    return;
  }
  const plan = planIdle(state, model, run.now);
  if (plan.kind === 'fits' && plan.victims.length === 0 && !isAwaited(run, plan.reservations)) {
    state.restoring.delete(name);
    decide(run, 'model.restored', { model: name }, 'It was evicted for a start that failed, and comes back.');
    reserve(run, model, plan, 'evicted');
  } else if (!state.replicas.has(failed)) {
    state.restoring.delete(name);
  }
}

/** Somebody waits for memory there: what is free is a part of it, and a start in its way would have to be waited for. */
function isAwaited({ state }: Run, reservations: ReadonlyMap<string, Bytes>): boolean {
  for (const name of state.unplaced) {
    if (state.models.get(name)?.settings.deviceIds.some((id) => reservations.has(id))) return true;
  }
  return false;
}

/** Reservations that can no longer come true (a victim got stuck, others took memory) are planned anew. */
function withdrawMisfits(run: Run): void {
  const { state } = run;
  for (const replica of state.replicas.values()) {
    if (replica.phase !== 'reserved') continue;
    for (const id of replica.reservations.keys()) {
      const device = state.devices.get(id);
      const allowed = state.models.get(replica.model)?.settings.deviceIds.includes(id) === true;
      if (device && allowed && takesStarts(device) && committed(state, id) <= capacity(device)) continue;
      withdraw(run, replica, `Its place on ${id} is gone; it is planned anew.`);
      state.orphaned.add(replica.model);
      break;
    }
  }
}

/** A waiting model takes back what a start without demand holds. */
function abandonUnwanted(run: Run, forModel: Model): void {
  for (const replica of run.state.replicas.values()) {
    const model = run.state.models.get(replica.model);
    if (!model || model === forModel || isWanted(model)) continue;
    const shares = [...replica.reservations.keys()].some((id) => forModel.settings.deviceIds.includes(id));
    if (shares) abandon(run, replica, forModel);
  }
}

/** The last waiter left: a reservation goes back; a start goes on unless another model waits for those bytes. */
export function considerAbandoned(run: Run, model: Model): void {
  const { state } = run;
  if (isWanted(model)) return;
  cancelUnwanted(run, model);
  if (model.unplacedSince !== null) {
    forgetPlace(run, model);
    run.capacityChanged = true;
  }
  const replica = currentOf(state, model);
  if (!replica) return;
  if (replica.phase === 'reserved') {
    model.displaced.clear();
    withdraw(run, replica, 'Nobody waits for it any more.');
    return;
  }
  for (const name of state.unplaced) {
    const waiting = state.models.get(name);
    const shares = waiting && [...replica.reservations.keys()].some((id) => waiting.settings.deviceIds.includes(id));
    if (shares) {
      abandon(run, replica, waiting);
      return;
    }
  }
}

function abandon(run: Run, replica: Replica, forModel: Model): void {
  if (replica.phase === 'reserved') {
    run.state.models.get(replica.model)?.displaced.clear();
    withdraw(run, replica, `Nobody waits for it any more and model '${forModel.name}' needs the memory.`);
  } else if (replica.phase === 'starting') {
    decide(
      run,
      'replica.abandoned',
      { model: replica.model, replica: replica.id },
      `Nobody waits for it any more and model '${forModel.name}' needs the memory.`,
    );
    run.state.models.get(replica.model)?.displaced.clear();
    stopNow(run, replica, 'abandoned');
  }
}
