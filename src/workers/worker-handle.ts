/** One worker as the controller's process sees it: from its start to its end. */
import type { Socket } from 'node:net';
import type { Gate } from '../controller/gate.ts';
import type { Clock } from '../platform/platform.ts';
import type { WorkerProcess } from '../platform/worker-process.ts';
import type { DataPlaneStats } from '../proxy/proxy.ts';
import type { GatewayTelemetry } from '../telemetry/create-telemetry.ts';
import type { RequestRecord } from '../telemetry/telemetry.ts';
import type { Milliseconds } from '../units.ts';
import { Link } from './link.ts';
import type { FromWorker, Parcel, ToWorker } from './protocol.ts';
import { WorkerDesk, type LostRequest } from './worker-desk.ts';

export interface WorkerHandleOptions {
  /** 1 = the first. One that takes the place of another has its number. */
  readonly number: number;
  /** So many there are. */
  readonly workers: number;
  readonly process: WorkerProcess;
  readonly gate: Gate;
  readonly telemetry: GatewayTelemetry;
  readonly clock: Clock;
  /** What it says has changed what is known of it: a connection is closed, it serves a configuration, has ended its drain. */
  readonly changed: (worker: WorkerHandle) => void;
  /** It was told this of a queue. */
  readonly saidDepth: (model: string, depth: number) => void;
  /** The engine's token counters changed lately. */
  readonly countersMoving: (replicaId: string) => boolean;
}

/** How a process ended, and what was lost with it. */
export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: string | null;
  readonly connections: number;
  readonly leases: number;
  readonly waiting: number;
}

export class WorkerHandle {
  readonly number: number;
  readonly pid: number;
  readonly desk: WorkerDesk;
  readonly startedAt: Milliseconds;
  /** Resolves once everything that it said is heard, and its requests at the gate are ended. */
  readonly ended: Promise<WorkerEnd>;
  /** Of clients, those on their way to it included. */
  connections = 0;
  /** Version of the configuration that it serves with; 0 = it does not serve yet. */
  configured = 0;
  drained = false;
  stats: DataPlaneStats | null = null;
  /** Pings since it was heard last. */
  unanswered = 0;
  readonly #options: WorkerHandleOptions;
  readonly #link: Link<ToWorker, FromWorker>;
  /** Sent, in this order, and not arrived yet. */
  readonly #travelling: { readonly number: number; readonly connection: Socket }[] = [];
  #handed = 0;
  #gone = false;
  /** None is what it takes for granted. */
  #toldOutlook = JSON.stringify({ kind: 'outlook', moving: [], starts: [] });

