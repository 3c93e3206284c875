/** What the tickets of a model wait for, in words: `status` and refusals say the same. */
import { whyItWaits } from '../memory/explain.ts';
import type { FleetState, Model } from '../state.ts';

/** Null when nobody waits, or nothing is known of why. */
export function waitingFor(state: FleetState, model: Model): string | null {
  if (model.queue.size === 0) return null;
  const current = model.current === null ? undefined : state.replicas.get(model.current);
  if (model.preparation) return `its files (${progressOf(model.preparation.progress)})`;
  if (!current) return whyItWaits(model) ?? model.lastFailure?.message ?? null;
  if (current.phase === 'reserved') return 'memory that others are leaving, or the start of a neighbour';
  if (current.phase === 'starting') return `its start (${progressOf(current.progress)})`;
  return current.leases.size < model.settings.maxConcurrent ? 'a lease: max_in_flight is reached' : 'a free slot';
}

function progressOf(progress: { readonly phase: string; readonly fraction: number | null } | null): string {
  if (!progress) return 'launch';
  return progress.fraction === null ? progress.phase : `${progress.phase}, ${Math.round(progress.fraction * 100)} %`;
}
