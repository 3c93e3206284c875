import { describe, expect, it } from 'vitest';
import type { ReplicaPhase } from '../state.ts';
import { blank } from './start.ts';
import { isLegal, moveTo, TRANSITIONS } from './replica.ts';

const PHASES: readonly ReplicaPhase[] = ['reserved', 'starting', 'ready', 'draining', 'stopping', 'zombie'];

/** Written down anew, from the description of the states. */
const LEGAL = new Set([
  'reserved starting',
  'reserved gone',
  'starting ready',
  'starting stopping',
  'ready draining',
  'ready stopping',
  'draining stopping',
  'stopping zombie',
  'stopping gone',
  'zombie gone',
]);

describe('the states of a replica', () => {
  it('[item 61] change along the legal ways only', () => {
    for (const from of PHASES) {
      for (const to of [...PHASES, 'gone'] as const) {
        expect(isLegal(from, to), `${from} to ${to}`).toBe(LEGAL.has(`${from} ${to}`));
        if (to === 'gone') continue;
        const replica = {
          ...blank(0),
          id: 'm-1',
          generation: 1,
          model: 'm',
          driver: 'simulated' as const,
          specHash: 'm#0',
          configVersion: 1,
          stopTimeout: 30_000,
          reservations: new Map<string, number>(),
          adopted: false,
          phase: from,
        };
        if (LEGAL.has(`${from} ${to}`)) {
          moveTo(replica, to);
          expect(replica.phase).toBe(to);
        } else {
          expect(() => moveTo(replica, to)).toThrow(`${from} cannot become ${to}`);
          expect(replica.phase).toBe(from);
        }
      }
    }
  });

  it('all lead to the end, and none that leaves leads back to ready', () => {
    for (const from of PHASES) {
      const reached = new Set<string>([from]);
      for (const place of reached) {
        if (place !== 'gone') for (const next of TRANSITIONS[place as ReplicaPhase]) reached.add(next);
      }
      expect(reached.has('gone')).toBe(true);
      if (from !== 'reserved' && from !== 'starting' && from !== 'ready') expect(reached.has('ready')).toBe(false);
    }
  });
});
