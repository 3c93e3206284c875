/** When a model will be ready: from where its start is, what such starts took before, and the pace of what is loaded now. */
import type { Milliseconds } from '../../units.ts';
import { currentOf } from '../run.ts';
import type { FleetState, Model, Replica } from '../state.ts';
import { expected, leftByPace, type PhaseProgress } from './phase-progress.ts';
import { neighbours } from './start-gate.ts';
import { LAUNCH, timesOfModel, timesOfStart, totalOf, type StartTimes } from './start-times.ts';

/** What is on its way for the requests that wait for a model. */
export interface ComingStart {
  /** `preparing`: its files are fetched; `reserved`: it waits for memory or for a neighbour; `starting`: its engine loads. */
  readonly stage: 'preparing' | 'reserved' | 'starting';
  /** One of a fixed set of the gateway's and the engine's; null while reserved. */
  readonly phase: string | null;
  /** Of the phase, in [0, 1]; null = not told. */
  readonly fraction: number | null;
  /** Until it is ready; null = nobody knows. Never negative: see `expected` for what is late. */
  readonly left: Milliseconds | null;
  /** Until the present phase is over, at the pace of its bar; null = it has none. */
  readonly phaseLeft: Milliseconds | null;
}

/** Null when no start of the model is under way. */
export function comingStart(state: FleetState, model: Model, now: Milliseconds): ComingStart | null {
  if (model.preparation) {
    const { phase, fraction } = model.preparation.progress;
    const phaseLeft = leftByPace(model.preparation.progress, now);
    return { stage: 'preparing', phase, fraction, left: readyAfter(model, phase, phaseLeft), phaseLeft };
  }
  const replica = currentOf(state, model);
  if (replica?.phase !== 'reserved' && replica?.phase !== 'starting') return null;
  const { progress } = replica;
  return {
    stage: replica.phase,
    phase: replica.phase === 'reserved' ? null : (progress?.phase ?? LAUNCH),
    fraction: progress?.fraction ?? null,
    left: startLeft(state, model, replica, now),
    phaseLeft: progress && leftByPace(progress, now),
  };
}

/**
 * Until it is ready; null = nobody knows, as on the first start of a launch line: its phases differ too much in length for
 * the bar of one to say when all of them are over.
 */
export function startLeft(state: FleetState, model: Model, replica: Replica, now: Milliseconds): Milliseconds | null {
  if (replica.phase !== 'reserved' && replica.phase !== 'starting') return null;
  const times = replica.adopted ? undefined : timesOfStart(state, model, replica);
  if (!times) return null;
  if (replica.phase === 'starting') return leftOfPhases(times, replica, now);
  const ahead = leftOfOthers(state, replica, now);
  return ahead === null ? null : ahead + totalOf(times);
}

/** The present phase by its bar, else by what it took before; then those that came after it. */
function leftOfPhases(times: StartTimes, replica: Replica, now: Milliseconds): Milliseconds | null {
  const { spent, launchedAt } = replica;
  const progress = replica.progress ?? unheard(launchedAt ?? now);
  const last = times.phases.findLastIndex(({ phase }) => phase === progress.phase || spent.has(phase));
  const rest = times.phases.slice(last + 1).reduce((sum, { lasted }) => sum + lasted, 0);
  const known = times.phases.find(({ phase }) => phase === progress.phase)?.lasted ?? 0;
  const elapsed = (spent.get(progress.phase) ?? 0) + now - progress.since;
  const present = leftByPace(progress, now) ?? expected(known - elapsed, totalOf(times));
  return present === null ? null : present + rest;
}

const unheard = (since: Milliseconds): PhaseProgress => ({
  phase: LAUNCH,
  since,
  fraction: null,
  from: null,
  movedAt: since,
});

/** A neighbour that starts goes first; how long requests take on one that is to leave, nobody knows. Stops are short. */
function leftOfOthers(state: FleetState, replica: Replica, now: Milliseconds): Milliseconds | null {
  let longest = 0;
  for (const other of neighbours(state, replica)) {
    if (other.leases.size > 0 && other.phase === 'draining') return null;
    if (other.phase !== 'starting') continue;
    const model = state.models.get(other.model);
    const left = model ? startLeft(state, model, other, now) : null;
    if (left === null) return null;
    longest = Math.max(longest, left);
  }
  return longest;
}

/** The weights are the last of its files: behind the others is something of which nobody knows the size. */
function readyAfter(model: Model, phase: string, phaseLeft: Milliseconds | null): Milliseconds | null {
  const start = wholeStart(model);
  return phase !== 'weights' || phaseLeft === null || start === null ? null : phaseLeft + start;
}

/** How long a start takes from its beginning, when none is under way or nobody knows how far it is; null = never seen. */
export function wholeStart(model: Model): Milliseconds | null {
  const times = timesOfModel(model);
  return times ? totalOf(times) : null;
}
