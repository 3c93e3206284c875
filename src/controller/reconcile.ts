/** At start: what an earlier run left is found, asked whether it is still ours, and told to the core. */
import type { FoundReplica } from '../core/events.ts';
import type { Driver } from '../drivers/driver.ts';
import type { Platform } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import type { Controller } from './controller.ts';
import type { ModelRuntimes } from './model-runtime.ts';
import { askReady } from './readiness.ts';
import { located } from './rehoming.ts';

/** One that does not answer in this time is taken for one that is still loading. */
const ASK_TIMEOUT: Milliseconds = SECOND;
const LIST_AGAIN: Milliseconds = 5 * SECOND;
/** When the gateway is to end while drivers still look: what they find in this time does not stay behind unknown. */
const LIST_GRACE: Milliseconds = SECOND;

export interface ReconcileContext {
  readonly controller: Controller;
  readonly runtimes: ModelRuntimes;
  readonly platform: Platform;
  readonly log: Logger;
  /** Aborted when the gateway ends. */
  readonly signal: AbortSignal;
  /** Aborted when it is to end: what is not known by then is not waited for. */
  readonly ending: AbortSignal;
}

interface Listed {
  readonly driver: Driver;
  readonly seen: FoundReplica;
}

/**
 * Finds the devices and what an earlier run left on them, then ends the adoption that was begun before the first request
 * could arrive. Resolves false when the gateway is to end before that: then nothing begins any more. Rejects with
 * UnknownDevices.
 */
export async function reconcile(context: ReconcileContext): Promise<boolean> {
  const { controller, runtimes, ending } = context;
  const [, ...lists] = await Promise.all([
    unlessEnding(context, controller.devices.settle()),
    ...runtimes.drivers.map((driver) => unlessEnding(context, listed(context, driver), LIST_GRACE)),
  ]);
  await tell(
    context,
    lists.flatMap((list) => list ?? []),
  );
  // Only now: what they hold must not pass for somebody else's.
  if (!ending.aborted) await unlessEnding(context, controller.devices.watch());
  if (ending.aborted) return false;
  controller.post({ kind: 'adoption.ended' });
  return true;
}

/** Undefined: the end was begun, and `grace` was not enough. */
function unlessEnding<T>(
  { ending, platform }: ReconcileContext,
  work: Promise<T>,
  grace: Milliseconds = 0,
): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    let late: Disposable | null = null;
    const leave = (): void => {
      if (grace === 0) resolve(undefined);
      else late = platform.clock.after(grace, () => resolve(undefined));
    };
    if (ending.aborted) leave();
    else ending.addEventListener('abort', leave, { once: true });
    work.then(resolve, reject).finally(() => {
      ending.removeEventListener('abort', leave);
      late?.[Symbol.dispose]();
    });
  });
}

/** What a driver that does not answer has left is looked for until it does. */
async function listed(context: ReconcileContext, driver: Driver): Promise<readonly Listed[]> {
  const { log, controller } = context;
  const used = [...controller.state.models.values()].some(({ settings }) => settings.driver === driver.kind);
  try {
    const found = foundBy(driver, await driver.list());
    if (!used && found.length === 0) await driver.close();
    return found;
  } catch (error) {
    if (!used) {
      // Of a daemon that nobody here needs it is not asked again whether it had something once.
      log.debug({ err: error, driver: driver.kind }, 'what an earlier run may have left cannot be listed');
      await driver.close();
      return [];
    }
    const fields = { driver: driver.kind, ...whyOf(error) };
    log.error(fields, `${driver.kind}: what an earlier run left cannot be listed; it is tried again`);
    void listLater(context, driver);
    return [];
  }
}

/** A daemon that is away is no bug: no stack. The cause has what clients are not told, such as the path of the socket. */
function whyOf(error: unknown): { readonly reason: string; readonly cause?: string } {
  if (!(error instanceof Error)) return { reason: String(error) };
  return error.cause instanceof Error
    ? { reason: error.message, cause: error.cause.message }
    : { reason: error.message };
}

/** A reload brings the first model of a driver whose earlier engines nobody could list: before it starts one, it has told. */
export function listBefore(context: ReconcileContext, driver: Driver): void {
  if (!context.controller.unlisted.has(driver.kind)) void listLater(context, driver);
}

async function listLater(context: ReconcileContext, driver: Driver): Promise<void> {
  const { controller, platform, log, signal } = context;
  const look = async (): Promise<void> => {
    const found = await driver.list();
    log.info({ driver: driver.kind, found: found.length }, 'what an earlier run left is listed now');
    await tell(context, foundBy(driver, found));
    controller.unlisted.delete(driver.kind);
  };
  let looking: Promise<void> | null = null;
  const lookOnce = (): Promise<void> => {
    looking ??= look().finally(() => {
      looking = null;
    });
    return looking;
  };
  controller.unlisted.set(driver.kind, lookOnce);
  while (!signal.aborted && controller.unlisted.has(driver.kind)) {
    try {
      await platform.clock.sleep(LIST_AGAIN, signal);
      if (controller.unlisted.has(driver.kind)) await lookOnce();
    } catch (error) {
      log.debug({ err: error, driver: driver.kind }, 'it still cannot be listed');
    }
  }
}

function foundBy(driver: Driver, found: readonly FoundReplica[]): readonly Listed[] {
  return found.map((seen) => ({ driver, seen: { ...seen, driver: driver.kind } }));
}

async function tell(context: ReconcileContext, listed: readonly Listed[]): Promise<void> {
  const { controller } = context;
  const fresh = listed.filter(({ seen }) => !controller.state.replicas.has(seen.id));
  const asked = await Promise.all(
    fresh.map(async ({ driver, seen }) => ({
      seen: await ask(context, seen),
      pids: await driver.pids(seen).catch((): readonly number[] => []),
    })),
  );
  for (const { seen, pids } of asked) {
    const found = located(controller.state, seen, controller.devices.reading, pids);
    controller.post({ kind: 'replica.found', found });
  }
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
