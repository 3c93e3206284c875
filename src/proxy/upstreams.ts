/** Connections to engines, one set per replica. A lease stands for one of them, so that nobody ever waits for one here. */
import type { Upstream, UpstreamPools } from '../controller/gate.ts';
import type { Clock } from '../platform/platform.ts';
import type { Milliseconds } from '../units.ts';
import { EngineConnection } from './engine-connection.ts';
import { ExternalConnection } from './external-connection.ts';
import type { Network } from './network.ts';
import type { UpstreamCall, UpstreamClient, UpstreamListener, UpstreamRequest } from './upstream-client.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

export interface ConnectionCounts {
  readonly model: string;
  readonly busy: number;
  readonly idle: number;
}

export class Upstreams implements UpstreamPools {
  private readonly clock: Clock;
  private readonly network: Network;
  private readonly replicas = new Map<string, ReplicaConnections>();
  /** Sockets opened since the start. */
  opened = 0;

  constructor(clock: Clock, network: Network) {
    this.clock = clock;
    this.network = network;
  }

  of(upstream: Upstream, model: string, connectTimeout: Milliseconds): UpstreamClient {
    let connections = this.replicas.get(upstream.id);
    if (connections === undefined) {
      connections = new ReplicaConnections({
        upstream,
        model,
        clock: this.clock,
        network: this.network,
        opened: () => this.opened++,
      });
      this.replicas.set(upstream.id, connections);
    }
    connections.connectTimeout = connectTimeout;
    return connections;
  }

  close(replicaId: string): void {
    const connections = this.replicas.get(replicaId);
    this.replicas.delete(replicaId);
    connections?.retire();
  }

  destroy(replicaId: string): void {
    const connections = this.replicas.get(replicaId);
    this.replicas.delete(replicaId);
    connections?.destroy();
  }

  destroyAll(): void {
    for (const id of [...this.replicas.keys()]) this.destroy(id);
  }

  /** One entry per model that has any. */
  counts(): ConnectionCounts[] {
    const byModel = new Map<string, { busy: number; idle: number }>();
    for (const connections of this.replicas.values()) {
      if (connections.busy + connections.idle === 0) continue;
      const sum = byModel.get(connections.model) ?? { busy: 0, idle: 0 };
      sum.busy += connections.busy;
      sum.idle += connections.idle;
      byModel.set(connections.model, sum);
    }
    return [...byModel].map(([model, sum]) => ({ model, ...sum }));
  }
}

interface ReplicaOptions {
  readonly upstream: Upstream;
  readonly model: string;
  readonly clock: Clock;
  readonly network: Network;
  readonly opened: () => void;
}

class ReplicaConnections implements UpstreamClient {
  readonly model: string;
  connectTimeout: Milliseconds = 0;
  private readonly options: ReplicaOptions;
  private readonly upstream: Upstream;
  private readonly clock: Clock;
  /** The one used last is last: it is taken first, so that the others grow old and close. */
  private readonly free: UpstreamConnection[] = [];
  /** Idle or with a request; one whose request was cancelled counts until it is closed. */
  private readonly all = new Set<UpstreamConnection>();
  private retired = false;

  constructor(options: ReplicaOptions) {
    this.options = options;
    this.upstream = options.upstream;
    this.model = options.model;
    this.clock = options.clock;
  }

  get idle(): number {
    return this.free.length;
  }

  get busy(): number {
    return this.all.size - this.free.length;
  }

  send(request: UpstreamRequest, listener: UpstreamListener): UpstreamCall {
    const connection = (request.fresh ? undefined : this.takeFree()) ?? this.open();
    if (connection === null) return refuse(listener);
    return connection.send(request, listener);
  }

  /** No new request will come: idle sockets close now, the others when they are done. */
  retire(): void {
    this.retired = true;
    for (const connection of [...this.free]) connection.close();
  }

  destroy(): void {
    this.retired = true;
    for (const connection of [...this.all]) connection.close();
  }

  private takeFree(): UpstreamConnection | undefined {
    const now = this.clock.monotonic();
    for (;;) {
      const connection = this.free.pop();
      if (connection === undefined) return undefined;
      const usable =
        now - connection.idleSince < this.upstream.idleLimit && connection.connectTimeout === this.connectTimeout;
      if (usable) return connection;
      connection.close();
    }
  }

  private open(): UpstreamConnection | null {
    if (this.all.size >= this.upstream.connections) {
      const oldest = this.free.shift();
      if (oldest === undefined) return null;
      oldest.close();
    }
    const Kind = this.upstream.external ? ExternalConnection : EngineConnection;
    const connection = new Kind({
      clock: this.clock,
      network: this.options.network,
      origin: this.upstream.origin,
      connectTimeout: this.connectTimeout,
      idleLimit: this.upstream.idleLimit,
      opened: this.options.opened,
      freed: this.freed,
      gone: this.gone,
    });
    this.all.add(connection);
    return connection;
  }

  private readonly freed = (connection: UpstreamConnection): void => {
    if (this.retired || this.upstream.idleLimit <= 0) {
      connection.close();
      return;
    }
    connection.idleSince = this.clock.monotonic();
    this.free.push(connection);
    const { connections, idleConnections = connections } = this.upstream;
    if (this.free.length > idleConnections) this.free.shift()?.close();
  };

  private readonly gone = (connection: UpstreamConnection): void => {
    this.all.delete(connection);
    const at = this.free.indexOf(connection);
    if (at !== -1) this.free.splice(at, 1);
  };
}

function refuse(listener: UpstreamListener): UpstreamCall {
  let over = false;
  queueMicrotask(() => {
    if (over) return;
    over = true;
    listener.failed({ kind: 'exhausted', reused: false, answered: false, detail: 'no connection left' });
  });
  return {
    resume: () => undefined,
    cancel: (closed) => {
      over = true;
      closed();
    },
  };
}
