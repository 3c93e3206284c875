/**
 * Turn-taking: a hot model cannot keep its neighbour out for ever. When the oldest ticket of a model without a place has
 * waited `max_turn`, the cheapest set of replicas that have had their turn is fenced in one step.
 */
import type { Milliseconds } from '../../units.ts';
import { planTurn } from '../memory/plan.ts';
import type { Run } from '../run.ts';
import type { Model } from '../state.ts';
import { reserve } from './scaling.ts';
import { turnEndsAt } from './turns-rule.ts';

/** When this model may ask for its turn; null when it waits for nothing or turns are off. */
function turnAt(run: Run, model: Model): Milliseconds | null {
  const { maxTurn } = run.state.settings.limits;
  if (maxTurn === 0 || model.unplacedSince === null) return null;
  const since = model.queue.oldest()?.arrivedAt ?? model.unplacedSince;
  return since + maxTurn;
}

export function syncTurnDeadline(run: Run, model: Model): void {
  const at = turnAt(run, model);
  setTurn(run, model, at === null || at > run.now ? at : nextChance(run, model, run.now));
}

function setTurn(run: Run, model: Model, at: Milliseconds | null): void {
  if (at === null) run.state.deadlines.delete(`turn:${model.name}`);
  else run.state.deadlines.set(`turn:${model.name}`, at);
}

/** After a replica became ready: it is one that a turn may be asked of, later. */
export function syncTurnDeadlines(run: Run): void {
  for (const name of run.state.unplaced) {
    const model = run.state.models.get(name);
    if (model) syncTurnDeadline(run, model);
  }
}

/** The earliest moment, not before `from`, at which a replica on its devices has had its turn; null when there is none. */
function nextChance(run: Run, model: Model, from: Milliseconds): Milliseconds | null {
  let earliest: Milliseconds | null = null;
  for (const replica of run.state.replicas.values()) {
    if (replica.phase !== 'ready' || replica.readyAt === null) continue;
    if (![...replica.reservations.keys()].some((id) => model.settings.deviceIds.includes(id))) continue;
    const ends = turnEndsAt(run.state, replica);
    const at = ends <= run.now && from <= run.now ? run.now : ends;
    if (at >= from) earliest = Math.min(earliest ?? Infinity, at);
  }
  return earliest;
}

export function turnDue(run: Run, model: Model): void {
  if (model.unplacedSince === null || model.current !== null || run.state.shutdown) return;
  // One that has waited longer and wants the same devices takes its turn first.
  for (const name of run.state.unplaced) {
    if (name === model.name) break;
    const ahead = run.state.models.get(name);
    if (ahead?.settings.deviceIds.some((id) => model.settings.deviceIds.includes(id)) && isDue(run, ahead)) {
      tryTurn(run, ahead);
      if (model.unplacedSince === null) return;
    }
  }
  tryTurn(run, model);
}

function isDue(run: Run, model: Model): boolean {
  const at = turnAt(run, model);
  return at !== null && at <= run.now;
}

function tryTurn(run: Run, model: Model): void {
  const plan = planTurn(run.state, model, run.now);
  if (plan) {
    reserve(run, model, plan, 'evicted');
    return;
  }
  setTurn(run, model, nextChance(run, model, run.now + 1));
}
