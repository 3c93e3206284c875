/** One start, from the launch effect to an event that ends it. Owns its log follower and its readiness poll. */
import type { FleetEvent, StartMilestone } from '../core/events.ts';
import type { Endpoint, ReplicaRef } from '../core/state.ts';
import { LaunchError } from '../drivers/driver.ts';
import type { Platform } from '../platform/platform.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Milliseconds } from '../units.ts';
import type { LaunchRequest, ModelRuntime } from './model-runtime.ts';
import { untilReady } from './readiness.ts';

/** Progress reaches the core at most this often, unless the phase changes. */
const REPORT_EVERY: Milliseconds = 500;
/** Lines of an early log that are read again when following begins. */
const FIRST_LINES = 1_000;

export interface StartContext {
  readonly platform: Platform;
  readonly telemetry: Telemetry;
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
  context.telemetry.tracing?.starts.begun(replica.id, request.model);
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
      context.telemetry.log.error({ err: error, replica: replica.id }, 'launch failed unexpectedly');
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
  const progress = new StartProgress(context, replica);
  const followed = follow(context, replica, progress, following.signal);
  try {
    const answer = await untilReady(
      platform,
      {
        origin: endpoint.origin,
        pathPrefix: endpoint.pathPrefix,
        // A reload may change it: a wrong one would keep the start waiting to the end of its time.
        get healthPath() {
          return runtime.healthPath;
        },
        listsModels: runtime.listsModels,
        servedName: runtime.servedName,
        headers: runtime.controlHeaders(replica),
      },
      context.signal,
      (answer) =>
        context.telemetry.log.warn({ replica: replica.id, answer }, 'a starting engine answers oddly; it is asked on'),
    );
    if (answer.kind === 'ready') {
      progress.ended();
      post({ kind: 'replica.ready', replica });
    } else
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

async function follow(
  context: StartContext,
  replica: ReplicaRef,
  progress: StartProgress,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const line of context.runtime.driver.logs(replica, { tail: FIRST_LINES, follow: true, signal })) {
      if (signal.aborted) return;
      progress.line(line);
    }
  } catch (error) {
    if (!signal.aborted)
      context.telemetry.log.warn(
        { err: error, replica: replica.id },
        'its log cannot be followed; its start is judged by readiness alone',
      );
  }
}

/** What the lines of a start say: how far it is, told to the core not too often, and how long each phase took. */
class StartProgress {
  readonly #context: StartContext;
  readonly #replica: ReplicaRef;
  readonly #durations = new Map<string, Milliseconds>();
  #phase = 'launched';
  #since: Milliseconds;
  #milestone: StartMilestone | null = null;
  #reportedAt = -Infinity;

  constructor(context: StartContext, replica: ReplicaRef) {
    this.#context = context;
    this.#replica = replica;
    this.#since = context.platform.clock.monotonic();
    context.telemetry.tracing?.starts.entered(replica.id, this.#phase);
  }

  line(line: string): void {
    const { runtime, post, platform } = this.#context;
    const progress = runtime.readProgress(line);
    const now = platform.clock.monotonic();
    const phase = progress?.phase ?? this.#phase;
    const reached = progress?.milestone ?? null;
    const passed = reached !== null && reached !== this.#milestone && this.#milestone !== 'profiled';
    const changed = phase !== this.#phase;
    if (changed) {
      this.#enter(phase, now);
      this.#context.telemetry.tracing?.starts.entered(this.#replica.id, phase);
    }
    if (passed) this.#milestone = reached;
    // Any line proves that it is alive, but a new phase or milestone is news at once.
    if (!changed && !passed && now - this.#reportedAt < REPORT_EVERY) return;
    this.#reportedAt = now;
    const fraction = progress?.fraction ?? null;
    post({ kind: 'replica.progressed', replica: this.#replica, phase, fraction, milestone: passed ? reached : null });
  }

  /** It is ready: only a start that succeeded says how long starts take. */
  ended(): void {
    const { telemetry, runtime, platform } = this.#context;
    this.#enter('ready', platform.clock.monotonic());
    for (const [phase, duration] of this.#durations) telemetry.startPhaseEnded?.(runtime.model, phase, duration);
  }

  #enter(phase: string, now: Milliseconds): void {
    this.#durations.set(this.#phase, (this.#durations.get(this.#phase) ?? 0) + now - this.#since);
    this.#phase = phase;
    this.#since = now;
  }
}
