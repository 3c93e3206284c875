/** The data plane of a configuration: in this process, or in worker processes beside it. Wiring, not policy. */
import { workersOf } from './config/checks/relations.ts';
import type { UpstreamPools } from './controller/gate.ts';
import { logSecrets } from './config/log-secrets.ts';
import { startWorkerProcess } from './platform/worker-process.ts';
import { createProxy, type Proxy, type ProxyOptions } from './proxy/proxy.ts';
import type { Present } from './reloading.ts';
import type { GatewayTelemetry } from './telemetry/create-telemetry.ts';
import type { WorkersFacts } from './telemetry/telemetry.ts';

export interface DataPlane {
  readonly proxy: Proxy;
  /** Another configuration is in force in this process: tells the others. */
  configure(): void;
  /** Resolves when every process serves with the configuration in force. */
  configured(): Promise<void>;
  /** Null where there are none. */
  workers(): WorkersFacts | null;
  /** Why it takes no requests at all, for `/readyz`; none = it does. */
  troubles(): readonly string[];
}

export interface DataPlaneOptions extends ProxyOptions {
  readonly present: Present;
  readonly telemetry: GatewayTelemetry;
  readonly gatewayId: string;
  readonly version: string;
  /** Path of the program of a worker. */
  readonly workerProgram: string | undefined;
}

export async function createDataPlane(options: DataPlaneOptions): Promise<DataPlane> {
  const { config } = options.present.made;
  const count = workersOf(config.server.workers, options.platform);
  if (count === 1) {
    const proxy = createProxy(options);
    const alone = { configure: () => undefined, configured: () => Promise.resolve(), workers: () => null };
    return { proxy, ...alone, troubles: () => [] };
  }
  const { workerProgram } = options;
  if (workerProgram === undefined)
    throw new Error('server.workers: whoever embeds the gateway names no worker program');
  const { url, ...traces } = config.telemetry.traces;
  const { WorkerPlane } = await import('./workers/worker-plane.ts');
  const plane = new WorkerPlane({
    ...options,
    count,
    startProcess: () => startWorkerProcess(workerProgram),
    separateControl: config.server.adminListen !== null,
    traces: url === null ? null : { url, ...traces },
    configuration: () => configurationOf(options, count),
  });
  return {
    proxy: plane,
    configure: () => plane.configure(),
    configured: () => plane.configured,
    workers: () => plane.facts(),
    troubles: () => (plane.facts().running.length > 0 ? [] : ['no worker of the data plane takes connections']),
  };
}

/** Of the data plane once it is there: the fleet is created first. */
export function poolsOf(parts: { readonly plane?: DataPlane }): UpstreamPools {
  return {
    close: (replicaId) => parts.plane?.proxy.pools.close(replicaId),
    destroy: (replicaId) => parts.plane?.proxy.pools.destroy(replicaId),
    left: (replicaId, generation) => parts.plane?.proxy.pools.left?.(replicaId, generation),
  };
}

/** Bodies in memory are bounded by equal shares: all workers together never hold more than one process might. */
function configurationOf({ present, gate, platform }: DataPlaneOptions, count: number) {
  const { config, proxySettings } = present.made;
  const { auth, server, log, models } = config;
  return {
    access: { auth, allowedHosts: server.allowedHosts, corsOrigins: server.corsOrigins },
    settings: { ...proxySettings, maxBufferedBytes: Math.floor(proxySettings.maxBufferedBytes / count) },
    logLevel: log.level,
    logSecrets: logSecrets(config, platform.env),
    // Depths are told as they change, by whom they are known.
    queues: new Map([...models.keys()].map((model) => [model, { ...gate.queueFacts(model), depth: 0 }])),
  };
}
