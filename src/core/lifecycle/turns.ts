/**
 * Turn-taking: a hot model cannot keep its neighbour out for ever. When the oldest ticket of a model without a place has
 * waited `max_turn`, the cheapest set of replicas that have had their turn is fenced in one step.
 */
import { booksOf } from '../memory/books.ts';
import { planTurn } from '../memory/plan.ts';
import type { Run } from '../run.ts';
import type { Model } from '../state.ts';
import { mayPass, reserve } from './scaling.ts';
import { nextChance, setTurn, turnAt } from './turn-deadline.ts';

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
  run.turns ??= { books: booksOf(run.state), triedFor: new Set() };
  const { books, triedFor } = run.turns;
  // Each of many that are due at once tries all that are ahead of it: nothing comes of it until something changes.
  if (triedFor.has(model.name)) return;
  const plan = planTurn(run.state, model, run.now, books);
  // Who takes a part of what a longer waiting one needs as a whole would keep it out for ever.
  if (plan && mayPass(run, model, plan.reservations, books)) {
    run.turns = null;
    reserve(run, model, plan, 'evicted');
    return;
  }
  triedFor.add(model.name);
  setTurn(run, model, nextChance(run, model, run.now + 1, books));
}
