/** The composition root: the only place that knows every part. (configuration, platform) → a gateway that starts and drains. */
import { createAdmin } from './admin/create-admin.ts';
import { readStaticFiles } from './admin/static-files.ts';
import type { Config, ListenAddress } from './config/config.ts';
import { logSecrets } from './config/log-secrets.ts';
import type { ReloadReport, ReloadTrigger } from './config/reload-report.ts';
import { Commands } from './controller/commands.ts';
import { Controller, type ControllerOptions } from './controller/controller.ts';
import { UnknownDevices } from './controller/device-monitor.ts';
import { FootprintFile } from './controller/footprint-file.ts';
import type { UpstreamPools } from './controller/gate.ts';
import { reconcile } from './controller/reconcile.ts';
import { StartTimesFile } from './controller/start-times-file.ts';
import { createDataPlane, poolsOf, type DataPlane } from './data-plane.ts';
import { listedDevices, missingDevices, namesDevices } from './fleet-devices.ts';
import { toFleetSettings } from './fleet-settings.ts';
import { createModelRuntimes, type ReplaceableRuntimes } from './model-runtimes.ts';
import { createFileFacts } from './model-sizes.ts';
import type { Platform } from './platform/platform.ts';
import { openStateDir, type StateDir } from './platform/state-dir.ts';
import type { Probe } from './probes/probe.ts';
import { createProbe } from './probes/registry.ts';
import type { Network } from './proxy/network.ts';
import type { GatewayTelemetry } from './telemetry/create-telemetry.ts';
import { PinBook } from './pin-book.ts';
import { createSource, makeOf, reconcilingOf } from './reloading.ts';
import type { ConfigSource, Ends, Present, Source } from './reloading.ts';
import { keptDrivers, killEngines } from './ending-engines.ts';
import { gatewayError, GatewayFailure } from './errors.ts';
import { SECOND, type Milliseconds } from './units.ts';

export type { ConfigSource } from './reloading.ts';
export { UnknownDevices } from './controller/device-monitor.ts';

export interface GatewayOptions {
  readonly config: Config;
  readonly platform: Platform;
  readonly telemetry: GatewayTelemetry;
  readonly version: string;
  /** This process, for the lock of `state_dir`. */
  readonly pid: number;
  /** Told when a decision failed: nothing can be trusted any more, and whoever runs the gateway closes it. */
  readonly bug?: (error: unknown) => void;
  /** Folder of the built dashboard; without it a plain page stands at `/`. */
  readonly dashboard?: string;
  /** Path of the program of a worker; without it `server.workers` has to be 1. */
  readonly workerProgram?: string;
  /** Where the data plane's sockets come from; the system's, unless said otherwise. */
  readonly network?: Network;
  /** Where another configuration comes from; without it this one stays. */
  readonly source?: ConfigSource;
}

export interface Bound {
  readonly listen: ListenAddress;
  readonly adminListen: ListenAddress | null;
}

export interface Gateway {
  readonly id: string;
  /**
   * Listens, which `listening` is told; adopts or ends what an earlier run left, and loads what is to be loaded. Requests
   * that come meanwhile wait. Rejects when the port cannot be bound, and with UnknownDevices.
   */
  start(listening?: (bound: Bound) => void): Promise<Bound>;
  /**
   * Reads the configuration again, once the start has ended, and puts it in force if it can be used; `dryRun` only says
   * what would come of it. Rejects with GatewayFailure when the gateway is ending, or has nothing to read it from.
   */
  reload(trigger: ReloadTrigger, dryRun?: boolean): Promise<ReloadReport>;
  /** Stops admission, lets accepted requests end within `shutdown_timeout`, then stops or leaves the engines. Idempotent. */
  drain(): Promise<'clean' | 'cut'>;
  /** At once: sockets closed, and engines killed unless they are to stay. Idempotent. */
  close(): Promise<void>;
}

/** What a verified stop of the engines may take beyond the drain itself. */
const STOP_MARGIN: Milliseconds = 2 * SECOND;

/** What is written may take this long to be read. */
const FLUSH_LIMIT: Milliseconds = 2 * SECOND;

export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const stateDir = await openStateDir(options.platform, options.config.server.stateDir, options.pid);
  try {
    return await wire(options, stateDir);
  } catch (error) {
    await stateDir.release();
    throw error;
  }
}

