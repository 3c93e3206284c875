/** The states of a replica and the only legal ways between them. */
import type { Replica, ReplicaPhase } from '../state.ts';

/** From → to. A missing target is a bug in the core, not an event to tolerate. `gone` = removed from the fleet. */
export const TRANSITIONS: Readonly<Record<ReplicaPhase, readonly (ReplicaPhase | 'gone')[]>> = {
  reserved: ['starting', 'gone'],
  starting: ['ready', 'stopping'],
  ready: ['draining', 'stopping'],
  draining: ['stopping'],
  stopping: ['zombie', 'gone'],
  zombie: ['gone'],
};

export function isLegal(from: ReplicaPhase, to: ReplicaPhase | 'gone'): boolean {
  return TRANSITIONS[from].includes(to);
}

export function moveTo(replica: Replica, to: ReplicaPhase): void {
  if (!isLegal(replica.phase, to)) throw new Error(`replica ${replica.id}: ${replica.phase} cannot become ${to}`);
  replica.phase = to;
}
