/**
 * The data plane in several processes. Workers check, ask and relay; this process accepts, is the gate's only writer, and
 * answers what is not relayed. What all of them may hold together is held to by this process (connections) or by equal
 * shares (bodies in memory).
 */
import { createServer } from 'node:http';
import { connect } from 'node:net';
import type { UpstreamPools } from '../controller/gate.ts';
import type { WorkerProcess } from '../platform/worker-process.ts';
import { connectionLimit } from '../proxy/connection-limit.ts';
import { HandedConnections } from '../proxy/handed-connections.ts';
import { MAX_CONNECTIONS } from '../proxy/limits.ts';
import { createProxy } from '../proxy/proxy.ts';
import type { Address, ControlPaths, DataPlaneStats, Proxy, ProxyOptions } from '../proxy/proxy.ts';
import type { GatewayTelemetry } from '../telemetry/create-telemetry.ts';
import type { WorkersFacts } from '../telemetry/telemetry.ts';
import type { TraceSettings } from '../telemetry/tracing.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import { ConnectionHall } from './connection-hall.ts';
import { openControlDoor, type ControlDoor } from './forwarded-control.ts';
import type { ToWorker, WorkerConfiguration } from './protocol.ts';
import { QueueNews } from './queue-news.ts';
import { watchPulses } from './pulses.ts';
import { WorkerHandle, type WorkerEnd } from './worker-handle.ts';

/** The first restart comes after this, each further one after twice the time … */
const FIRST_RESTART: Milliseconds = SECOND / 10;
const LAST_RESTART: Milliseconds = 5 * SECOND;
/** … until one lives so long. */
const SETTLED: Milliseconds = 30 * SECOND;
/** A worker that has not taken a configuration by then would go on with the keys of the old one: it is ended. */
const CONFIGURE_LIMIT: Milliseconds = 5 * SECOND;
/** Of a drain, beyond its own limit. */
const DRAIN_MARGIN: Milliseconds = SECOND;

export interface WorkerPlaneOptions extends ProxyOptions {
  readonly telemetry: GatewayTelemetry;
  readonly count: number;
  readonly startProcess: () => Promise<WorkerProcess>;
  readonly gatewayId: string;
  readonly version: string;
  readonly separateControl: boolean;
  readonly traces: TraceSettings | null;
  /** Of the configuration in force. */
  readonly configuration: () => Omit<WorkerConfiguration, 'version'>;
}

export class WorkerPlane implements Proxy {
  readonly pools: UpstreamPools;
  readonly #options: WorkerPlaneOptions;
  readonly #handed = new HandedConnections();
  /** What workers do not answer themselves. */
  readonly #local: Proxy;
  /** Listens on `admin_listen`, which has no workers. */
  readonly #separate: Proxy;
  #workers: WorkerHandle[] = [];
  #hall: ConnectionHall | null = null;
  #pulses: Disposable | null = null;
  #door: ControlDoor | null = null;
  #listen: Address | null = null;
  #configuration: WorkerConfiguration;
  /** By number of worker: ends in a row, none of which had settled. */
  readonly #failures = new Map<number, number>();
  readonly #restarts = new Set<Disposable>();
  readonly #news: QueueNews;
  #configured: Promise<void> = Promise.resolve();
  readonly #waiters = new Set<() => void>();
  #exits = 0;
  #refusing = false;
  #ending = false;

