/** A controller on a virtual clock with engines that do as they are told: for tests of the shell. */
import { Controller, type ControllerOptions } from '../../src/controller/controller.ts';
import type { TicketSink, Lease, Upstream } from '../../src/controller/gate.ts';
import type { ModelRuntime, ModelRuntimes } from '../../src/controller/model-runtime.ts';
import type { FoundReplica } from '../../src/core/events.ts';
import type { FetchSpec } from '../../src/core/launch.ts';
import type { StartTimes } from '../../src/core/lifecycle/start-times.ts';
import type { Footprint } from '../../src/core/memory/footprint.ts';
import type { MemoryRules } from '../../src/core/memory/sizing.ts';
import type { DeviceSettings, DriverKind, FleetSettings, ModelSettings } from '../../src/core/settings.ts';
import type { Endpoint, ReplicaRef } from '../../src/core/state.ts';
import type { Driver, ExitReport, FetchOptions, ReplicaIdentity, StopOptions } from '../../src/drivers/driver.ts';
import type { GatewayError } from '../../src/errors.ts';
import type { Probe, ProbeReading } from '../../src/probes/probe.ts';
import type { Logger, Telemetry } from '../../src/telemetry/telemetry.ts';
import { GIB, MINUTE, SECOND } from '../../src/units.ts';
import { createTestPlatform, type TestPlatform } from './test-platform.ts';

export function modelSettings(name: string, over: Partial<ModelSettings> = {}): ModelSettings {
  return {
    name,
    driver: 'process',
    specHash: `spec-${name}`,
    maxQueueSize: 200,
    maxConcurrent: 50,
    queueTimeout: 9 * MINUTE,
    inactivityTimeout: 30 * MINUTE,
    alwaysOn: false,
    preload: false,
    startTimeout: 65 * MINUTE,
    startStallTimeout: 10 * MINUTE,
    stopTimeout: 30 * SECOND,
    stallTimeout: 2 * MINUTE,
    deviceCount: 1,
    deviceIds: ['gpu-0'],
    memory: 20 * GIB,
    sizing: null,
    needsPreparation: false,
    needsPort: true,
    unstartable: null,
    ...over,
  };
}

export const MEMORY_RULES: MemoryRules = {
  placementMode: 'budget',
  eviction: 'lru',
  overheadFactor: 1.1,
  overhead: GIB,
  colocateMargin: GIB,
  weightOverhead: 1.15,
  budgetFraction: 0.9,
};

export function deviceSettings(id: string, over: Partial<DeviceSettings> = {}): DeviceSettings {
  return {
    id,
    totalBytes: 24 * GIB,
    budgetBytes: 22 * GIB,
    pool: null,
    uuid: null,
    deviceClass: 'pretended, 24576 MiB',
    unmeasured: false,
    ...over,
  };
}

export function fleetSettings(models: readonly ModelSettings[], over: Partial<FleetSettings> = {}): FleetSettings {
  return {
    version: 1,
    limits: { maxInFlight: 150, maxTurn: MINUTE, minResidency: 90 * SECOND, drainTimeout: 5 * MINUTE },
    retry: { attempts: 3 },
    ports: { first: 20_000, last: 20_099 },
    memory: MEMORY_RULES,
    devices: [deviceSettings('gpu-0')],
    models: new Map(models.map((model) => [model.name, model])),
    ...over,
  };
}

/** Launches at once; ready when the test says so; stops at once unless told otherwise. */
export class ScriptedDriver implements Driver {
  readonly kind: DriverKind;
  readonly launches: ReplicaIdentity[] = [];
  readonly stops: { readonly replica: ReplicaRef; readonly options: StopOptions }[] = [];
  readonly adopted: ReplicaRef[] = [];
  found: readonly FoundReplica[] = [];
  failLaunch: Error | null = null;
  stopping: (replica: ReplicaRef) => Promise<void> = async () => {};
  lines: readonly string[] = [];
  #report: (exit: ExitReport) => void = () => {};

  constructor(kind: DriverKind = 'process') {
    this.kind = kind;
  }

  fetch = async (_spec: FetchSpec, _options: FetchOptions): Promise<{ readonly image: string | null }> => ({
    image: null,
  });
  /** Replica id → process ids. */
  readonly processes = new Map<string, readonly number[]>();
  async pids(replica: ReplicaRef): Promise<readonly number[]> {
    return this.processes.get(replica.id) ?? [];
  }
  async launch(_spec: unknown, identity: ReplicaIdentity): Promise<Endpoint> {
    this.launches.push(identity);
    if (this.failLaunch) throw this.failLaunch;
    return {
      origin: `http://127.0.0.1:${20_000 + this.launches.length}`,
      pathPrefix: '',
      pid: 100 + this.launches.length,
      container: null,
    };
  }
  async stop(replica: ReplicaRef, options: StopOptions): Promise<void> {
    this.stops.push({ replica, options });
    await this.stopping(replica);
  }
  async list(): Promise<readonly FoundReplica[]> {
    return this.found;
  }
  watch(report: (exit: ExitReport) => void): Disposable {
    this.#report = report;
    return { [Symbol.dispose]: () => undefined };
  }
  adopt(replica: ReplicaRef): void {
    this.adopted.push(replica);
  }
  exit(replica: ReplicaRef, code: number | null, detail = `exit code ${code}`): void {
    this.#report({ replica, code, signal: null, detail });
  }
  async *logs(): AsyncIterable<string> {
    yield* this.lines;
  }
  async tail(): Promise<readonly string[]> {
    return this.lines;
  }
  async logSize(): Promise<number> {
    return 0;
  }
  async close(): Promise<void> {}
}

