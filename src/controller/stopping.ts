/** One stop, from the effect to nothing being left: the process tree by its driver, the memory by the probe. */
import type { FleetEffect } from '../core/effects.ts';
import type { FleetEvent } from '../core/events.ts';
import type { FleetState, Replica } from '../core/state.ts';
import type { Driver } from '../drivers/driver.ts';
import type { Platform } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { MINUTE, SECOND, type Milliseconds } from '../units.ts';
import type { DeviceMonitor } from './device-monitor.ts';
import type { UpstreamPools } from './gate.ts';
import { leaving, NotReleased, releaseLimit, untilReleased, type Leaving } from './release.ts';

/** How often a replica that could not be verified gone is tried again. */
const STUCK_RETRY: Milliseconds = 10 * SECOND;
/** How often memory that did not come back is looked for. */
const LOOK_AGAIN: Milliseconds = 3 * SECOND;
/**
 * Its processes are gone, its memory is not: after so long somebody else has it, or the driver of the GPU has lost it.
 * Either way it is as good as foreign, and the rest of the device can be used again.
 */
const CONCEDE_AFTER: Milliseconds = 10 * MINUTE;

export interface StopContext {
  readonly platform: Pick<Platform, 'clock'>;
  readonly log: Logger;
  readonly state: FleetState;
  readonly driver: Driver | undefined;
  readonly monitor: DeviceMonitor;
  readonly pools: UpstreamPools;
  readonly post: (event: FleetEvent) => void;
  /** Aborted when the gateway ends: the next run finds what is left. */
  readonly signal: AbortSignal;
}

type Stop = Extract<FleetEffect, { kind: 'replica.stop' }>;

/** Resolves true when nothing of it is left, false when the gateway ended first. */
export async function stopReplica(context: StopContext, effect: Stop): Promise<boolean> {
  const { platform, state, post, pools, signal, monitor } = context;
  const { replica } = effect;
  const known = state.replicas.get(replica.id);
  const gone = known ? leaving(context, known) : null;
  monitor.hurry();
  let stuckSince: Milliseconds | null = null;
  for (;;) {
    let failure: unknown;
    try {
      await context.driver?.stop(replica, {
        timeout: effect.timeout,
        starting: effect.starting,
        cutConnections: () => pools.destroy(replica.id),
      });
      pools.destroy(replica.id);
      if (gone && effect.reason !== 'shutdown')
        await untilReleased(context, gone, stuckSince === null ? releaseLimit(effect.timeout) : 0);
      return true;
    } catch (error) {
      failure = error;
    }
    if (signal.aborted) return false;
    const detail = failure instanceof Error ? failure.message : String(failure);
    if (stuckSince === null) post({ kind: 'replica.stop_failed', replica, detail });
    stuckSince ??= platform.clock.monotonic();
    const lost = failure instanceof NotReleased;
    if (lost && gone && platform.clock.monotonic() - stuckSince >= CONCEDE_AFTER) {
      concede(context, gone, detail);
      return true;
    }
    try {
      await platform.clock.sleep(lost ? LOOK_AGAIN : STUCK_RETRY, signal);
    } catch {
      return false;
    }
  }
}

function concede({ monitor, state, post, log }: StopContext, { replica }: Leaving, detail: string): void {
  log.warn(
    { replica: replica.id, detail },
    'memory has not come back since its engine ended; it counts as foreign from now on',
  );
  for (const id of replica.reservations.keys()) {
    const device = monitor.last?.devices.get(id);
    if (!device) continue;
    const { usedBytes, totalBytes } = device;
    const foreignBytes = Math.max(device.foreignBytes, usedBytes - promisedToOthers(state, replica, id));
    post({ kind: 'device.observed', id, usedBytes, totalBytes, foreignBytes });
  }
}

function promisedToOthers(state: FleetState, replica: Replica, id: string): number {
  let sum = 0;
  for (const other of state.replicas.values()) if (other !== replica) sum += other.reservations.get(id) ?? 0;
  return sum;
}
