/**
 * Which idle replicas leave so that a newcomer fits on one device. Pure: candidates and a policy order in, victims out.
 * The order is the original's: residents older than the minimum residency first, least recently used first within both
 * groups; a young one is the last choice, never forbidden.
 */
import { SECOND, type Bytes, type Milliseconds } from '../../units.ts';
import type { FleetState, Model, Replica } from '../state.ts';

/** A pause shorter than a client's turnaround is not idleness: a young replica must have rested this long to be evicted. */
export const IDLE_SETTLE: Milliseconds = SECOND;

export interface Candidate {
  readonly id: string;
  /** On the device in question. */
  readonly bytes: Bytes;
  readonly idleSince: Milliseconds;
  /** Has been ready for less than the minimum residency. */
  readonly young: boolean;
}

export function isPinned(model: Model): boolean {
  return model.pinned || model.settings.alwaysOn;
}

/** When an idle replica may be evicted: now when it has had its residency, else after a short rest. */
export function evictableAt(replica: Replica, minResidency: Milliseconds): Milliseconds {
  return Math.min((replica.readyAt ?? replica.createdAt) + minResidency, replica.idleSince + IDLE_SETTLE);
}

/** Idle, unpinned, without waiting tickets of its own. */
export function isIdle(state: FleetState, replica: Replica): boolean {
  if (replica.phase !== 'ready' || replica.leases.size > 0) return false;
  const model = state.models.get(replica.model);
  return model !== undefined && !isPinned(model) && model.queue.size === 0;
}

/** The order in which residents leave: old before young, least recently used first. */
export const byPolicy = (one: Candidate, other: Candidate): number =>
  Number(one.young) - Number(other.young) || one.idleSince - other.idleSince || (one.id < other.id ? -1 : 1);

/**
 * The smallest set in policy order that frees `missing` bytes; undefined when all together do not. A victim that turns
 * out not to be needed stays.
 */
export function chooseVictims(candidates: readonly Candidate[], missing: Bytes): Candidate[] | undefined {
  if (missing <= 0) return [];
  const chosen: Candidate[] = [];
  let freed = 0;
  for (const candidate of candidates.toSorted(byPolicy)) {
    if (candidate.bytes <= 0) continue;
    chosen.push(candidate);
    freed += candidate.bytes;
    if (freed >= missing) break;
  }
  if (freed < missing) return undefined;
  // Late ones are the least willing to leave: spare those first.
  for (const victim of chosen.toReversed()) {
    if (freed - victim.bytes < missing) continue;
    chosen.splice(chosen.indexOf(victim), 1);
    freed -= victim.bytes;
  }
  return chosen;
}
