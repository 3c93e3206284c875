/** Runs engines as processes of this machine. They outlive the gateway; what is needed to find them again is on disk. */
import type { FoundReplica } from '../../core/events.ts';
import type { FetchSpec, LaunchSpec } from '../../core/launch.ts';
import type { Endpoint, ReplicaRef } from '../../core/state.ts';
import type { Bytes, Milliseconds } from '../../units.ts';
import type {
  Driver,
  DriverContext,
  ExitReport,
  FetchOptions,
  LogOptions,
  ReplicaIdentity,
  StopOptions,
} from '../driver.ts';
import { Fetcher } from './fetch.ts';
import { findDamaged, findReplica, type Found } from './find.ts';
import { Launcher } from './launch.ts';
import { keyOf } from '../logs/names.ts';
import { endpointOf, treeOf, type Held } from './held.ts';
import { pruneLogs } from '../logs/prune-logs.ts';
import { Records, type DamagedRecord } from './records.ts';
import { ReplicaLog, ROTATE_AT } from '../logs/replica-log.ts';
import { leaderIsLive, membersOf, stopTree } from './stop-tree.ts';

/** How soon the end of a process that is not our child is seen. */
const LOOK_EVERY: Milliseconds = 250;
/** Logs are measured every so many looks. */
const LOOKS_PER_MEASURE = 4;
/** After its tree is gone, the system still has to tell us how our child ended. */
const EXIT_REPORT_WAIT: Milliseconds = 1_000;

const UNKNOWN_EXIT = 'ended; how is not known, because an earlier gateway process started it';

export class ProcessDriver implements Driver {
  readonly kind = 'process';
  readonly #context: DriverContext;
  readonly #records: Records;
  readonly #launcher: Launcher;
  readonly #fetcher: Fetcher;
  readonly #rotateAt: Bytes;
  readonly #held = new Map<string, Held>();
  readonly #launching = new Map<string, Promise<Endpoint>>();
  readonly #stopping = new Map<string, Promise<void>>();
  readonly #found = new Map<string, Found>();
  readonly #logs = new Map<string, ReplicaLog>();
  readonly #watchers = new Set<(exit: ExitReport) => void>();
  #look: Disposable | null = null;
  #looks = 0;
  #pruneDue = true;
  readonly #closed = new AbortController();

  constructor(context: DriverContext) {
    this.#context = context;
    this.#records = new Records(context.platform.files, context.stateDir);
    this.#launcher = new Launcher(context, this.#records);
    this.#fetcher = new Fetcher(context);
    this.#rotateAt = context.rotateLogsAt ?? ROTATE_AT;
  }

