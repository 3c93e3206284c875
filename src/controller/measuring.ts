/**
 * What a replica really takes: watched from its launch for the peak, read once it is ready for what it keeps. Told to the
 * core, which plans with it from then on; until then the promise stands.
 */
import type { FleetEvent } from '../core/events.ts';
import type { LaunchShare } from '../core/launch.ts';
import { LEAST_FOOTPRINT, type Footprint } from '../core/memory/footprint.ts';
import type { FleetState, Model, Replica, ReplicaRef } from '../core/state.ts';
import type { MemoryReport } from '../engines/engine.ts';
import type { Platform } from '../platform/platform.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import { MIB, SECOND, type Bytes, type Milliseconds } from '../units.ts';
import type { DeviceMonitor, Look } from './device-monitor.ts';
import type { ModelRuntime, ModelRuntimes } from './model-runtime.ts';
import { withinTime } from './within-time.ts';

/** A launch waits so long at most for the look that its growth is counted from. */
const BASELINE_LIMIT: Milliseconds = 2 * SECOND;
/** After ready: looks that may fail, and the time between them. */
const READ_TRIES = 3;
const READ_PAUSE: Milliseconds = 2 * SECOND;
const METRICS_TIMEOUT: Milliseconds = 5 * SECOND;
/** A start, from its first line to ready: what the engine says of its memory is among them. */
const REPORT_LINES = 2_000;
/** Readings are in MiB, and engines speak of hundredths of a GiB. */
const ROUNDING: Bytes = 256 * MIB;
/** Growth below this is no sign of life. */
const ALIVE_STEP: Bytes = 64 * MIB;

type Bytewise = ReadonlyMap<string, Bytes>;
type Source = Footprint['source'];

interface Start {
  readonly ref: ReplicaRef;
  readonly share: LaunchShare;
  /** Bytes in use when nothing of it was there; null = not known. */
  baseline: Bytewise | null;
  /** Launches and stops on its devices until then. */
  readonly movesBefore: Map<string, number>;
  readonly peaks: Map<string, Bytes>;
  aliveAt: Bytes;
}

export interface MeasuringOptions {
  readonly platform: Pick<Platform, 'clock' | 'http'>;
  readonly log: Logger;
  readonly state: FleetState;
  readonly post: (event: FleetEvent) => void;
  readonly runtimes: ModelRuntimes;
  readonly monitor: () => DeviceMonitor;
  readonly signal: AbortSignal;
}

export class Measuring {
  readonly #options: MeasuringOptions;
  readonly #starts = new Map<string, Start>();
  /** Launches and stops so far, per device: what grew beside one of them cannot be told apart. */
  readonly #moves = new Map<string, number>();

  constructor(options: MeasuringOptions) {
    this.#options = options;
  }

