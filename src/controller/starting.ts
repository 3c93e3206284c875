/** One start, from the launch effect to an event that ends it. Owns its log follower and its readiness poll. */
import type { FleetEvent } from '../core/events.ts';
import type { Endpoint, ReplicaRef } from '../core/state.ts';
import { LaunchError } from '../drivers/driver.ts';
import type { Platform } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import type { Milliseconds } from '../units.ts';
import type { LaunchRequest, ModelRuntime } from './model-runtime.ts';
import { untilReady } from './readiness.ts';

/** Progress reaches the core at most this often, unless the phase changes. */
const REPORT_EVERY: Milliseconds = 500;
/** Lines of an early log that are read again when following begins. */
const FIRST_LINES = 1_000;

export interface StartContext {
  readonly platform: Platform;
  readonly log: Logger;
  readonly runtime: ModelRuntime;
  readonly post: (event: FleetEvent) => void;
  /** Aborted when the start has ended in any way. */
  readonly signal: AbortSignal;
}

export async function start(
  context: StartContext,
  request: LaunchRequest & { readonly model: string; readonly specHash: string },
): Promise<void> {
  const { runtime, post } = context;
  const { replica } = request;
  let endpoint: Endpoint;
  try {
    endpoint = await runtime.driver.launch(runtime.launchSpec(request), {
      ...replica,
      model: request.model,
      specHash: request.specHash,
      reservations: request.reservations,
    });
  } catch (error) {
    const failure = error instanceof LaunchError ? error.failure : 'crashed';
    const message = error instanceof Error ? error.message : String(error);
    if (!(error instanceof LaunchError))
      context.log.error({ err: error, replica: replica.id }, 'launch failed unexpectedly');
    post({ kind: 'replica.start_failed', replica, cause: failure, message });
    return;
  }
  post({ kind: 'replica.launched', replica, endpoint });
  if (runtime.readyAtOnce) {
    post({ kind: 'replica.ready', replica });
    return;
  }
  await prove(context, replica, endpoint);
}

/** Follows its log for progress and asks until it is ready. Also for an adopted one. */
export async function prove(context: StartContext, replica: ReplicaRef, endpoint: Endpoint): Promise<void> {
  const { runtime, post, platform } = context;
  const following = new AbortController();
  const stopFollowing = (): void => following.abort();
  context.signal.addEventListener('abort', stopFollowing, { once: true });
  const followed = follow(context, replica, following.signal);
  try {
    const answer = await untilReady(
      platform,
      {
        origin: endpoint.origin,
        pathPrefix: endpoint.pathPrefix,
        healthPath: runtime.healthPath,
        listsModels: runtime.listsModels,
        servedName: runtime.servedName,
        headers: runtime.controlHeaders(replica),
      },
      context.signal,
    );
    if (answer.kind === 'ready') post({ kind: 'replica.ready', replica });
    else
      post({
        kind: 'replica.start_failed',
        replica,
        cause: 'port_in_use',
        message: `another server answers on its port: ${answer.detail}.`,
      });
  } catch (error) {
    if (!context.signal.aborted) throw error;
  } finally {
    context.signal.removeEventListener('abort', stopFollowing);
    following.abort();
    await followed;
  }
}

async function follow(context: StartContext, replica: ReplicaRef, signal: AbortSignal): Promise<void> {
  const { runtime, post, platform } = context;
  let phase = 'launched';
  let reportedAt = -Infinity;
  try {
    for await (const line of runtime.driver.logs(replica, { tail: FIRST_LINES, follow: true, signal })) {
      if (signal.aborted) return;
      const progress = runtime.readProgress(line);
      const now = platform.clock.monotonic();
      const changed = progress !== null && progress.phase !== phase;
      if (progress) phase = progress.phase;
      if (!changed && now - reportedAt < REPORT_EVERY) continue;
      reportedAt = now;
      post({
        kind: 'replica.progressed',
        replica,
        phase,
        fraction: progress?.fraction ?? null,
        milestone: progress?.milestone ?? null,
      });
    }
  } catch (error) {
    if (!signal.aborted)
      context.log.warn(
        { err: error, replica: replica.id },
        'its log cannot be followed; its start is judged by readiness alone',
      );
  }
}