  fetch(spec: FetchSpec, options: FetchOptions): Promise<{ readonly image: null }> {
    const signal = AbortSignal.any([options.signal, this.#closed.signal]);
    return this.#fetcher.fetch(spec, { ...options, signal });
  }

  async pids(replica: ReplicaRef): Promise<readonly number[]> {
    const record = this.#held.get(keyOf(replica))?.record ?? this.#found.get(keyOf(replica))?.record;
    if (!record) return [];
    return (await membersOf(this.#context.platform, treeOf(record))).map((facts) => facts.pid);
  }

  launch(spec: LaunchSpec, identity: ReplicaIdentity): Promise<Endpoint> {
    const key = keyOf(identity);
    const held = this.#held.get(key);
    if (held) return Promise.resolve(endpointOf(held.record));
    const under = this.#launching.get(key);
    if (under) return under;
    const launching = this.#launch(spec, identity).finally(() => this.#launching.delete(key));
    this.#launching.set(key, launching);
    return launching;
  }

  stop(replica: ReplicaRef, options: StopOptions): Promise<void> {
    const key = keyOf(replica);
    const under = this.#stopping.get(key);
    if (under) return under;
    const stopping = this.#stop(replica, options).finally(() => this.#stopping.delete(key));
    this.#stopping.set(key, stopping);
    return stopping;
  }

  async list(): Promise<readonly FoundReplica[]> {
    const replicas: FoundReplica[] = [];
    await this.#fetcher.endLeftovers();
    const { records, damaged } = await this.#records.all();
    for (const record of records) {
      const found = await findReplica(this.#context.platform, this.#records, record);
      const key = keyOf(record);
      if (found === null) {
        // Never removed under a launch or a stop that still works with it.
        if (!this.#held.has(key) && !this.#launching.has(key)) await this.#records.remove(record);
        continue;
      }
      this.#found.set(key, found);
      replicas.push(found.replica);
    }
    for (const one of damaged) {
      const found = await this.#findDamaged(one);
      if (found) replicas.push(found.replica);
    }
    return replicas;
  }

  /** As long as anything of it runs, its name is what leads there. */
  async #findDamaged(damaged: DamagedRecord): Promise<Found | null> {
    const { platform, gatewayId } = this.#context;
    const { replica } = damaged;
    if (replica && (this.#held.has(keyOf(replica)) || this.#launching.has(keyOf(replica)))) return null;
    const found = replica ? await findDamaged(platform, gatewayId, replica) : null;
    if (found) this.#found.set(keyOf(found.record), found);
    else await this.#records.putAside(damaged);
    return found;
  }

  adopt(replica: ReplicaRef): void {
    const key = keyOf(replica);
    if (this.#held.has(key)) return;
    const found = this.#found.get(key);
    if (!found) throw new Error(`replica ${replica.id} was not found by list(), so it cannot be adopted`);
    this.#hold({ record: found.record, log: this.#logOf(replica), exited: false, saved: true, reported: null });
  }

  watch(report: (exit: ExitReport) => void): Disposable {
    this.#watchers.add(report);
    return {
      [Symbol.dispose]: () => {
        this.#watchers.delete(report);
      },
    };
  }

  logs(replica: ReplicaRef, options: LogOptions): AsyncIterable<string> {
    const key = keyOf(replica);
    const isLive = (): boolean => !this.#closed.signal.aborted && this.#held.get(key)?.exited === false;
    return this.#logOf(replica).follow({ ...options, isLive });
  }

  tail(replica: ReplicaRef, lines: number): Promise<readonly string[]> {
    return this.#logOf(replica).tail(lines);
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#look?.[Symbol.dispose]();
    this.#look = null;
    this.#watchers.clear();
  }

  async #launch(spec: LaunchSpec, identity: ReplicaIdentity): Promise<Endpoint> {
    // The same replica may still be on its way out, when a launch is asked again after a failed stop.
    await this.#stopping.get(keyOf(identity));
    const log = this.#logOf(identity);
    const launched = await this.#launcher.launch(spec, identity, log.path).catch((error: unknown) => {
      this.#logs.delete(keyOf(identity));
      throw error;
    });
    const held: Held = { record: launched.record, log, exited: false, saved: launched.saved, reported: null };
    held.reported = launched.child.exited.then(({ code, signal }) => {
      const detail = signal === null ? `exit code ${code ?? 'unknown'}` : `killed by ${signal}`;
      this.#exited(held, { replica: refOf(identity), code, signal, detail });
    });
    this.#hold(held);
    this.#pruneDue = true;
    return endpointOf(held.record);
  }

  async #stop(replica: ReplicaRef, options: StopOptions): Promise<void> {
    const key = keyOf(replica);
    const { platform } = this.#context;
    await this.#launching.get(key)?.catch(() => undefined);
    const held = this.#held.get(key);
    const record = held?.record ?? (await this.#records.read(replica)) ?? this.#found.get(key)?.record;
    if (record) {
      await stopTree(platform, treeOf(record), options);
      if (held) await this.#awaitReport(held);
      await this.#records.remove(replica);
    }
    this.#held.delete(key);
    this.#found.delete(key);
  }

  async #awaitReport(held: Held): Promise<void> {
    const { reported } = held;
    if (reported === null) {
      this.#exited(held, unknownExit(held));
      return;
    }
    const { clock } = this.#context.platform;
    await new Promise<void>((resolve) => {
      const late = clock.after(EXIT_REPORT_WAIT, resolve);
      void reported.then(() => {
        late[Symbol.dispose]();
        resolve();
      });
    });
  }

  #hold(held: Held): void {
    this.#held.set(keyOf(held.record), held);
    this.#arm();
  }

  #exited(held: Held, exit: ExitReport): void {
    if (held.exited) return;
    held.exited = true;
    for (const report of this.#watchers) report(exit);
  }

  #logOf(replica: ReplicaRef): ReplicaLog {
    const key = keyOf(replica);
    let log = this.#logs.get(key);
    if (!log) {
      log = new ReplicaLog(this.#context.platform.files, this.#context.platform.clock, this.#launcher.logPath(replica));
      this.#logs.set(key, log);
    }
    return log;
  }

  /** One timer for all: it rests while nothing is held. */
  #arm(): void {
    if (this.#closed.signal.aborted || this.#look !== null || this.#held.size === 0) return;
    this.#look = this.#context.platform.clock.after(LOOK_EVERY, () => {
      void this.#lookAtAll().finally(() => {
        this.#look = null;
        this.#arm();
      });
    });
  }

  async #lookAtAll(): Promise<void> {
    this.#looks += 1;
    const measure = this.#looks % LOOKS_PER_MEASURE === 0;
    for (const held of this.#held.values()) {
      if (this.#closed.signal.aborted) return;
      await this.#lookAt(held, measure);
    }
    if (measure && this.#pruneDue) await this.#prune();
  }

  /** Whatever goes wrong here (a full disk, mostly) is tried again at the next look. */
  async #lookAt(held: Held, measure: boolean): Promise<void> {
    try {
      if (
        held.reported === null &&
        !held.exited &&
        !(await leaderIsLive(this.#context.platform, treeOf(held.record)))
      ) {
        this.#exited(held, unknownExit(held));
      }
      if (!held.saved && this.#held.has(keyOf(held.record))) {
        await this.#records.write(held.record);
        held.saved = true;
      }
      if (measure) await held.log.rotateIfLarge(this.#rotateAt);
    } catch {
      return;
    }
  }

  async #prune(): Promise<void> {
    this.#pruneDue = false;
    const kept = new Set([...this.#held.values()].map((held) => held.log.path));
    const removed = await pruneLogs(this.#context.platform.files, this.#launcher.logFolder, kept).catch(
      (): readonly string[] => [],
    );
    for (const [key, log] of this.#logs) if (removed.includes(log.path)) this.#logs.delete(key);
  }
}

function refOf(replica: ReplicaRef): ReplicaRef {
  return { id: replica.id, generation: replica.generation };
}

function unknownExit(held: Held): ExitReport {
  return { replica: refOf(held.record), code: null, signal: null, detail: UNKNOWN_EXIT };
}
