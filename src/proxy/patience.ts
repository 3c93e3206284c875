/** How long a client waits for a head, from what its library says of its own time limit. */
import type { IncomingHttpHeaders } from 'node:http';
import { SECOND, type Milliseconds } from '../units.ts';
import { PATIENCE_MARGIN } from './limits.ts';

/** The limit less a margin for our answer to arrive, at least half of it; null when nothing usable is said. */
export function patienceOf(headers: IncomingHttpHeaders): Milliseconds | null {
  const stated = seconds(headers['x-stainless-read-timeout']) ?? seconds(headers['x-stainless-timeout']);
  if (stated === null) return null;
  const limit = stated * SECOND;
  return Math.max(limit - PATIENCE_MARGIN, limit / 2);
}

function seconds(value: string | string[] | undefined): number | null {
  if (typeof value !== 'string' || !/^\d{1,9}(?:\.\d{1,9})?$/.test(value.trim())) return null;
  const parsed = Number(value);
  return parsed > 0 ? parsed : null;
}
