import type { ReplicaRef } from '../../core/state.ts';

const MAX_NAME = 160;

/** File name of a replica, without extension: one folder level, no surprises, different for different replicas. */
export function fileName(replica: ReplicaRef): string {
  const safe = encodeURIComponent(replica.id).replace(/^\./, '%2E').slice(0, MAX_NAME);
  return `${safe}.${replica.generation}`;
}

/** Whose name it is; undefined when it was cut for its length, or is none of ours. */
export function replicaOf(name: string): ReplicaRef | undefined {
  const [, safe = '', generation = ''] = /^(.+)\.(\d{1,15})$/.exec(name) ?? [];
  try {
    const replica = { id: decodeURIComponent(safe), generation: Number(generation) };
    return safe.length < MAX_NAME && fileName(replica) === name ? replica : undefined;
  } catch {
    return undefined;
  }
}

export function keyOf(replica: ReplicaRef): string {
  return `${replica.id}\n${replica.generation}`;
}
