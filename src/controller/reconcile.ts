/** At start: what an earlier run left is found, asked whether it is still ours, and told to the core. */
import type { FoundReplica } from '../core/events.ts';
import type { Platform } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import type { Controller } from './controller.ts';
import type { ModelRuntimes } from './model-runtime.ts';
import { askReady } from './readiness.ts';

/** One that does not answer in this time is taken for one that is still loading. */
const ASK_TIMEOUT: Milliseconds = SECOND;

export interface ReconcileContext {
  readonly controller: Controller;
  readonly runtimes: ModelRuntimes;
  readonly platform: Platform;
  readonly log: Logger;
}

/** Ends the adoption that was begun before the first request could arrive. */
export async function reconcile(context: ReconcileContext): Promise<void> {
  const { controller, runtimes, log } = context;
  for (const driver of runtimes.drivers) {
    try {
      const found = await driver.list();
      const asked = await Promise.all(found.map((seen) => ask(context, seen)));
      for (const seen of asked) controller.post({ kind: 'replica.found', found: seen });
    } catch (error) {
      log.error({ err: error, driver: driver.kind }, 'what an earlier run left cannot be listed; it is not adopted');
    }
  }
  controller.post({ kind: 'adoption.ended' });
}

async function ask({ runtimes, platform }: ReconcileContext, seen: FoundReplica): Promise<FoundReplica> {
  if (seen.usable !== true) return seen;
  if (runtimes.adoptionBarred !== null) return { ...seen, usable: runtimes.adoptionBarred };
  const runtime = runtimes.of(seen.model);
  if (!runtime) return { ...seen, usable: 'its model is not configured any more' };
  const answer = await askReady(
    platform.http,
    {
      origin: seen.endpoint.origin,
      pathPrefix: seen.endpoint.pathPrefix,
      healthPath: runtime.healthPath,
      listsModels: runtime.listsModels,
      servedName: runtime.servedName,
      headers: runtime.controlHeaders(seen),
    },
    undefined,
    ASK_TIMEOUT,
  );
  return answer.kind === 'stranger' ? { ...seen, usable: answer.detail } : seen;
}