  /** Before its launch. Resolves when what is there without it is known, or cannot be had soon. */
  async begin(ref: ReplicaRef, devices: readonly string[], share: LaunchShare): Promise<void> {
    this.moved(devices);
    const { platform } = this.#options;
    const start: Start = {
      ref,
      share,
      baseline: null,
      movesBefore: new Map(devices.map((id) => [id, this.#moves.get(id) ?? 0])),
      peaks: new Map(),
      aliveAt: 0,
    };
    this.#starts.set(ref.id, start);
    const monitor = this.#options.monitor();
    if (devices.length === 0 || !monitor.observes || monitor.trouble !== null) return;
    const look = await withinTime(platform.clock, BASELINE_LIMIT, monitor.look());
    start.baseline = look && new Map([...look.devices].map(([id, { usedBytes }]) => [id, usedBytes]));
  }

  /** Something of a replica comes or goes there. */
  moved(devices: Iterable<string>): void {
    for (const id of devices) this.#moves.set(id, (this.#moves.get(id) ?? 0) + 1);
  }

  forget(replicaId: string): void {
    this.#starts.delete(replicaId);
  }

  /** Each look is a sample of what starts hold; one that grows is alive. */
  looked(look: Look): void {
    const { state, post } = this.#options;
    for (const start of this.#starts.values()) {
      const replica = state.replicas.get(start.ref.id);
      if (replica?.phase !== 'starting') continue;
      const now = look.seen.get(replica.id) ?? this.#growth(start, look, replica.reservations.keys());
      if (!now) continue;
      let sum = 0;
      for (const [id, bytes] of now) {
        start.peaks.set(id, Math.max(start.peaks.get(id) ?? 0, bytes));
        sum += bytes;
      }
      if (sum < start.aliveAt + ALIVE_STEP) continue;
      start.aliveAt = sum;
      const { phase, fraction } = replica.progress ?? { phase: 'launched', fraction: null };
      post({ kind: 'replica.progressed', replica: start.ref, phase, fraction, milestone: null });
    }
  }

  /** It has just become ready. Never rejects; what cannot be measured keeps its promise. */
  async ready(ref: ReplicaRef): Promise<void> {
    const { log, state } = this.#options;
    const { settling } = this.#options.monitor();
    const start = this.#starts.get(ref.id);
    this.#starts.delete(ref.id);
    settling.add(ref.id);
    try {
      const replica = state.replicas.get(ref.id);
      if (replica && (replica.reservations.size > 0 || start === undefined)) await this.#measure(replica, start);
    } catch (error) {
      log.warn({ err: error, replica: ref.id }, 'what it takes cannot be measured; what was promised stands');
    } finally {
      settling.delete(ref.id);
    }
  }

  async #measure(replica: Replica, start: Start | undefined): Promise<void> {
    const { state, runtimes, post } = this.#options;
    const runtime = runtimes.of(replica.model);
    const look = this.#options.monitor().observes ? await this.#read() : null;
    const [report, tokens] = runtime && start ? await this.#report(runtime, replica) : [null, null];
    const model = state.models.get(replica.model);
    if (state.replicas.get(replica.id) !== replica || replica.readyAt === null || !model) return;
    const found = this.#found(replica, model, start, look, report);
    if (!found) return;
    post({
      kind: 'replica.measured',
      replica: { id: replica.id, generation: replica.generation },
      steady: found.steady,
      footprint: start ? this.#footprint(replica, model, start, found, report, tokens) : null,
    });
  }

  async #read(): Promise<Look | null> {
    const { platform, signal } = this.#options;
    for (let tried = 1; tried <= READ_TRIES; tried += 1) {
      try {
        return await this.#options.monitor().look();
      } catch {
        // The monitor has told why; a moment later it may answer again.
        if (tried < READ_TRIES) await platform.clock.sleep(READ_PAUSE, signal);
      }
    }
    return null;
  }

  /** The best witness that is to be believed. */
  #found(
    replica: Replica,
    model: Model,
    start: Start | undefined,
    look: Look | null,
    report: MemoryReport | null,
  ): { steady: Bytewise; source: Source } | null {
    const devices = [...replica.reservations.keys()].filter(
      (id) => this.#options.state.devices.get(id)?.unmeasured === false,
    );
    const seen = look?.seen.get(replica.id);
    if (seen && isBelieved(seen, devices)) return { steady: seen, source: 'process' };
    if (!start || devices.length === 0 || devices.length < replica.reservations.size) return null;
    const growth = look && this.#growth(start, look, devices);
    if (growth && isBelieved(growth, devices) && explains(growth, report)) return { steady: growth, source: 'device' };
    // What was declared is not taken back on an engine's word, and no engine takes more than it was told.
    const said = model.settings.memory === null && report ? saidBytes(report, this.#overhead) : null;
    if (said === null) return null;
    const steady = new Map(devices.map((id) => [id, Math.min(said, replica.reservations.get(id) ?? said)]));
    return isBelieved(steady, devices) ? { steady, source: 'engine' } : null;
  }

  get #overhead(): Bytes {
    return this.#options.state.settings.memory.overhead;
  }

