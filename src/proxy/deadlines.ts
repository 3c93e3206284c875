/** Which deadline of a lease has passed. */
import type { Milliseconds } from '../units.ts';
import type { Forward } from './forward.ts';
import { CLIENT_STALL, MOVING_RECHECK, PLAIN_TOTAL } from './limits.ts';
import type { ProxyModel } from './settings.ts';

export type Overdue = 'first_byte' | 'between_chunks' | 'total' | 'client';

/** Null: all is well. `movedAt`: when a byte last went either way. */
export function overdue(
  now: Milliseconds,
  forward: Forward,
  movedAt: Milliseconds,
  timeouts: ProxyModel['timeouts'],
  stream: boolean,
): Overdue | null {
  const total = timeouts.total > 0 ? timeouts.total : stream ? 0 : PLAIN_TOTAL;
  if (total > 0 && now - forward.startedAt > total) return 'total';
  // While the client does not read, the engine is not expected to send.
  if (forward.paused) return now - movedAt > CLIENT_STALL ? 'client' : null;
  if (forward.firstByteAt === 0) {
    return timeouts.firstByte > 0 && now - forward.startedAt > timeouts.firstByte ? 'first_byte' : null;
  }
  return timeouts.betweenChunks > 0 && now - movedAt > timeouts.betweenChunks ? 'between_chunks' : null;
}

/** The engine works though nothing comes: when to look again. */
export function lookAgainAt(now: Milliseconds): Milliseconds {
  return now + MOVING_RECHECK;
}
