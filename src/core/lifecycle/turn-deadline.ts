/** When a model without a place may ask for its turn, as a deadline. */
import type { Milliseconds } from '../../units.ts';
import type { Run } from '../run.ts';
import type { Model } from '../state.ts';
import { turnEndsAt } from './turns-rule.ts';

/** When this model may ask for its turn; null when it waits for nothing or turns are off. */
export function turnAt(run: Run, model: Model): Milliseconds | null {
  const { maxTurn } = run.state.settings.limits;
  if (maxTurn === 0 || model.unplacedSince === null) return null;
  const since = model.queue.oldest()?.arrivedAt ?? model.unplacedSince;
  return since + maxTurn;
}

export function syncTurnDeadline(run: Run, model: Model): void {
  const at = turnAt(run, model);
  setTurn(run, model, at === null || at > run.now ? at : nextChance(run, model, run.now));
}

export function setTurn(run: Run, model: Model, at: Milliseconds | null): void {
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
export function nextChance(run: Run, model: Model, from: Milliseconds): Milliseconds | null {
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
