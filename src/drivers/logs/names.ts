import type { ReplicaRef } from '../../core/state.ts';

const MAX_NAME = 160;

/** File name of a replica, without extension: one folder level, no surprises, different for different replicas. */
export function fileName(replica: ReplicaRef): string {
  const safe = encodeURIComponent(replica.id).replace(/^\./, '%2E').slice(0, MAX_NAME);
  return `${safe}.${replica.generation}`;
}

export function keyOf(replica: ReplicaRef): string {
  return `${replica.id}\n${replica.generation}`;
}
