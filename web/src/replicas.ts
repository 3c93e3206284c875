/** Engines, the running and the ended ones, and where their logs are shown. */
import type { StatusAnswer } from '../../src/admin/contract.ts';
import type { TimelineEntry } from './store.ts';

/** Of those that have ended. */
const MOST_ENDED = 20;

export function logAddress(replica: string): string {
  return `#/logs/${encodeURIComponent(replica)}`;
}

/** Newest first. The gateway forgets its engines when it restarts, so only those of this life of it have a log to show. */
export function endedReplicas(
  decisions: readonly TimelineEntry[],
  status: StatusAnswer | null,
  run: number,
): readonly string[] {
  const ids = new Set<string>();
  for (const entry of decisions.toReversed()) {
    if (ids.size === MOST_ENDED || entry.run !== run) break;
    if (entry.replica !== null && !status?.replicas[entry.replica]) ids.add(entry.replica);
  }
  return [...ids];
}

/** The engine whose failure is the last of this model; its name where that is not known any more: it stands for its newest engine. */
export function failedReplica(model: string, decisions: readonly TimelineEntry[], run: number): string {
  const failure = decisions.findLast((entry) => entry.model === model && FAILED.test(entry.kind));
  return failure?.run === run && failure.replica !== null ? failure.replica : model;
}

const FAILED = /fail|crash|stall|unhealthy/;

/** `subject` may be a replica, or a model: then its newest engine is meant. */
export function replicaOf(subject: string, status: StatusAnswer | null, ended: readonly string[]): string {
  const model = status?.models[subject];
  if (!status || !model) return subject;
  const newest = model.replicas.at(-1);
  return newest ?? ended.find((id) => id.startsWith(`${subject}-`)) ?? subject;
}
