/**
 * Looks at every ready replica each five seconds, all in one jittered round: its health, and (with requests in hand) its
 * token counters. It reports; what follows from it is the core's decision.
 */
import type { FleetEvent, HealthReport } from '../core/events.ts';
import type { Endpoint, ReplicaRef } from '../core/state.ts';
import type { EngineCounters } from '../engines/engine.ts';
import type { Platform } from '../platform/platform.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import type { ModelRuntime } from './model-runtime.ts';

export const HEALTH_EVERY: Milliseconds = 5 * SECOND;
const HEALTH_TIMEOUT: Milliseconds = 2 * SECOND;

/** Shared with the leases of a replica: they set `moved` on every piece they relay. */
export interface Activity {
  moved: boolean;
}

interface Watched {
  readonly replica: ReplicaRef;
  readonly endpoint: Endpoint;
  readonly runtime: ModelRuntime;
  readonly activity: Activity;
  counters: EngineCounters | null;
  countersMovedAt: Milliseconds | null;
}

export interface HealthMonitorOptions {
  readonly platform: Platform;
  readonly post: (event: FleetEvent) => void;
  readonly leasesOf: (replicaId: string) => number;
}

export class HealthMonitor {
  readonly #options: HealthMonitorOptions;
  readonly #watched = new Map<string, Watched>();
  #timer: Disposable | null = null;
  /** A round is under way; it arms the next one. */
  #looking = false;

  constructor(options: HealthMonitorOptions) {
    this.#options = options;
  }

  watch(replica: ReplicaRef, endpoint: Endpoint, runtime: ModelRuntime, activity: Activity): void {
    this.#watched.set(replica.id, { replica, endpoint, runtime, activity, counters: null, countersMovedAt: null });
    this.#arm();
  }

  unwatch(replicaId: string): void {
    this.#watched.delete(replicaId);
    if (this.#watched.size === 0) this.#rest();
  }

  /** True when its token counters moved in the last two rounds. */
  countersMoving(replicaId: string): boolean {
    const at = this.#watched.get(replicaId)?.countersMovedAt ?? null;
    return at !== null && this.#options.platform.clock.monotonic() - at <= 2 * HEALTH_EVERY + HEALTH_TIMEOUT;
  }

  close(): void {
    this.#watched.clear();
    this.#rest();
  }

  #rest(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
  }

  #arm(): void {
    if (this.#timer || this.#looking) return;
    const { clock, random } = this.#options.platform;
    this.#timer = clock.after(HEALTH_EVERY * (0.9 + random.next() / 5), () => void this.#round());
  }

  async #round(): Promise<void> {
    this.#timer = null;
    this.#looking = true;
    try {
      await Promise.all([...this.#watched.values()].map((watched) => this.#look(watched)));
    } finally {
      this.#looking = false;
    }
    if (this.#watched.size > 0) this.#arm();
  }

  async #look(watched: Watched): Promise<void> {
    const busy = this.#options.leasesOf(watched.replica.id) > 0;
    const bytesMoved = watched.activity.moved;
    watched.activity.moved = false;
    const [health, countersMoved] = await Promise.all([
      this.#health(watched),
      busy ? this.#countersMoved(watched) : null,
    ]);
    if (this.#watched.get(watched.replica.id) !== watched) return;
    this.#options.post({
      kind: 'replica.checked',
      replica: watched.replica,
      report: { health, countersMoved, bytesMoved },
    });
  }

  async #health({ endpoint, runtime, replica }: Watched): Promise<HealthReport['health']> {
    const url = endpoint.origin + endpoint.pathPrefix + (runtime.healthPath ?? '/');
    try {
      const answer = await this.#options.platform.http.get(url, {
        timeout: HEALTH_TIMEOUT,
        headers: runtime.controlHeaders(replica),
      });
      return runtime.healthPath !== null && answer.status === 503 ? 'unavailable' : 'ok';
    } catch (error) {
      return isTimeout(error) ? 'slow' : 'refused';
    }
  }

  async #countersMoved(watched: Watched): Promise<boolean | null> {
    const { endpoint, runtime, replica } = watched;
    try {
      const url = `${endpoint.origin}${endpoint.pathPrefix}/metrics`;
      const answer = await this.#options.platform.http.get(url, {
        timeout: HEALTH_TIMEOUT,
        headers: runtime.controlHeaders(replica),
      });
      const counters = answer.status === 200 ? runtime.readCounters(answer.body) : null;
      if (!counters) return null;
      const before = watched.counters;
      watched.counters = counters;
      const moved = before === null || differs(before, counters);
      if (moved) watched.countersMovedAt = this.#options.platform.clock.monotonic();
      return moved;
    } catch {
      // No answer is no movement: the health look says what it means.
      return watched.counters === null ? null : false;
    }
  }
}

function differs(before: EngineCounters, after: EngineCounters): boolean {
  return (
    before.promptTokens !== after.promptTokens ||
    before.generationTokens !== after.generationTokens ||
    before.kvCacheUsage !== after.kvCacheUsage
  );
}

function isTimeout(error: unknown): boolean {
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
  return (
    code.includes('TIMEOUT') ||
    code === 'ETIMEDOUT' ||
    code === 'ABORT_ERR' ||
    (error instanceof Error && error.name === 'TimeoutError')
  );
}
