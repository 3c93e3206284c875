/** The end: nothing new begins, what was accepted is finished in time or told so, engines leave or stay by policy. */
import { gatewayError } from '../../errors.ts';
import { refuseAll } from '../admission/refuse.ts';
import { SECOND, type Milliseconds } from '../../units.ts';
import type { DriverKind } from '../settings.ts';
import { currentOf, decide, type Run } from '../run.ts';
import type { Replica } from '../state.ts';
import { cancelPreparation } from './prepare.ts';
import { forgetPlace } from './scaling.ts';
import { isMeasuring, neighbours } from './start-gate.ts';
import { beginStop, cutLeases, drain, stopNow, withdraw } from './stop.ts';

const GOODBYE = gatewayError('shutting_down', 'The gateway is shutting down. Retry against its successor.', {
  retryAfterMs: SECOND,
});

export function beginShutdown(run: Run, keep: readonly DriverKind[], deadline: Milliseconds): void {
  const { state } = run;
  if (state.shutdown) return;
  state.shutdown = { keep, deadline, cut: false, done: false };
  const kept = keep.filter((kind) => [...state.models.values()].some(({ settings }) => settings.driver === kind));
  decide(
    run,
    'gateway.draining',
    {},
    kept.length > 0
      ? `Accepted requests are finished; engines of ${kept.join(' and ')} stay for the next run.`
      : 'Accepted requests are finished; then engines are stopped.',
  );
  state.deadlines.set('shutdown', deadline);
  for (const model of state.models.values()) {
    forgetPlace(run, model);
    cancelPreparation(run, model, 'The gateway is shutting down.');
    const current = currentOf(state, model);
    // A start in progress may still serve those who wait for it; anything less will not come true.
    if (current?.phase === 'reserved') withdraw(run, current, 'The gateway is shutting down.');
    if (model.current === null) refuseAll(run, model, GOODBYE);
  }
}

/** Time is over: whoever still waits or runs is told. */
export function shutdownDue(run: Run): void {
  const { shutdown, tickets, leases } = run.state;
  if (shutdown) shutdown.cut = tickets.size > 0 || leases.size > 0;
  for (const model of run.state.models.values()) refuseAll(run, model, GOODBYE);
  for (const replica of run.state.replicas.values()) cutLeases(run, replica, GOODBYE);
}

/** After every step of a shutdown: what has no work left leaves; when nothing is left, it is done. */
export function advanceShutdown(run: Run): void {
  const { state } = run;
  if (!state.shutdown || state.shutdown.done) return;
  for (const model of state.models.values())
    if (model.current === null && model.queue.size > 0) refuseAll(run, model, GOODBYE);
  stopWorkless(run, state.shutdown.keep);
  const idle = state.tickets.size === 0 && state.leases.size === 0;
  const { keep } = state.shutdown;
  const gone = [...state.replicas.values()].every(
    (replica) => replica.phase === 'zombie' || (keep.includes(replica.driver) && replica.phase !== 'stopping'),
  );
  if (!idle || !gone) return;
  state.shutdown.done = true;
  state.deadlines.delete('shutdown');
  run.effects.push({ kind: 'shutdown.done' });
}

/** Somebody waits for a start that measures the memory which this one's end would change. */
function disturbsAStart({ state }: Run, replica: Replica): boolean {
  for (const other of neighbours(state, replica)) {
    if (isMeasuring(other) && (state.models.get(other.model)?.queue.size ?? 0) > 0) return true;
  }
  return false;
}

function stopWorkless(run: Run, keep: readonly DriverKind[]): void {
  const { state } = run;
  for (const replica of state.replicas.values()) {
    const waiting = state.models.get(replica.model)?.queue.size ?? 0;
    if (replica.leases.size > 0 || keep.includes(replica.driver)) continue;
    if (replica.phase === 'reserved') withdraw(run, replica, 'The gateway is shutting down.');
    else if (replica.phase === 'ready' && waiting === 0) drain(run, replica, 'shutdown');
    else if (replica.phase === 'starting' && waiting === 0 && !disturbsAStart(run, replica)) {
      stopNow(run, replica, 'shutdown');
    }
    // Stops need not wait for each other any more, only for a start that somebody still waits for.
    if (replica.phase === 'draining' && !disturbsAStart(run, replica)) beginStop(run, replica);
  }
}