  /** Of whole devices, since its launch; null when something else has moved there meanwhile. */
  #growth(start: Start, look: Look, devices: Iterable<string>): Bytewise | null {
    const growth = new Map<string, Bytes>();
    for (const id of devices) {
      const before = start.baseline?.get(id);
      const now = look.devices.get(id)?.usedBytes;
      if (before === undefined || now === undefined || start.movesBefore.get(id) !== this.#moves.get(id)) return null;
      growth.set(id, Math.max(0, now - before));
    }
    return growth;
  }

  async #report(runtime: ModelRuntime, replica: Replica): Promise<readonly [MemoryReport | null, number | null]> {
    const { platform } = this.#options;
    const ref = { id: replica.id, generation: replica.generation };
    const { endpoint } = replica;
    const [lines, metrics] = await Promise.allSettled([
      runtime.driver.tail(ref, REPORT_LINES),
      endpoint
        ? platform.http.get(`${endpoint.origin}${endpoint.pathPrefix}/metrics`, {
            timeout: METRICS_TIMEOUT,
            headers: runtime.controlHeaders(ref),
          })
        : Promise.reject(new Error('it has no address')),
    ]);
    const report = lines.status === 'fulfilled' ? runtime.readMemoryReport(lines.value) : null;
    const tokens =
      metrics.status === 'fulfilled' && metrics.value.status === 200
        ? runtime.readKvCacheTokens(metrics.value.body)
        : null;
    return [report, tokens ?? report?.kvCacheTokens ?? null];
  }

  /** Null where devices of more than one class would be mixed up. */
  #footprint(
    replica: Replica,
    model: Model,
    start: Start,
    found: { steady: Bytewise; source: Source },
    report: MemoryReport | null,
    kvCacheTokens: number | null,
  ): Footprint | null {
    const { state, platform } = this.#options;
    const classes = new Set([...found.steady.keys()].map((id) => state.devices.get(id)?.deviceClass));
    const [deviceClass] = classes;
    if (replica.adopted || classes.size !== 1 || deviceClass === undefined) return null;
    const steadyBytes = Math.max(...found.steady.values());
    return {
      model: model.name,
      signature: {
        specHash: replica.specHash,
        image: model.image,
        deviceClass,
        tensorParallel: start.share.tensorParallel,
      },
      steadyBytes,
      peakBytes: Math.max(steadyBytes, ...start.peaks.values()),
      utilization: start.share.utilization,
      // Given to it in bytes it stays what it was: read back from a rounded line, it would creep with every run.
      kvCacheBytes: start.share.kvCacheBytes ?? report?.kvCacheBytes ?? null,
      kvCacheTokens,
      startTime: (replica.readyAt ?? 0) - (replica.launchedAt ?? 0),
      measuredAt: platform.clock.wall(),
      source: found.source,
    };
  }
}

function isBelieved(bytes: Bytewise, devices: readonly string[]): boolean {
  const expected = devices.length > 0 ? devices : [...bytes.keys()];
  return expected.length > 0 && expected.every((id) => (bytes.get(id) ?? 0) > LEAST_FOOTPRINT);
}

/** An engine holds what it says at least: a device that grew by less was left by somebody else meanwhile. */
function explains(growth: Bytewise, report: MemoryReport | null): boolean {
  const least = (report?.weightBytes ?? 0) + (report?.kvCacheBytes ?? 0) - ROUNDING;
  return [...growth.values()].every((bytes) => bytes >= least);
}

/** `overhead`: context and libraries, of which the engine says nothing. */
function saidBytes({ weightBytes, kvCacheBytes, graphBytes }: MemoryReport, overhead: Bytes): Bytes | null {
  return weightBytes === null || kvCacheBytes === null
    ? null
    : weightBytes + kvCacheBytes + (graphBytes ?? 0) + overhead;
}
