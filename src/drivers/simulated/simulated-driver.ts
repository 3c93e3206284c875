/** The driver contract over a machine in memory: for tests of everything above drivers. */
import type { FoundReplica } from '../../core/events.ts';
import type { FetchSpec, LaunchSpec } from '../../core/launch.ts';
import type { Endpoint, ReplicaRef } from '../../core/state.ts';
import type { Milliseconds } from '../../units.ts';
import {
  LaunchError,
  type Driver,
  type DriverContext,
  type ExitReport,
  type FetchOptions,
  type LogOptions,
  type ReplicaIdentity,
  type StopOptions,
} from '../driver.ts';
import { SimulatedMachine, SimulatedProcess } from './simulated-machine.ts';

const CUT_AFTER: Milliseconds = 2_000;
const KILL_AFTER: Milliseconds = 10_000;
const KILL_AFTER_STARTING: Milliseconds = 2_000;

export class SimulatedDriver implements Driver {
  readonly kind = 'simulated';
  readonly machine: SimulatedMachine;
  readonly #watchers = new Set<(exit: ExitReport) => void>();
  readonly #watched = new Set<string>();
  readonly #stops = new Map<string, Promise<void>>();
  readonly #found = new Set<string>();
  readonly #closed = new AbortController();

  constructor(context: Pick<DriverContext, 'platform'>, machine?: SimulatedMachine) {
    this.machine = machine ?? new SimulatedMachine(context.platform.clock);
  }

  async fetch(spec: FetchSpec, options: FetchOptions): Promise<{ readonly image: string | null }> {
    options.signal.throwIfAborted();
    const { clock } = this.machine;
    const script = this.machine.fetch(spec);
    const signal = AbortSignal.any([options.signal, this.#closed.signal]);
    this.machine.fetching += 1;
    try {
      for (const step of script.steps ?? []) {
        await clock.sleep(step.after, signal);
        options.progress(step.phase, step.fraction);
      }
      if (script.hang === true) await clock.sleep(Number.MAX_SAFE_INTEGER, signal);
    } finally {
      this.machine.fetching -= 1;
    }
    if (script.refuse) throw new LaunchError(script.refuse.failure, script.refuse.message);
    return { image: script.image ?? (spec.container === null ? null : `sha256:${spec.container.image}`) };
  }

  async pids(replica: ReplicaRef): Promise<readonly number[]> {
    const process = this.machine.processes.get(keyOf(replica));
    return process?.exit === null && process.endpoint.pid !== null ? [process.endpoint.pid] : [];
  }

  async launch(spec: LaunchSpec, identity: ReplicaIdentity): Promise<Endpoint> {
    const key = keyOf(identity);
    const known = this.machine.processes.get(key);
    if (known) return known.endpoint;
    const script = this.machine.script(spec, identity);
    if (script.refuse) throw new LaunchError(script.refuse.failure, script.refuse.message);
    const process = new SimulatedProcess(this.machine.clock, spec, identity, script);
    this.machine.processes.set(key, process);
    this.machine.logs.set(key, process.log);
    this.#report(key, process);
    return process.endpoint;
  }

  stop(replica: ReplicaRef, options: StopOptions): Promise<void> {
    const key = keyOf(replica);
    const under = this.#stops.get(key);
    if (under) return under;
    const stop = this.#stop(key, options).finally(() => this.#stops.delete(key));
    this.#stops.set(key, stop);
    return stop;
  }

  async list(): Promise<readonly FoundReplica[]> {
    const alive = [...this.machine.processes.values()].filter((process) => process.exit === null);
    for (const process of alive) this.#found.add(keyOf(process.identity));
    return alive.map(({ identity, spec, endpoint, launchedAt }) => ({
      id: identity.id,
      generation: identity.generation,
      model: identity.model,
      specHash: identity.specHash,
      reservations: identity.reservations,
      port: spec.port,
      endpoint,
      usable: true,
      ageMs: this.machine.clock.wall() - launchedAt,
    }));
  }

  watch(report: (exit: ExitReport) => void): Disposable {
    this.#watchers.add(report);
    return {
      [Symbol.dispose]: () => {
        this.#watchers.delete(report);
      },
    };
  }

  adopt(replica: ReplicaRef): void {
    const key = keyOf(replica);
    const process = this.machine.processes.get(key);
    if (!process || !this.#found.has(key))
      throw new Error(`replica ${replica.id} was not found by list(), so it cannot be adopted`);
    this.#report(key, process);
  }

  async *logs(replica: ReplicaRef, options: LogOptions): AsyncGenerator<string, void, undefined> {
    const process = this.machine.processes.get(keyOf(replica));
    const log = this.#logOf(replica);
    let next = Math.max(0, log.length - options.tail);
    const signal = AbortSignal.any([options.signal, this.#closed.signal]);
    while (!options.signal.aborted) {
      const live = options.follow && !this.#closed.signal.aborted && process?.exit === null;
      while (next < log.length) yield log[next++] ?? '';
      if (!live) return;
      // It may have ended while its lines were taken.
      if (process?.exit === null) await changed(process, signal);
    }
  }

  async tail(replica: ReplicaRef, lines: number): Promise<readonly string[]> {
    return lines > 0 ? this.#logOf(replica).slice(-lines) : [];
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#watchers.clear();
  }

  /** A log is kept after its engine is gone. */
  #logOf(replica: ReplicaRef): readonly string[] {
    return this.machine.processes.get(keyOf(replica))?.log ?? this.machine.logs.get(keyOf(replica)) ?? [];
  }

  #report(key: string, process: SimulatedProcess): void {
    if (this.#watched.has(key)) return;
    this.#watched.add(key);
    const look = (): void => {
      if (process.exit === null) return process.onChange(look);
      this.#watched.delete(key);
      const { code, signal } = process.exit;
      const { id, generation } = process.identity;
      const detail = signal === null ? `exit code ${code ?? 'unknown'}` : `killed by ${signal}`;
      for (const report of this.#watchers) report({ replica: { id, generation }, code, signal, detail });
    };
    look();
  }

  async #stop(key: string, options: StopOptions): Promise<void> {
    const process = this.machine.processes.get(key);
    if (!process) return;
    const { clock } = this.machine;
    const killAfter = Math.min(options.starting ? KILL_AFTER_STARTING : KILL_AFTER, options.timeout / 3);
    using _cut = clock.after(Math.min(CUT_AFTER, killAfter), options.cutConnections);
    using _kill = clock.after(killAfter, () => process.kill());
    const over = new AbortController();
    using _limit = clock.after(options.timeout, () => over.abort());
    process.terminate();
    while (process.exit === null && !over.signal.aborted) await changed(process, over.signal);
    if (process.exit === null) throw new Error('still running after SIGKILL');
    this.machine.processes.delete(key);
  }
}

function keyOf(replica: ReplicaRef): string {
  return `${replica.id}\n${replica.generation}`;
}

function changed(process: SimulatedProcess | undefined, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (process === undefined || signal.aborted) {
      resolve();
      return;
    }
    const done = (): void => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    signal.addEventListener('abort', done, { once: true });
    process.onChange(done);
  });
}
