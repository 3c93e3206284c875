/**
 * Which replicas leave so that a newcomer fits on one device. Pure: candidates and a policy in, victims out. A policy is two
 * orders: in which the residents of a device leave, and which set of victims is the smaller loss.
 */
import { GIB, SECOND, type Bytes, type Milliseconds } from '../../units.ts';
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
  /** 0 = idle, else one more than the requests that it works on. */
  readonly busy: number;
  /** What is lost when it leaves, see `lossOf`. */
  readonly loss: number;
}

/** What a set of victims amounts to, each counted once, and what it leaves free. */
export interface Toll {
  readonly young: number;
  readonly victims: number;
  readonly busiest: number;
  /** When the most recently used of them was last used. */
  readonly latest: Milliseconds;
  readonly loss: number;
  readonly free: Bytes;
}

/** One criterion. How it adds up over devices without common victims: as a sum, or as the largest. Less is better. */
export interface Criterion {
  readonly fold: 'sum' | 'max';
  readonly of: (toll: Toll) => number;
}

export interface EvictionPolicy {
  /** The order in which the residents of one device leave. */
  readonly order: (one: Candidate, other: Candidate) => number;
  /** Which devices a newcomer gets: the first criterion that differs decides. */
  readonly criteria: readonly Criterion[];
  /** False: the loss of its candidates counts for nothing. */
  readonly weighsLoss: boolean;
}

const YOUNG: Criterion = { fold: 'sum', of: (toll) => toll.young };
const VICTIMS: Criterion = { fold: 'sum', of: (toll) => toll.victims };
const FREE: Criterion = { fold: 'sum', of: (toll) => 0 - toll.free };

const byId = (one: Candidate, other: Candidate): number => (one.id === other.id ? 0 : one.id < other.id ? -1 : 1);
const byAge = (one: Candidate, other: Candidate): number =>
  Number(one.young) - Number(other.young) || one.busy - other.busy || one.idleSince - other.idleSince;

/**
 * Residents older than the minimum residency first (a young one is the last choice, never forbidden), idle before busy, the
 * least recently used first. Over devices: fewest young victims, fewest victims, the least recently used, most free left.
 */
const LRU: EvictionPolicy = {
  order: (one, other) => byAge(one, other) || byId(one, other),
  criteria: [
    YOUNG,
    VICTIMS,
    { fold: 'max', of: (toll) => toll.busiest },
    { fold: 'max', of: (toll) => toll.latest },
    FREE,
  ],
  weighsLoss: false,
};

const density = (candidate: Candidate): number => candidate.loss / Math.max(1, candidate.bytes);

/**
 * Young ones last here too; then the smallest loss per byte first (`lossOf`). Over devices: fewest young victims, the
 * smallest loss in all, fewest victims, most free left.
 */
const VALUE: EvictionPolicy = {
  order: (one, other) =>
    Number(one.young) - Number(other.young) || density(one) - density(other) || byAge(one, other) || byId(one, other),
  criteria: [YOUNG, { fold: 'sum', of: (toll) => toll.loss }, VICTIMS, FREE],
  weighsLoss: true,
};

export const EVICTION_POLICIES: Readonly<Record<'lru' | 'value', EvictionPolicy>> = { lru: LRU, value: VALUE };

/** Bytes per second that weights are taken to load with when no start of the model was ever seen. */
const LOAD_RATE: Bytes = GIB;

/** Losses are whole numbers, so that their sums do not depend on the order of adding. */
const LOSS_SCALE = 1_000_000;

/**
 * What is lost when a replica leaves:
 *
 *     loss = reload × (1 + demand) ÷ (1 + idle)
 *
 * reload: seconds of its own start, else of the last start that was measured, else its bytes at 1 GiB/s;
 * demand: its model's requests, running and waiting;
 * idle: seconds since its last lease ended: who was used a moment ago is expected back in a moment.
 * In millionths of it, rounded. The policy `value` compares it per byte that its leaving frees.
 */
export function lossOf(state: FleetState, replica: Replica, now: Milliseconds): number {
  const model = state.models.get(replica.model);
  const demand = replica.leases.size + (model?.queue.size ?? 0);
  const idle = replica.leases.size > 0 ? 0 : Math.max(0, now - replica.idleSince) / SECOND;
  return Math.round((LOSS_SCALE * reloadSeconds(model, replica) * (1 + demand)) / (1 + idle));
}

function reloadSeconds(model: Model | undefined, replica: Replica): number {
  const { launchedAt, readyAt } = replica;
  if (!replica.adopted && launchedAt !== null && readyAt !== null) return (readyAt - launchedAt) / SECOND;
  const devices = replica.reservations.size;
  const known = model?.footprints.find(
    ({ signature }) => signature.specHash === replica.specHash && signature.tensorParallel === devices,
  );
  return known ? known.startTime / SECOND : Math.max(0, ...replica.reservations.values()) / LOAD_RATE;
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

/**
 * The smallest set in policy order that frees `missing` bytes; undefined when all together do not. A victim that turns
 * out not to be needed stays.
 */
export function chooseVictims(
  candidates: readonly Candidate[],
  missing: Bytes,
  policy: EvictionPolicy,
): Candidate[] | undefined {
  if (missing <= 0) return [];
  const chosen: Candidate[] = [];
  let freed = 0;
  for (const candidate of candidates.toSorted(policy.order)) {
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
