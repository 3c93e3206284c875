/** When a model without a place may ask for its turn, as a deadline. */
import type { Milliseconds } from '../../units.ts';
import { booksOf, type Books, type Shelf } from '../memory/books.ts';
import type { Run } from '../run.ts';
import type { Model, Replica } from '../state.ts';
import { turnEndsAt } from './turns-rule.ts';

/** When this model may ask for its turn; null when it waits for nothing or turns are off. */
export function turnAt(run: Run, model: Model): Milliseconds | null {
  const { maxTurn } = run.state.settings.limits;
  if (maxTurn === 0 || model.unplacedSince === null) return null;
  const since = model.queue.oldest()?.arrivedAt ?? model.unplacedSince;
  return since + maxTurn;
}

/** `books`: of this moment, where they are open. */
export function syncTurnDeadline(run: Run, model: Model, books?: Books): void {
  const at = turnAt(run, model);
  setTurn(run, model, at === null || at > run.now ? at : nextChance(run, model, run.now, books ?? booksOf(run.state)));
}

export function setTurn(run: Run, model: Model, at: Milliseconds | null): void {
  if (at === null) run.state.deadlines.delete(`turn:${model.name}`);
  else run.state.deadlines.set(`turn:${model.name}`, at);
}

/** After a replica became ready: it is one that a turn may be asked of, later. */
export function syncTurnDeadlines(run: Run): void {
  if (run.state.unplaced.size === 0) return;
  const books = booksOf(run.state);
  for (const name of run.state.unplaced) {
    const model = run.state.models.get(name);
    if (model) syncTurnDeadline(run, model, books);
  }
}

/** The earliest moment, not before `from`, at which a replica on its devices has had its turn; null when there is none. */
export function nextChance(run: Run, model: Model, from: Milliseconds, books: Books): Milliseconds | null {
  const shelf = books.shelf(model.settings.deviceIds);
  if (shelf.nextTurn?.from !== from) shelf.nextTurn = { from, at: nextTurn(run, shelf, from) };
  return shelf.nextTurn.at;
}

function nextTurn(run: Run, { books }: Shelf, from: Milliseconds): Milliseconds | null {
  let earliest: Milliseconds | null = null;
  const consider = (replica: Replica): void => {
    if (replica.phase !== 'ready' || replica.readyAt === null) return;
    const ends = turnEndsAt(run.state, replica);
    const at = ends <= run.now && from <= run.now ? run.now : ends;
    if (at >= from) earliest = Math.min(earliest ?? Infinity, at);
  };
  for (const { residents } of books) for (const replica of residents) consider(replica);
  return earliest;
}