export interface ScriptedFleet {
  readonly controller: Controller;
  readonly platform: TestPlatform;
  readonly driver: ScriptedDriver;
  readonly runtimes: ModelRuntimes;
  readonly destroyed: string[];
  readonly pins: (readonly string[])[];
  readonly footprints: Footprint[];
  readonly startTimes: StartTimes[];
  /** Lets promises that are already settled run on. */
  flush(): Promise<void>;
  /** From now on every engine answers health and lists its model. */
  engineAnswers(): void;
}

export const silentLog: Logger = {
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};

const silentTelemetry: Telemetry = {
  log: silentLog,
  requestEnded: () => undefined,
  upstreamRequest: () => undefined,
  retried: () => undefined,
  startEnded: () => undefined,
  startPhaseEnded: () => undefined,
  evicted: () => undefined,
  invariantViolated: () => undefined,
};

export interface ScriptedFleetOptions {
  readonly probe?: Probe;
  readonly devices?: Partial<ControllerOptions['devices']>;
  readonly runtime?: Partial<ModelRuntime>;
  /** Drivers that no model uses. */
  readonly others?: readonly ScriptedDriver[];
}

/** Nothing is read: the devices are what the settings say. */
class StillProbe implements Probe {
  readonly kind = 'static';
  readonly observes = false;
  async read(): Promise<ProbeReading> {
    return { devices: [], processes: null, driverVersion: null };
  }
  async close(): Promise<void> {}
}

export function createScriptedFleet(settings: FleetSettings, options: ScriptedFleetOptions = {}): ScriptedFleet {
  const platform = createTestPlatform();
  const driver = new ScriptedDriver();
  const drivers = [driver, ...(options.others ?? [])];
  const destroyed: string[] = [];
  const pins: (readonly string[])[] = [];
  const footprints: Footprint[] = [];
  const startTimes: StartTimes[] = [];
  const runtimes: ModelRuntimes = {
    of: (model) => (settings.models.has(model) ? { ...runtimeOf(driver, model), ...options.runtime } : undefined),
    driverOf: (kind) => drivers.find((one) => one.kind === kind) ?? driver,
    drivers,
    adoptionBarred: null,
  };
  const controller = new Controller({
    settings,
    runtimes,
    platform,
    telemetry: silentTelemetry,
    pools: { close: () => undefined, destroy: (id) => void destroyed.push(id) },
    savePins: (models) => void pins.push(models),
    saveFootprint: (footprint) => void footprints.push(footprint),
    saveStartTimes: (times) => void startTimes.push(times),
    probe: options.probe ?? new StillProbe(),
    devices: {
      known: { devices: [], processes: null, driverVersion: null },
      named: false,
      settings: () => settings,
      checkNames: () => undefined,
      ...options.devices,
    },
    recount: true,
  });
  return {
    controller,
    platform,
    driver,
    runtimes,
    destroyed,
    pins,
    footprints,
    startTimes,
    flush: async () => {
      for (let turn = 0; turn < 100; turn += 1) await Promise.resolve();
    },
    engineAnswers: () => {
      platform.http.answer = (url) =>
        url.endsWith('/v1/models')
          ? { status: 200, body: JSON.stringify({ data: [...settings.models.keys()].map((id) => ({ id })) }) }
          : { status: 200, body: '' };
    },
  };
}

function runtimeOf(driver: Driver, model: string): ModelRuntime {
  return {
    model,
    driver,
    readyAtOnce: false,
    healthPath: '/health',
    listsModels: true,
    servedName: model,
    launchSpec: () => ({
      argv: ['engine'],
      env: {},
      host: '127.0.0.1',
      port: 1,
      url: null,
      deviceUuids: null,
      container: null,
    }),
    upstream: (replica, endpoint): Upstream => ({
      id: replica.id,
      origin: endpoint.origin,
      pathPrefix: '',
      headers: {},
      servedName: model,
      connections: 52,
      idleLimit: 4 * SECOND,
      external: false,
    }),
    controlHeaders: () => ({}),
    size: () => null,
    findTokenizer: async () => undefined,
    fetchSpec: () => null,
    readProgress: (line) =>
      line.startsWith('phase ') ? { phase: line.slice(6), fraction: null, milestone: null } : null,
    readMemoryReport: () => ({ weightBytes: null, kvCacheBytes: null, kvCacheTokens: null, graphBytes: null }),
    readKvCacheTokens: () => null,
    readCounters: () => null,
    classifyFailure: (lines) => ({
      cause: 'out_of_memory',
      message: `not enough memory (${lines.at(-1) ?? 'no log'}).`,
      shortage: null,
    }),
  };
}

/** Remembers what it was told. */
export class RecordingSink implements TicketSink {
  readonly leases: Lease[] = [];
  readonly refusals: GatewayError[] = [];
  readonly cuts: GatewayError[] = [];
  granted(lease: Lease): void {
    this.leases.push(lease);
  }
  refused(error: GatewayError): void {
    this.refusals.push(error);
  }
  cut(error: GatewayError): void {
    this.cuts.push(error);
  }
}
