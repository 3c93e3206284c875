/**
 * What has to be there before a start may take memory: the size of the model as its files tell it, its image, its weights.
 * One preparation per model; it ends with an answer to the core, or without one when it was cancelled.
 */
import type { FleetEvent } from '../core/events.ts';
import type { FetchSpec } from '../core/launch.ts';
import type { FleetState } from '../core/state.ts';
import { LaunchError } from '../drivers/driver.ts';
import type { Platform } from '../platform/platform.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Milliseconds } from '../units.ts';
import type { ModelRuntime, ModelRuntimes } from './model-runtime.ts';

/** Progress reaches the core at most this often, unless the phase changes. */
const REPORT_EVERY: Milliseconds = 500;

type Phase = 'metadata' | 'image' | 'weights';
type Progress = (phase: 'image' | 'weights', fraction: number | null) => void;

/** By kind of driver; resolves when it has told, rejects when it still cannot. */
export type Unlisted = Map<string, () => Promise<void>>;

export interface PreparingOptions {
  readonly platform: Pick<Platform, 'clock'>;
  readonly telemetry: Telemetry;
  readonly state: FleetState;
  readonly runtimes: ModelRuntimes;
  readonly unlisted: Unlisted;
  readonly post: (event: FleetEvent) => void;
}

/** Several profiles of one repo want the same files: they are fetched once, and the others look on. */
interface Fetch {
  readonly listeners: Set<Progress>;
  readonly done: Promise<unknown>;
}

export class Preparing {
  readonly #options: PreparingOptions;
  readonly #running = new Map<string, AbortController>();
  readonly #fetches = new Map<string, Fetch>();

  constructor(options: PreparingOptions) {
    this.#options = options;
  }

  prepare(model: string): void {
    const { post, telemetry } = this.#options;
    this.cancel(model);
    const controller = new AbortController();
    this.#running.set(model, controller);
    const { signal } = controller;
    this.#prepare(model, signal)
      .then(
        (image) => {
          if (!signal.aborted) post({ kind: 'model.prepared', model, image });
        },
        (error: unknown) => {
          if (signal.aborted) return;
          const known = error instanceof LaunchError;
          if (!known) telemetry.log.error({ err: error, model }, 'a preparation ended unexpectedly');
          const message = error instanceof Error ? error.message : String(error);
          post({ kind: 'model.prepare_failed', model, cause: known ? error.failure : 'crashed', message });
        },
      )
      .finally(() => {
        if (this.#running.get(model) === controller) this.#running.delete(model);
      });
  }

  cancel(model: string): void {
    this.#running.get(model)?.abort(new Error('nobody wants it any more'));
    this.#running.delete(model);
  }

  close(): void {
    for (const model of this.#running.keys()) this.cancel(model);
  }

  async #prepare(name: string, signal: AbortSignal): Promise<string | null> {
    const { runtimes, state, post } = this.#options;
    const runtime = runtimes.of(name);
    const model = state.models.get(name);
    if (!runtime || !model) throw new LaunchError('bad_arguments', 'its model is not configured any more.');
    const phases = new Phases(this.#options, name, signal);
    phases.enter('metadata', null);
    const asked = model.settings.sizing === null || model.size?.kind === 'shape' ? null : runtime.size();
    const [size] = await unlessAborted(Promise.all([asked, runtime.findTokenizer()]), signal);
    // Cancelled since that was settled, and perhaps begun anew with other settings.
    signal.throwIfAborted();
    if (size) post({ kind: 'model.sized', model: name, size });
    const spec = runtime.fetchSpec();
    if (spec === null) {
      phases.end();
      return null;
    }
    await unlessAborted(this.#listed(runtime.driver.kind), signal);
    const { image } = await this.#fetch(runtime, spec, signal, (phase, fraction) => phases.enter(phase, fraction));
    phases.end();
    return image;
  }

  /** An earlier run may have left this very model: it must not be started a second time beside it. */
  async #listed(kind: string): Promise<void> {
    try {
      await this.#options.unlisted.get(kind)?.();
    } catch (error) {
      throw new LaunchError('driver_unavailable', error instanceof Error ? error.message : String(error));
    }
  }

  async #fetch(
    runtime: ModelRuntime,
    spec: FetchSpec,
    signal: AbortSignal,
    progress: Progress,
  ): Promise<{ readonly image: string | null }> {
    const key = JSON.stringify([runtime.driver.kind, spec]);
    for (let other = this.#fetches.get(key); other !== undefined; other = this.#fetches.get(key)) {
      other.listeners.add(progress);
      await unlessAborted(other.done, signal).finally(() => other?.listeners.delete(progress));
    }
    const listeners = new Set([progress]);
    const fetching = runtime.driver.fetch(spec, {
      signal,
      progress: (phase, fraction) => {
        for (const listener of listeners) listener(phase, fraction);
      },
    });
    // However it ends for the first one: the next in line looks for itself, and finds what is there.
    const done = fetching.then(
      () => undefined,
      () => undefined,
    );
    this.#fetches.set(key, { listeners, done });
    try {
      return await fetching;
    } finally {
      this.#fetches.delete(key);
    }
  }
}

/** Tells the core where a preparation is, not too often, and how long each phase took. */
class Phases {
  readonly #options: PreparingOptions;
  readonly #model: string;
  readonly #signal: AbortSignal;
  #phase: Phase | null = null;
  #since: Milliseconds = 0;
  #reportedAt: Milliseconds = 0;

  constructor(options: PreparingOptions, model: string, signal: AbortSignal) {
    this.#options = options;
    this.#model = model;
    this.#signal = signal;
  }

  enter(phase: Phase, fraction: number | null): void {
    if (this.#signal.aborted) return;
    const now = this.#options.platform.clock.monotonic();
    const changed = phase !== this.#phase;
    if (changed) {
      this.end();
      this.#phase = phase;
      this.#since = now;
    }
    if (!changed && now - this.#reportedAt < REPORT_EVERY) return;
    this.#reportedAt = now;
    this.#options.post({ kind: 'model.prepare_progressed', model: this.#model, phase, fraction });
  }

  end(): void {
    const { platform, telemetry } = this.#options;
    if (this.#phase !== null) {
      telemetry.startPhaseEnded?.(this.#model, this.#phase, platform.clock.monotonic() - this.#since);
    }
    this.#phase = null;
  }
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