  constructor(options: WorkerPlaneOptions) {
    this.#options = options;
    this.#local = createProxy({ ...options, network: { connect, createServer, handed: this.#handed } });
    this.#separate = createProxy(options);
    this.#configuration = { ...options.configuration(), version: 1 };
    this.#news = new QueueNews({
      gate: options.gate,
      clock: options.platform.clock,
      tell: (model, facts) => this.#tell({ kind: 'queued', model, facts }),
    });
    this.pools = {
      close: (replicaId) => this.#forget({ kind: 'close', replicaId }),
      destroy: (replicaId) => this.#forget({ kind: 'destroy', replicaId }),
      left: (replicaId, generation) => this.#tell({ kind: 'left', replicaId, generation }),
    };
  }

  /** Resolves when it is bound and the workers serve; rejects when none of them can. */
  async listen(address: Address): Promise<{ readonly port: number }> {
    const { platform, telemetry, count } = this.#options;
    const limitOfWorker = await connectionLimit(platform.files);
    // Clients are many times as many as one process may have; what this one needs its descriptors for is never theirs.
    const half = Math.ceil(limitOfWorker / 2);
    const hall = new ConnectionHall({
      workers: () => this.#workers,
      log: telemetry.log,
      limit: Math.min(MAX_CONNECTIONS, limitOfWorker * count),
      limitOfWorker,
      limitWaiting: half,
    });
    this.#hall = hall;
    const bound = await hall.listen(address);
    this.#listen = { host: address.host, port: bound.port };
    await this.#local.listen(this.#listen);
    this.#door = await openControlDoor(platform, this.#handed, half);
    this.#pulses = watchPulses(platform.clock, telemetry.log, () => this.#workers);
    const started = Array.from({ length: count }, (_, index) => this.#startWorker(index + 1));
    const results = await Promise.all(started);
    if (results.includes(true) || this.#ending) return bound;
    throw new Error('no worker of the data plane could start; their output says why');
  }

  listenControl(address: Address, control: ControlPaths): Promise<{ readonly port: number }> {
    return this.#separate.listenControl(address, control);
  }

  /** Tells every worker what is in force now. */
  configure(): void {
    this.#configured = this.#configure();
  }

  /** Resolves when no worker serves with anything older than what it was told last. */
  get configured(): Promise<void> {
    return this.#configured;
  }

  async #configure(): Promise<void> {
    const { platform, telemetry, configuration } = this.#options;
    const version = this.#configuration.version + 1;
    this.#configuration = { ...configuration(), version };
    for (const worker of this.#workers) worker.send({ kind: 'configuration', configuration: this.#configuration });
    const late = platform.clock.after(CONFIGURE_LIMIT, () => {
      for (const worker of this.#older(version)) {
        const { number, pid } = worker;
        telemetry.log.error({ worker: number, pid }, 'a worker does not take its configuration: it is ended');
        worker.kill();
      }
    });
    await this.#until(() => this.#older(version).length === 0);
    late[Symbol.dispose]();
  }

  refuseNew(): void {
    this.#refusing = true;
    this.#tell({ kind: 'refuse' });
    this.#local.refuseNew();
    this.#separate.refuseNew();
  }

  async drain(limit: Milliseconds): Promise<void> {
    this.#beginEnd();
    this.#tell({ kind: 'drain', limit });
    const late = this.#options.platform.clock.after(limit + DRAIN_MARGIN, () => {
      for (const worker of this.#workers) worker.kill();
    });
    await this.#until(() => this.#workers.every(({ drained }) => drained));
    late[Symbol.dispose]();
    await Promise.all([this.#local.drain(limit), this.#separate.drain(limit)]);
  }

  async close(): Promise<void> {
    this.#beginEnd();
    for (const worker of this.#workers) worker.kill();
    await this.#until(() => this.#workers.length === 0);
    await Promise.all([this.#local.close(), this.#separate.close()]);
    await this.#door?.[Symbol.asyncDispose]();
  }

  facts(): WorkersFacts {
    const running = this.#workers.filter(({ serves }) => serves);
    return {
      configured: this.#options.count,
      running: running.map(({ pid, connections }) => ({ pid, connections })),
      exits: this.#exits,
    };
  }

  /** Of all processes together; of workers, as they told last. */
  stats(): DataPlaneStats {
    const ofWorkers = this.#workers.flatMap(({ stats }) => (stats === null ? [] : [stats]));
    const all = [...ofWorkers, this.#local.stats(), this.#separate.stats()];
    const sum = (of: (stats: DataPlaneStats) => number): number => all.reduce((total, stats) => total + of(stats), 0);
    const byModel = new Map<string, { busy: number; idle: number }>();
    for (const { model, busy, idle } of all.flatMap(({ connections }) => connections)) {
      const counts = byModel.get(model) ?? { busy: 0, idle: 0 };
      byModel.set(model, { busy: counts.busy + busy, idle: counts.idle + idle });
    }
    return {
      bufferedBytes: sum(({ bufferedBytes }) => bufferedBytes),
      connections: [...byModel].map(([model, counts]) => ({ model, ...counts })),
      opened: sum(({ opened }) => opened),
      ticking: sum(({ ticking }) => ticking),
    };
  }

  /** Resolves when it serves (true), or ended before that. */
  async #startWorker(number: number): Promise<boolean> {
    const { telemetry, gate, platform, gatewayId, version, separateControl, traces } = this.#options;
    const { clock } = platform;
    const process = await this.#options.startProcess().catch((error: unknown) => {
      telemetry.log.error({ err: error, worker: number }, 'a worker of the data plane cannot be started');
      return null;
    });
    if (process === null) {
      this.#startLater(number, true);
      return false;
    }
    const changed = (): void => this.#changed();
    const saidDepth = (model: string, depth: number): void => this.#news.said(model, depth);
    const { countersMoving = () => false, count: workers } = this.#options;
    const facts = { number, workers, process, gate, telemetry, clock };
    const worker = new WorkerHandle({ ...facts, changed, saidDepth, countersMoving });
    this.#workers.push(worker);
    void worker.ended.then((end) => this.#ended(worker, end));
    const [listen, control] = [this.#listen, this.#door?.address];
    if (listen === null || control === undefined || this.#ending) {
      worker.kill();
      return false;
    }
    const configuration = this.#configuration;
    const start = { gatewayId, version, listen, separateControl, control, traces, configuration };
    worker.send({ kind: 'start', start });
    if (this.#refusing) worker.say({ kind: 'refuse' });
    await this.#until(() => worker.ready || worker.gone);
    if (!worker.ready) return false;
    for (const [model, facts] of this.#news.present()) worker.say({ kind: 'queued', model, facts });
    telemetry.log.info({ worker: number, pid: worker.pid }, 'a worker of the data plane serves');
    return true;
  }

  #ended(worker: WorkerHandle, end: WorkerEnd): void {
    const { telemetry, platform } = this.#options;
    this.#workers = this.#workers.filter((one) => one !== worker);
    this.#changed();
    if (this.#ending) return;
    this.#exits += 1;
    telemetry.workerEnded();
    const { number, pid, startedAt } = worker;
    telemetry.log.error(
      { worker: number, pid, ...end },
      'a worker of the data plane ended; another one takes its place',
    );
    this.#startLater(number, platform.clock.monotonic() - startedAt < SETTLED);
  }

  #startLater(number: number, again: boolean): void {
    if (this.#ending) return;
    const failures = again ? (this.#failures.get(number) ?? 0) : 0;
    this.#failures.set(number, failures + 1);
    const delay = Math.min(LAST_RESTART, FIRST_RESTART * 2 ** failures);
    const timer = this.#options.platform.clock.after(delay, () => {
      this.#restarts.delete(timer);
      void this.#startWorker(number);
    });
    this.#restarts.add(timer);
  }

  #beginEnd(): void {
    this.#ending = true;
    this.#hall?.close();
    // The drain has a limit of its own.
    this.#pulses?.[Symbol.dispose]();
    this.#news[Symbol.dispose]();
    for (const timer of this.#restarts) timer[Symbol.dispose]();
    this.#restarts.clear();
  }

  #older(version: number): readonly WorkerHandle[] {
    // One that does not serve yet is sent the newest before its first connection.
    return this.#workers.filter(({ ready, configured }) => ready && configured < version);
  }

  #forget(message: Extract<ToWorker, { kind: 'close' | 'destroy' }>): void {
    for (const { desk } of this.#workers) desk.forget(message.replicaId);
    this.#tell(message);
  }

  #tell(message: ToWorker): void {
    for (const worker of this.#workers) worker.say(message);
  }

  #changed(): void {
    if (!this.#ending) this.#hall?.dispatch();
    for (const look of [...this.#waiters]) look();
  }

  /** Resolves when `holds`, looked at whenever something of a worker has changed. */
  #until(holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (!holds()) return;
        this.#waiters.delete(look);
        resolve();
      };
      this.#waiters.add(look);
    });
  }
}
