/** A seed becomes a world and a schedule. */
import { generateLife } from './generate-life.ts';
import { generateSwarm } from './generate-swarm.ts';
import type { Scenario } from './scenario.ts';

/**
 * Three in four seeds are small and nasty: a few minutes in which a fault follows the other. Every fourth is like life: hours
 * of load, with what goes wrong in hours.
 */
export function generate(seed: number): Scenario {
  return seed % 4 === 1 ? generateLife(seed) : generateSwarm(seed);
}