  constructor(options: WorkerHandleOptions) {
    const { process, clock, gate, telemetry } = options;
    this.#options = options;
    this.number = options.number;
    this.pid = process.pid;
    this.startedAt = clock.monotonic();
    this.desk = new WorkerDesk({
      gate,
      workers: options.workers,
      clock,
      say: (message) => this.say(message),
      saidDepth: options.saidDepth,
      startOf: (replicaId) => telemetry.tracing?.starts.contextOf(replicaId),
    });
    this.#link = new Link(process.link, clock, (message) => this.#hear(message));
    const silent = new Promise<void>((resolve) => {
      process.link.once('close', () => resolve());
    });
    this.ended = Promise.all([process.exited, silent]).then(([exit]) => this.#end(exit));
  }

  get ready(): boolean {
    return this.configured > 0 && !this.#gone;
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** One ping is under way now and then; with two it stands still. */
  get silent(): boolean {
    return this.unanswered > 1;
  }

  /** It is handed connections, and takes them. */
  get serves(): boolean {
    return this.ready && !this.silent;
  }

  /** Connections that it was handed and has not taken yet. */
  get travelling(): number {
    return this.#travelling.length;
  }

  ping(): void {
    this.unanswered += 1;
    this.say({ kind: 'ping' });
    if (this.#travelling.length > 0) this.send({ kind: 'passed', number: this.#handed });
  }

  say(message: ToWorker): void {
    this.#link.say(message);
  }

  send(parcel: Parcel): void {
    this.#options.process.send(parcel);
  }

  hand(connection: Socket): void {
    this.connections += 1;
    const number = (this.#handed += 1);
    this.#travelling.push({ number, connection });
    this.#options.process.send({ kind: 'connection', number } satisfies Parcel, connection);
  }

  kill(): void {
    this.#options.process.kill();
  }

  #end(exit: { readonly code: number | null; readonly signal: string | null }): WorkerEnd {
    this.#gone = true;
    const { connections, desk } = this;
    const { leases, waiting } = desk;
    this.connections = 0;
    for (const { connection } of this.#travelling.splice(0)) connection.destroy();
    this.stats = null;
    for (const lost of desk.lost('internal')) this.#options.telemetry.requestEnded(this.#recordOf(lost));
    return { ...exit, connections, leases, waiting };
  }

  /** Nothing up to `number` travels any more. What was not `taken` was given up on the way. */
  #arrived(number: number, taken: 0 | 1): void {
    let lost = -taken;
    while (this.#travelling[0] && this.#travelling[0].number <= number) {
      // The worker has its own end of it, or nobody has.
      this.#travelling.shift()?.connection.destroy();
      lost += 1;
    }
    if (lost <= 0) return;
    const { telemetry, changed } = this.#options;
    const facts = { worker: this.number, pid: this.pid, connections: lost };
    telemetry.log.error(facts, 'connections did not reach a worker of the data plane: it has no descriptors left');
    this.connections -= lost;
    changed(this);
  }

  /** What the worker would have said at its end, as far as it is known here. */
  #recordOf({ ask, lease, lastedMs }: LostRequest): RequestRecord {
    return {
      id: ask.request?.id ?? ask.id,
      keyId: ask.keyId,
      method: 'POST',
      route: ask.request?.route ?? 'unknown',
      model: ask.model,
      stream: ask.stream,
      // What its client saw of the answer is gone with the worker.
      status: 0,
      outcome: 'internal',
      code: 'internal_error',
      replica: lease?.replicaId ?? null,
      startedAt: this.#options.clock.wall() - lastedMs,
      durationMs: lastedMs,
      firstByteMs: null,
      queueMs: lease?.queuedMs ?? lastedMs,
      coldStartMs: lease?.coldStartMs ?? 0,
      addedMs: null,
      attempts: lease === null ? 0 : 1,
      ...{ bytesIn: 0, bytesOut: 0, promptTokens: null, completionTokens: null },
    };
  }

  #tellOutlook(): void {
    const { countersMoving, gate } = this.#options;
    const moving = [...this.desk.replicas()].filter(countersMoving).toSorted();
    const starts = [...this.desk.models()].flatMap((model) => {
      const start = gate.comingStart(model);
      return start === null ? [] : [[model, start] as const];
    });
    const outlook: ToWorker = { kind: 'outlook', moving, starts };
    const text = JSON.stringify(outlook);
    if (text === this.#toldOutlook) return;
    this.#toldOutlook = text;
    this.say(outlook);
  }

  #hear(message: FromWorker): void {
    const { silent } = this;
    this.unanswered = 0;
    // It may be handed connections again.
    if (silent) this.#options.changed(this);
    if (this.desk.hear(message)) return;
    const { telemetry, changed } = this.#options;
    switch (message.kind) {
      case 'record':
        return telemetry.requestEnded(message.record);
      case 'upstream_request':
        return telemetry.upstreamRequest(message.model, message.reused);
      case 'retried':
        return telemetry.retried(message.model, message.reason);
      case 'invariant_violated':
        return telemetry.invariantViolated(message.id, message.detail);
      case 'spans_dropped':
        return telemetry.spansDropped(message.spans);
      case 'lags':
        for (const lag of message.lags) telemetry.workerLagged(lag);
        return;
      case 'line':
        return telemetry.writeWhole(message.line);
      case 'pulse':
        this.desk.touched(message.touched);
        if (message.stats !== null) this.stats = message.stats;
        return this.#tellOutlook();
      case 'pong':
        return;
      case 'taken':
        return this.#arrived(message.number, 1);
      case 'passed':
        return this.#arrived(message.number, 0);
      case 'closed':
        this.connections -= message.connections;
        return changed(this);
      case 'configured':
        this.configured = message.version;
        return changed(this);
      case 'drained':
        this.drained = true;
        return changed(this);
      default:
        throw new Error(`a worker said ${message.kind}, which is the gate's`);
    }
  }
}
