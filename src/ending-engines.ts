/** What becomes of the engines when the gateway ends. */
import type { Config } from './config/config.ts';
import type { Controller } from './controller/controller.ts';
import type { ModelRuntimes } from './controller/model-runtime.ts';
import type { DriverKind } from './core/settings.ts';
import type { ReplicaRef } from './core/state.ts';
import type { Platform } from './platform/platform.ts';
import type { Present } from './reloading.ts';
import type { Telemetry } from './telemetry/telemetry.ts';
import { SECOND, type Milliseconds } from './units.ts';

/** A launch that is under way when everything ends at once: until its process is seen to be gone. */
const KILL_LIMIT: Milliseconds = 2 * SECOND;
/** A daemon takes longer to end a container than the system to end a process. */
const KILL_LIMIT_CONTAINER: Milliseconds = 4 * SECOND;

export interface EndingParts {
  readonly present: Present;
  readonly controller: Controller;
  readonly runtimes: ModelRuntimes;
  readonly platform: Platform;
  readonly telemetry: Telemetry;
}

/**
 * Processes are children: without the gateway nobody would stop them when idle. Containers were meant to outlive it, and
 * the next gateway finds them.
 */
export function keptDrivers({ server }: Config): readonly DriverKind[] {
  if (server.onShutdown === 'stop') return [];
  return server.onShutdown === 'leave' ? ['docker', 'external', 'process', 'simulated'] : ['docker'];
}

/** Nothing that policy says must go may outlive the gateway: whole groups and containers, without asking. */
export async function killEngines({ present, controller, runtimes, platform, telemetry }: EndingParts): Promise<void> {
  const kept = keptDrivers(present.made.config);
  const ending: Promise<void>[] = [];
  for (const { id, generation, phase, driver, endpoint } of controller.state.replicas.values()) {
    if (kept.includes(driver) || driver === 'external' || phase === 'reserved') continue;
    const pid = driver === 'process' ? (endpoint?.pid ?? null) : null;
    try {
      if (pid !== null) platform.subprocess.signal(-pid, 'SIGKILL');
      // Its process may be about to exist, and nobody but the driver will hear of it.
      else ending.push(stopSoon(runtimes, driver, { id, generation }));
    } catch (error) {
      telemetry.log.error({ err: error, replica: id }, 'its engine cannot be killed; it is left');
    }
  }
  await Promise.all(ending);
}

async function stopSoon(runtimes: ModelRuntimes, kind: DriverKind, replica: ReplicaRef): Promise<void> {
  const timeout = kind === 'docker' ? KILL_LIMIT_CONTAINER : KILL_LIMIT;
  // What cannot be ended is found by the next run.
  await runtimes
    .driverOf(kind)
    ?.stop(replica, { timeout, starting: true, cutConnections: () => undefined })
    .catch(() => undefined);
}
