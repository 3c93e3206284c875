/**
 * Each model has two clocks. The queue clock runs while no start is under way: all queue time-outs hang on it, so one
 * deadline per model is enough. The cold clock runs while a replica is on its way, for `x-vgw-cold-start-ms`. Making its
 * files present is a part of a start.
 */
import type { Milliseconds } from '../../units.ts';
import { currentOf, type Run } from '../run.ts';
import type { Model, PausableClock } from '../state.ts';

export function readClock(clock: PausableClock, now: Milliseconds): Milliseconds {
  return clock.elapsed + (clock.runningSince === null ? 0 : now - clock.runningSince);
}

function setRunning(clock: PausableClock, running: boolean, now: Milliseconds): void {
  if (running === (clock.runningSince !== null)) return;
  if (clock.runningSince === null) {
    clock.runningSince = now;
  } else {
    clock.elapsed += now - clock.runningSince;
    clock.runningSince = null;
  }
}

/** After every change of the model's current replica or its phase, or of its preparation. */
export function syncClocks(run: Run, model: Model): void {
  const phase = currentOf(run.state, model)?.phase;
  const preparing = model.preparation !== null;
  setRunning(model.queueClock, phase !== 'starting' && !preparing, run.now);
  setRunning(model.coldClock, phase === 'starting' || phase === 'reserved' || preparing, run.now);
  syncQueueDeadline(run, model);
}

/** After every change of the oldest waiting ticket, or of one that came back. */
export function syncQueueDeadline(run: Run, model: Model): void {
  const key = `queue:${model.name}`;
  if (model.queue.size === 0 || model.queueClock.runningSince === null) {
    run.state.deadlines.delete(key);
    return;
  }
  // Those that came back stand first and have waited as long as they did, not as long as they have been here.
  let earliest = Infinity;
  for (const ticket of model.queue) {
    earliest = Math.min(earliest, ticket.queueClockAtArrival);
    if (!ticket.returned) break;
  }
  const waited = readClock(model.queueClock, run.now) - earliest;
  run.state.deadlines.set(key, run.now + Math.max(0, model.settings.queueTimeout - waited));
}
