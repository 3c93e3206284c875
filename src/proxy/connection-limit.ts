/** How many clients may be connected: so many that the descriptors which everything else needs are never theirs. */
import type { Files } from '../platform/platform.ts';
import {
  LEAST_CONNECTIONS,
  MAX_CONNECTIONS,
  MAX_CONTROL_CONNECTIONS,
  OWN_DESCRIPTORS,
  SHARED_DESCRIPTORS,
} from './limits.ts';

/** Node raises the soft limit to the hard one when it starts, so this is what is in force. */
const LIMITS = '/proc/self/limits';

/**
 * Once the last descriptor is gone nothing can be accepted, relayed, probed, started or proven to have ended; a client that
 * is turned away can come again. Where the system does not tell its limit there is only our own.
 */
export async function connectionLimit(files: Pick<Files, 'readText'>): Promise<number> {
  const text = await files.readText(LIMITS).catch(() => undefined);
  const descriptors = Number(/^Max open files\s+(\d+)/m.exec(text ?? '')?.[1] ?? Number.POSITIVE_INFINITY);
  const clients = Math.max(Math.floor((descriptors - OWN_DESCRIPTORS) / 2), descriptors - SHARED_DESCRIPTORS);
  return Math.min(MAX_CONNECTIONS, Math.max(LEAST_CONNECTIONS, clients));
}

/** Of a listener of its own for the control plane: whoever fills both listeners has not got every descriptor either. */
export function controlLimit(clients: number): number {
  return Math.min(MAX_CONTROL_CONNECTIONS, Math.ceil(clients / 4));
}
