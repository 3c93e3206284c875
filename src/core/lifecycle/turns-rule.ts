/** How long a ready replica is safe from being fenced: one turn. */
import type { Milliseconds } from '../../units.ts';
import type { FleetState, Replica } from '../state.ts';

/** One turn: the longer of the minimum residency and the longest wait for a turn. */
export function turnLength(state: FleetState): Milliseconds {
  return Math.max(state.settings.limits.minResidency, state.settings.limits.maxTurn);
}

export function turnEndsAt(state: FleetState, replica: Replica): Milliseconds {
  return (replica.readyAt ?? replica.createdAt) + turnLength(state);
}

export function isProtected(state: FleetState, replica: Replica, now: Milliseconds): boolean {
  return now < turnEndsAt(state, replica);
}
