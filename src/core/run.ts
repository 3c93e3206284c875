/** One step in progress: the state, the moment, and what has been decided so far. */
import type { Milliseconds } from '../units.ts';
import type { Decision, FleetEffect } from './effects.ts';
import type { Books } from './memory/books.ts';
import type { FleetState, Model, Replica, ReplicaRef } from './state.ts';

/** What a step may know besides state and event. */
export interface StepContext {
  /** Monotonic. */
  readonly now: Milliseconds;
  /** Uniform in [0, 1), seeded in simulation. */
  readonly random: () => number;
}

export interface Run {
  readonly state: FleetState;
  readonly now: Milliseconds;
  readonly random: () => number;
  readonly effects: FleetEffect[];
  /** Memory, a gate, or a replica's idleness changed: waiting models are looked at again before the step ends. */
  capacityChanged: boolean;
  /** Those of this moment, as long as nothing changes that they tell of; null = to be opened. */
  books: Books | null;
  /** Whose turns were tried in vain, and by which books; null = something has changed since. */
  turns: { readonly books: Books; readonly triedFor: Set<string> } | null;
}

export function decide(
  run: Run,
  kind: string,
  who: { model?: string; replica?: string },
  reason: string,
  detail?: Decision['detail'],
): void {
  const decision: Decision = {
    kind,
    model: who.model ?? null,
    replica: who.replica ?? null,
    reason,
    ...(detail ? { detail } : {}),
  };
  run.effects.push({ kind: 'decision', decision });
}

export function refOf(replica: Replica): ReplicaRef {
  return { id: replica.id, generation: replica.generation };
}

/** The replica that a result speaks of; undefined (and counted) when the result is stale. */
export function resolve(run: Run, ref: ReplicaRef): Replica | undefined {
  const replica = run.state.replicas.get(ref.id);
  if (replica && replica.generation === ref.generation) return replica;
  run.state.counters.staleResults += 1;
  return undefined;
}

/** The model's replica that is reserved, starting or ready. */
export function currentOf(state: FleetState, model: Model): Replica | undefined {
  return model.current === null ? undefined : state.replicas.get(model.current);
}

export function readyReplica(state: FleetState, model: Model): Replica | undefined {
  const replica = currentOf(state, model);
  return replica?.phase === 'ready' ? replica : undefined;
}