async function wire(options: GatewayOptions, stateDir: StateDir): Promise<Gateway> {
  const { config, platform, telemetry } = options;
  const parts: { plane?: DataPlane } = {};
  const present: Present = { made: makeOf(config, platform) };
  const fleet = await createFleet(options, present, stateDir, poolsOf(parts));
  const { controller, runtimes } = fleet;
  telemetry.setModels(config.models.keys());
  telemetry.setSecrets(logSecrets(config, platform.env));
  await startTraces(options, stateDir.gatewayId);
  const ends = { ending: new AbortController(), closing: new AbortController() };
  const configChanged = (): void => {
    admin.accessChanged();
    plane.configure();
  };
  const source = options.source && createSource({ ...options, ...fleet, present, ends, configChanged }, options.source);
  const control = new Commands(controller, runtimes, () => parts.plane?.troubles() ?? []);
  const { dashboard } = options;
  const pages = { ...platform.files, sha256: platform.sha256 };
  const admin = createAdmin({
    control,
    dashboard: dashboard === undefined ? undefined : await readStaticFiles(pages, dashboard),
    config: () => source?.reloader.inForce.config ?? config,
    inForce: () => source?.reloader.inForce ?? null,
    reload: (dryRun) => gateway.reload('api', dryRun),
    access: () => present.made.access,
    telemetry,
    proxyStats: () => plane.proxy.stats(),
    workers: () => plane.workers(),
    clock: platform.clock,
    random: platform.random,
    gateway: { id: stateDir.gatewayId, version: options.version },
  });
  const plane = await createDataPlane({
    present,
    gatewayId: stateDir.gatewayId,
    version: options.version,
    workerProgram: options.workerProgram,
    settings: () => present.made.proxySettings,
    gate: controller.desk,
    access: { check: (need, facts) => present.made.access.check(need, facts) },
    telemetry,
    platform,
    modelState: (model) => controller.modelState(model) ?? 'cold',
    countersMoving: (replicaId) => controller.monitor.countersMoving(replicaId),
    control: admin.main,
    ...(options.network && { network: options.network }),
  });
  parts.plane = plane;
  const problems = (): Config['problems'] => source?.reloader.problems ?? config.problems;
  telemetry.observe({
    snapshot: () => controller.snapshot(),
    proxyStats: () => plane.proxy.stats(),
    workers: () => plane.workers()?.running.length ?? null,
    configProblems: () => problems().filter((problem) => problem.severity !== 'info').length,
    ...(source && { configLoadedAt: () => source.reloader.inForce.loadedAt }),
  });
  const { proxy } = plane;
  const gateway = new WiredGateway({ ...options, ...fleet, present, stateDir, admin, plane, proxy, ends, source });
  return gateway;
}

/** Before the first request: the packages are loaded only when there is somewhere to send traces to. */
function startTraces({ config, telemetry, platform, version }: GatewayOptions, gatewayId: string): Promise<void> {
  const { url, ...traces } = config.telemetry.traces;
  const { random } = platform;
  return telemetry.startTracing(url === null ? null : { url, ...traces }, { version, gatewayId, random });
}

interface Fleet {
  readonly controller: Controller;
  readonly runtimes: ReplaceableRuntimes;
  readonly probe: Probe;
  readonly footprints: FootprintFile;
  readonly startTimes: StartTimesFile;
  readonly pins: PinBook;
}

async function createFleet(
  options: GatewayOptions,
  present: Present,
  stateDir: StateDir,
  pools: UpstreamPools,
): Promise<Fleet> {
  const { config, platform, telemetry } = options;
  const { log } = telemetry;
  const parts: { controller?: Controller } = {};
  const runtimes = await createModelRuntimes({
    config,
    platform,
    stateDir,
    devices: () => parts.controller?.state.settings.devices ?? [],
    ...createFileFacts(config, platform, stateDir.folder),
    hubToken: platform.env['HF_TOKEN'] || platform.env['HUGGING_FACE_HUB_TOKEN'] || null,
    notice: (text) => log.warn({}, text),
  });
  const probe = createProbe(config.devices, config.drivers.docker, platform, stateDir.gatewayId);
  const legacyPath = platform.env['MEMORY_FOOTPRINT_FILE'] || null;
  const footprints = new FootprintFile({ platform, log, folder: stateDir.folder, legacyPath });
  const startTimes = new StartTimesFile({ files: platform.files, log, folder: stateDir.folder });
  const pinned = await stateDir.readPins((aside) =>
    log.warn({ aside }, 'the file of pins is damaged; it is put aside and nothing is pinned'),
  );
  const pins = new PinBook({ stateDir, log, clock: platform.clock, pinned });
  const { settings, ...devices } = deviceOptions(options, present);
  parts.controller = new Controller({
    settings: settings(devices.known, 1),
    runtimes,
    probe,
    devices: { ...devices, settings },
    saveFootprint: (footprint) => footprints.learned(footprint),
    saveStartTimes: (times) => startTimes.learned(times),
    platform,
    telemetry,
    pools,
    savePins: (models) => pins.save(models, present.made.config.models.keys()),
    recount: platform.env['VLLM_GATEWAY_RECOUNT'] === '1',
    ...(options.bug && { bug: options.bug }),
  });
  return { controller: parts.controller, runtimes, probe, footprints, startTimes, pins };
}

/** How devices become settings, and what is said of those that the machine has not got. */
function deviceOptions(
  { config, platform, telemetry }: GatewayOptions,
  present: Present,
): ControllerOptions['devices'] {
  return {
    known: listedDevices(config),
    named: namesDevices(config),
    settings: (reading, version) => {
      const { made } = present;
      return toFleetSettings(made.config, version, platform.sha256, reading, made.refuses);
    },
    checkNames: (reading, booting) => {
      const missing = missingDevices(present.made.config, reading);
      if (missing === null) return;
      if (booting) throw new UnknownDevices(missing);
      telemetry.log.error({}, missing);
    },
  };
}

