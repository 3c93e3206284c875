/**
 * An independent recount of the whole fleet: what must hold between any two steps. It shares no code with the steps that
 * it checks but the names of things; on in tests and in simulation, after every event.
 */
import { checkDeadlines } from './invariants/deadlines.ts';
import { checkMemory } from './invariants/memory.ts';
import { checkReplicas } from './invariants/replicas.ts';
import type { Report, Violation } from './invariants/report.ts';
import { checkWork } from './invariants/work.ts';
import type { FleetState } from './state.ts';

export type { Violation } from './invariants/report.ts';

/** Everything that is wrong with this state; empty when nothing is. */
export function checkInvariants(state: FleetState): readonly Violation[] {
  const violations: Violation[] = [];
  const report: Report = (id, holds, message) => {
    if (!holds) violations.push({ id, message: message() });
  };
  checkWork(state, report);
  checkReplicas(state, report);
  checkMemory(state, report);
  checkDeadlines(state, report);
  return violations;
}
