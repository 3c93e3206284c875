/** A worker: accepts nothing itself, decides nothing about the fleet; checks, asks, relays. It lives as long as the controller's process. */
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { createServer } from 'node:http';
import { createAccess } from '../auth/access.ts';
import type { Access } from '../auth/auth.ts';
import type { Platform } from '../platform/platform.ts';
import type { WorkerSide } from '../platform/worker-process.ts';
import { HandedConnections } from '../proxy/handed-connections.ts';
import { createProxy, type Proxy } from '../proxy/proxy.ts';
import type { ProxySettings } from '../proxy/settings.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import { forwardControl } from './forwarded-control.ts';
import { Link, SOON } from './link.ts';
import type { FromWorker, Parcel, ToWorker, WorkerConfiguration, WorkerStart } from './protocol.ts';
import { RemoteGate } from './remote-gate.ts';
import { RemoteTelemetry } from './remote-telemetry.ts';

/** So often, while requests run, the controller hears what moved and what is held. */
const PULSE: Milliseconds = SECOND / 4;
const TRACES_LIMIT: Milliseconds = 2 * SECOND;

export interface WorkerOptions {
  readonly side: WorkerSide;
  readonly platform: Platform;
  /** Paths of the control plane on the listener of the data plane. */
  readonly controlOwns: (separate: boolean) => (path: string) => boolean;
  readonly exit: (code: number) => void;
}

/** Serves from its first parcel on. */
export function runWorker(options: WorkerOptions): void {
  const worker = new Worker(options);
  options.side.onParcel((parcel, connection) => worker.receive(parcel as Parcel, connection));
  // Nobody would count its requests any more, nor end them.
  options.side.onOrphaned(() => options.exit(0));
}

interface Serving {
  readonly proxy: Proxy;
  readonly telemetry: RemoteTelemetry;
}

class Worker {
  readonly #options: WorkerOptions;
  readonly #link: Link<FromWorker, ToWorker>;
  readonly #gate: RemoteGate;
  readonly #connections: HandedConnections;
  #access: Access | null = null;
  #settings: ProxySettings | null = null;
  #serving: Serving | null = null;
  #moving: ReadonlySet<string> = new Set();
  #pulse: Disposable | null = null;
  /** Figures as they were told last. */
  #told = '';
  /** The newest that was sent. */
  #configuration: WorkerConfiguration | null = null;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const { side, platform } = options;
    this.#link = new Link(side.link, platform.clock, (message) => this.#hear(message));
    this.#gate = new RemoteGate(
      (message, calm) => (calm === true ? this.#tell(message, SOON) : this.#say(message)),
      (replicaId, span) => this.#serving?.telemetry.tracing?.starts.begunElsewhere(replicaId, span),
    );
    this.#connections = new HandedConnections(() => this.#tell({ kind: 'closed', connections: 1 }, SOON));
  }

  receive(parcel: Parcel, connection: Socket | undefined): void {
    switch (parcel.kind) {
      case 'start':
        this.#start(parcel.start).catch((error: unknown) => {
          // As any fault that nobody expects: the process ends with it.
          queueMicrotask(() => {
            throw error;
          });
        });
        return;
      case 'configuration':
        this.#configure(parcel.configuration);
        return;
      case 'connection':
        this.#tell({ kind: 'taken', number: parcel.number }, SOON);
        // Its client left before it arrived.
        if (connection === undefined) this.#tell({ kind: 'closed', connections: 1 });
        else this.#connections.give(connection);
        return;
      case 'passed':
        this.#say(parcel);
    }
  }

  async #start(start: WorkerStart): Promise<void> {
    const { platform, controlOwns } = this.#options;
    const { configuration, listen, control, traces, version, gatewayId } = start;
    const telemetry = new RemoteTelemetry({
      clock: platform.clock,
      say: (message) => this.#tell(message),
      unsent: () => this.#link.backlog,
      configuration,
    });
    await telemetry.startTracing(traces, { version, gatewayId, random: platform.random });
    const proxy = createProxy({
      settings: () => this.#present(this.#settings),
      gate: this.#gate,
      access: { check: (need, facts) => this.#present(this.#access).check(need, facts) },
      telemetry,
      platform,
      // Only the controller lists models.
      modelState: () => 'cold',
      countersMoving: (replicaId) => this.#moving.has(replicaId),
      control: forwardControl(control, controlOwns(start.separateControl)),
      network: { connect, createServer, handed: this.#connections },
    });
    await proxy.listen(listen);
    this.#serving = { proxy, telemetry };
    // Another one may have come while this was prepared.
    this.#configure(this.#configuration ?? configuration);
  }

  #configure(configuration: WorkerConfiguration): void {
    this.#configuration = configuration;
    if (this.#serving === null) return;
    this.#apply(configuration);
    this.#serving.telemetry.configure(configuration);
    this.#say({ kind: 'configured', version: configuration.version });
  }

  /** In one turn: no request sees a part of it. */
  #apply({ access, settings, queues }: WorkerConfiguration): void {
    this.#access = createAccess(access);
    this.#settings = settings;
    this.#gate.setQueues(queues);
  }

  #present<T>(value: T | null): T {
    if (value === null) throw new Error('a worker was asked before it was told anything');
    return value;
  }

  #say(message: FromWorker): void {
    this.#link.say(message);
    this.#beat();
  }

  /** Of what has happened: nobody waits for it. */
  #tell(message: FromWorker, within?: Milliseconds): void {
    this.#link.tell(message, within);
    this.#beat();
  }

  /** One pulse is due, and goes on while there is anything to tell of. */
  #beat(): void {
    if (this.#pulse !== null) return;
    this.#pulse = this.#options.platform.clock.after(PULSE, () => {
      this.#pulse = null;
      const stats = this.#serving?.proxy.stats() ?? null;
      const text = JSON.stringify(stats);
      const news = text === this.#told ? null : stats;
      this.#told = text;
      this.#link.say({ kind: 'pulse', touched: this.#gate.takeTouched(), stats: news });
      if (this.#gate.size > 0 || news !== null || (stats?.connections.length ?? 0) > 0) this.#beat();
    });
  }

  #hear(message: ToWorker): void {
    this.#gate.hear(message);
    const proxy = this.#serving?.proxy;
    switch (message.kind) {
      case 'close':
        return proxy?.pools.close(message.replicaId);
      case 'destroy':
        return proxy?.pools.destroy(message.replicaId);
      case 'outlook':
        this.#moving = new Set(message.moving);
        return;
      case 'ping':
        return this.#link.say({ kind: 'pong' });
      case 'refuse':
        return proxy?.refuseNew();
      case 'drain':
        return void this.#drain(message.limit);
      default:
        // The gate's alone.
        return;
    }
  }

  async #drain(limit: Milliseconds): Promise<void> {
    await this.#serving?.proxy.drain(limit);
    await this.#serving?.proxy.close();
    await this.#serving?.telemetry.tracing?.close(TRACES_LIMIT);
    this.#say({ kind: 'drained' });
    this.#link.flush();
  }
}
