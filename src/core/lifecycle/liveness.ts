/**
 * Is a ready replica alive? `/health` alone proves nothing: a hung engine answers 200, and a busy one is slow. So: three
 * refusals, or three slow answers without any movement, and no good look between them; or work in hand and no movement for
 * `timeouts.stall`. Movement is a byte relayed, a token counted, or KV memory in use changed.
 */
import type { HealthReport } from '../events.ts';
import type { Run } from '../run.ts';
import type { Replica } from '../state.ts';
import { crashed } from './exit.ts';

export const HEALTH_STRIKES = 3;

export function checked(run: Run, replica: Replica, report: HealthReport): void {
  // A server that others run is not ours to end: its requests meet its failures themselves.
  if (replica.phase !== 'ready' || replica.driver === 'external') return;
  const moved = report.bytesMoved || report.countersMoved === true;
  const { health } = replica;
  // One that turns from refusing to being silent and back is no better: only a good look counts anew.
  if (report.health === 'refused' || report.health === 'unavailable') {
    health.refusedInRow += 1;
  } else if (report.health === 'slow' && !moved) {
    health.slowInRow += 1;
  } else {
    health.refusedInRow = 0;
    health.slowInRow = 0;
  }
  if (moved || replica.leases.size === 0) health.quietSince = null;
  else health.quietSince ??= run.now;

  if (health.refusedInRow >= HEALTH_STRIKES) {
    const what = report.health === 'refused' ? 'refused connections' : 'said that it is unavailable';
    crashed(run, replica, 'unhealthy', `its health check ${what} ${HEALTH_STRIKES} times in a row.`);
  } else if (health.slowInRow >= HEALTH_STRIKES) {
    crashed(
      run,
      replica,
      'unhealthy',
      `its health check gave no answer ${HEALTH_STRIKES} times in a row and nothing moved.`,
    );
  } else if (health.quietSince !== null) {
    const limit = run.state.models.get(replica.model)?.settings.stallTimeout ?? Infinity;
    const quiet = run.now - health.quietSince;
    if (quiet >= limit)
      crashed(run, replica, 'stalled', `no byte and no token for ${Math.round(quiet / 1000)} s with requests in hand.`);
  }
}