interface Parts extends Omit<GatewayOptions, 'source'>, Fleet {
  readonly present: Present;
  readonly stateDir: StateDir;
  readonly ends: Ends;
  readonly admin: ReturnType<typeof createAdmin>;
  readonly plane: DataPlane;
  readonly proxy: DataPlane['proxy'];
  readonly source: Source | undefined;
}

class WiredGateway implements Gateway {
  readonly id: string;
  readonly #parts: Parts;
  #started: Promise<Bound> | null = null;
  #drained: Promise<'clean' | 'cut'> | null = null;
  #closed: Promise<void> | null = null;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.id = parts.stateDir.gatewayId;
  }

  get #config(): Config {
    return this.#parts.present.made.config;
  }

  start(listening: (bound: Bound) => void = () => undefined): Promise<Bound> {
    this.#started ??= this.#start(listening);
    return this.#started;
  }

  async reload(trigger: ReloadTrigger, dryRun = false): Promise<ReloadReport> {
    const { source, ends, plane } = this.#parts;
    if (!source)
      throw new GatewayFailure(gatewayError('route_not_found', 'This gateway cannot read its configuration.'));
    // What an earlier run left is judged by the configuration of the start.
    await this.#started?.catch(() => undefined);
    if (ends.ending.signal.aborted) {
      throw new GatewayFailure(gatewayError('shutting_down', 'The gateway is shutting down: nothing is reloaded.'));
    }
    const report = await source.reloader.reload(trigger, dryRun);
    await plane.configured();
    return report;
  }

  drain(): Promise<'clean' | 'cut'> {
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #start(listening: (bound: Bound) => void): Promise<Bound> {
    const { config, controller, telemetry, pins, footprints, startTimes, proxy, admin, source } = this.#parts;
    const { listen, adminListen } = config.server;
    controller.post({ kind: 'adoption.begun' });
    const main = await proxy.listen(listen);
    const control = adminListen === null ? null : await proxy.listenControl(adminListen, admin.separate);
    const bound = {
      listen: { host: listen.host, port: main.port },
      adminListen: adminListen && control && { host: adminListen.host, port: control.port },
    };
    listening(bound);
    controller.post({ kind: 'footprints.loaded', footprints: await footprints.load() });
    controller.post({ kind: 'start_times.loaded', times: await startTimes.load() });
    if (!(await reconcile(reconcilingOf(this.#parts)))) return bound;
    const { devices, replicas } = controller.state;
    telemetry.log.info({ devices: devices.size, found: replicas.size }, 'models can start');
    for (const model of pins.pinned) controller.post({ kind: 'model.pin', model, pinned: true });
    for (const model of config.models.values()) {
      if (model.preload || model.alwaysOn) controller.post({ kind: 'model.load', model: model.name });
    }
    source?.watch();
    return bound;
  }

  async #drain(): Promise<'clean' | 'cut'> {
    const { controller, admin, proxy, platform, ends } = this.#parts;
    // In the middle of its start: what an earlier run left is entered first, so that it ends or stays by policy.
    ends.ending.abort();
    await this.#started?.catch(() => undefined);
    const config = this.#config;
    const limit = config.server.shutdownTimeout;
    const deadline = controller.now + limit;
    controller.post({ kind: 'shutdown.begun', keep: keptDrivers(config), deadline });
    // Still listening: who comes now is told to come again, and who asks whether it is ready is told why not.
    proxy.refuseNew();
    // A replica of a model that a reload has removed, or changed, keeps its own.
    const stopping = [...config.models.values(), ...controller.state.replicas.values()];
    const longestStop = Math.max(0, ...stopping.map(({ stopTimeout }) => stopTimeout));
    const giveUp = new AbortController();
    const gaveUp = platform.clock.sleep(limit + longestStop + STOP_MARGIN, giveUp.signal).then(
      () => 'late' as const,
      () => 'done' as const,
    );
    const ended = await Promise.race([controller.shutdownDone.then(() => 'done' as const), gaveUp]);
    giveUp.abort();
    // Whoever watches has seen it to the end. Their answers have no end of their own that could be waited for.
    admin.close();
    await proxy.drain(FLUSH_LIMIT);
    await this.close();
    return controller.state.shutdown?.cut === true || ended === 'late' ? 'cut' : 'clean';
  }

  async #close(): Promise<void> {
    const { controller, admin, proxy, runtimes, probe, stateDir, telemetry, platform, ends, source } = this.#parts;
    ends.ending.abort();
    ends.closing.abort(new Error('the gateway ends'));
    this.#parts.pins[Symbol.dispose]();
    source?.close();
    controller.close();
    admin.close();
    const killed = killEngines(this.#parts);
    await proxy.close();
    await killed;
    for (const driver of runtimes.drivers) await driver.close();
    await probe.close();
    await this.#parts.footprints.written;
    await this.#parts.startTimes.written;
    await telemetry.tracing?.close(FLUSH_LIMIT);
    await platform.http.close();
    await stateDir.release();
    telemetry.flush();
  }
}
