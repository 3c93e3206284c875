/** The composition root: the only place that knows every part. (configuration, platform) → a gateway that starts and drains. */
import { createAdmin } from './admin/create-admin.ts';
import { readStaticFiles } from './admin/static-files.ts';
import { createAccess } from './auth/access.ts';
import type { Config, ListenAddress } from './config/config.ts';
import { Commands } from './controller/commands.ts';
import { Controller, type ControllerOptions } from './controller/controller.ts';
import { UnknownDevices } from './controller/device-monitor.ts';
import { FootprintFile } from './controller/footprint-file.ts';
import type { UpstreamPools } from './controller/gate.ts';
import { reconcile } from './controller/reconcile.ts';
import type { DriverKind } from './core/settings.ts';
import type { ReplicaRef } from './core/state.ts';
import { listedDevices, missingDevices, namesDevices } from './fleet-devices.ts';
import { toFleetSettings } from './fleet-settings.ts';
import type { ModelRuntimes } from './controller/model-runtime.ts';
import { createModelRuntimes } from './model-runtimes.ts';
import { createFileFacts, refusalOf } from './model-sizes.ts';
import type { Platform } from './platform/platform.ts';
import { openStateDir, type StateDir } from './platform/state-dir.ts';
import type { Probe } from './probes/probe.ts';
import { createProbe } from './probes/registry.ts';
import type { Network } from './proxy/network.ts';
import { createProxy, type Proxy } from './proxy/proxy.ts';
import { toProxySettings } from './proxy-settings.ts';
import type { GatewayTelemetry } from './telemetry/create-telemetry.ts';
import { SECOND, type Milliseconds } from './units.ts';

export { UnknownDevices } from './controller/device-monitor.ts';

export interface GatewayOptions {
  readonly config: Config;
  readonly platform: Platform;
  readonly telemetry: GatewayTelemetry;
  readonly version: string;
  /** This process, for the lock of `state_dir`. */
  readonly pid: number;
  /** Folder of the built dashboard; without it a plain page stands at `/`. */
  readonly dashboard?: string;
  /** Where the data plane's sockets come from; the system's, unless said otherwise. */
  readonly network?: Network;
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
  /** Stops admission, lets accepted requests end within `shutdown_timeout`, then stops or leaves the engines. Idempotent. */
  drain(): Promise<'clean' | 'cut'>;
  /** At once: sockets closed, and engines killed unless they are to stay. Idempotent. */
  close(): Promise<void>;
}

/** What a verified stop of the engines may take beyond the drain itself. */
const STOP_MARGIN: Milliseconds = 2 * SECOND;

/** A launch that is under way when everything ends at once: until its process is seen to be gone. */
const KILL_LIMIT: Milliseconds = 2 * SECOND;
/** A daemon takes longer to end a container than the system to end a process. */
const KILL_LIMIT_CONTAINER: Milliseconds = 4 * SECOND;

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
  const parts: { proxy?: Proxy } = {};
  const fleet = await createFleet(options, stateDir, {
    close: (replicaId) => parts.proxy?.pools.close(replicaId),
    destroy: (replicaId) => parts.proxy?.pools.destroy(replicaId),
  });
  const { controller, runtimes } = fleet;
  const access = createAccess({
    auth: config.auth,
    allowedHosts: config.server.allowedHosts,
    corsOrigins: config.server.corsOrigins,
  });
  const settings = toProxySettings(config, platform.clock.wall());
  const control = new Commands(controller, runtimes, () => []);
  const { dashboard } = options;
  const pages = { ...platform.files, sha256: platform.sha256 };
  const admin = createAdmin({
    control,
    dashboard: dashboard === undefined ? undefined : await readStaticFiles(pages, dashboard),
    config: () => config,
    access: () => access,
    telemetry,
    proxyStats: () => proxy.stats(),
    clock: platform.clock,
    random: platform.random,
    gateway: { id: stateDir.gatewayId, version: options.version },
  });
  const proxy = createProxy({
    settings: () => settings,
    gate: controller.desk,
    access,
    telemetry,
    platform,
    modelState: (model) => controller.modelState(model) ?? 'cold',
    countersMoving: (replicaId) => controller.monitor.countersMoving(replicaId),
    control: admin.main,
    ...(options.network && { network: options.network }),
  });
  parts.proxy = proxy;
  telemetry.observe({
    snapshot: () => controller.snapshot(),
    proxyStats: () => proxy.stats(),
    configProblems: () => config.problems.filter((problem) => problem.severity !== 'info').length,
  });
  return new WiredGateway({ ...options, ...fleet, stateDir, admin, proxy });
}

interface Fleet {
  readonly controller: Controller;
  readonly runtimes: ModelRuntimes;
  readonly probe: Probe;
  readonly footprints: FootprintFile;
  /** As an earlier run left them. */
  readonly pinned: readonly string[];
}

async function createFleet(options: GatewayOptions, stateDir: StateDir, pools: UpstreamPools): Promise<Fleet> {
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
  const pinned = await stateDir.readPins();
  // A model that is missing from one run's configuration stays pinned for the next.
  const absent = pinned.filter((model) => !config.models.has(model));
  const { settings, ...devices } = deviceOptions(options);
  parts.controller = new Controller({
    settings: settings(devices.known, 1),
    runtimes,
    probe,
    devices: { ...devices, settings },
    saveFootprint: (footprint) => footprints.learned(footprint),
    platform,
    telemetry,
    pools,
    savePins: (models) => {
      stateDir
        .writePins([...models, ...absent])
        .catch((error: unknown) => log.error({ err: error }, 'pins cannot be written down'));
    },
    recount: platform.env['VLLM_GATEWAY_RECOUNT'] === '1',
  });
  return { controller: parts.controller, runtimes, probe, footprints, pinned };
}

/** How devices become settings, and what is said of those that the machine has not got. */
function deviceOptions({ config, platform, telemetry }: GatewayOptions): ControllerOptions['devices'] {
  const refuses = refusalOf(config);
  return {
    known: listedDevices(config),
    named: namesDevices(config),
    settings: (reading, version) => toFleetSettings(config, version, platform.sha256, reading, refuses),
    checkNames: (reading, booting) => {
      const missing = missingDevices(config, reading);
      if (missing === null) return;
      if (booting) throw new UnknownDevices(missing);
      telemetry.log.error({}, missing);
    },
  };
}

interface Parts extends GatewayOptions, Fleet {
  readonly stateDir: StateDir;
  readonly admin: ReturnType<typeof createAdmin>;
  readonly proxy: Proxy;
}

class WiredGateway implements Gateway {
  readonly id: string;
  readonly #parts: Parts;
  #started: Promise<Bound> | null = null;
  #drained: Promise<'clean' | 'cut'> | null = null;
  #closed: Promise<void> | null = null;
  readonly #ending = new AbortController();
  readonly #closing = new AbortController();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.id = parts.stateDir.gatewayId;
  }

  start(listening: (bound: Bound) => void = () => undefined): Promise<Bound> {
    this.#started ??= this.#start(listening);
    return this.#started;
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
    const { config, controller, runtimes, platform, telemetry, pinned, footprints, proxy, admin } = this.#parts;
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
    const [signal, ending] = [this.#closing.signal, this.#ending.signal];
    if (!(await reconcile({ controller, runtimes, platform, log: telemetry.log, signal, ending }))) return bound;
    const { devices, replicas } = controller.state;
    telemetry.log.info({ devices: devices.size, found: replicas.size }, 'models can start');
    for (const model of pinned) controller.post({ kind: 'model.pin', model, pinned: true });
    for (const model of config.models.values()) {
      if (model.preload || model.alwaysOn) controller.post({ kind: 'model.load', model: model.name });
    }
    return bound;
  }

  async #drain(): Promise<'clean' | 'cut'> {
    const { config, controller, admin, proxy, platform } = this.#parts;
    // In the middle of its start: what an earlier run left is entered first, so that it ends or stays by policy.
    this.#ending.abort();
    await this.#started?.catch(() => undefined);
    const limit = config.server.shutdownTimeout;
    const deadline = controller.now + limit;
    controller.post({ kind: 'shutdown.begun', keep: keptDrivers(config), deadline });
    // Still listening: who comes now is told to come again, and who asks whether it is ready is told why not.
    proxy.refuseNew();
    const longestStop = Math.max(0, ...[...config.models.values()].map((model) => model.stopTimeout));
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
    const { controller, admin, proxy, runtimes, probe, footprints, stateDir, telemetry, platform } = this.#parts;
    this.#ending.abort();
    this.#closing.abort(new Error('the gateway ends'));
    controller.close();
    admin.close();
    const killed = killEngines(this.#parts);
    await proxy.close();
    await killed;
    for (const driver of runtimes.drivers) await driver.close();
    await probe.close();
    await footprints.written;
    await platform.http.close();
    await stateDir.release();
    telemetry.flush();
  }
}

/**
 * Processes are children: without the gateway nobody would stop them when idle. Containers were meant to outlive it, and
 * the next gateway finds them.
 */
function keptDrivers({ server }: Config): readonly DriverKind[] {
  if (server.onShutdown === 'stop') return [];
  return server.onShutdown === 'leave' ? ['docker', 'external', 'process', 'simulated'] : ['docker'];
}

/** Nothing that policy says must go may outlive the gateway: whole groups and containers, without asking. */
async function killEngines({ config, controller, runtimes, platform, telemetry }: Parts): Promise<void> {
  const kept = keptDrivers(config);
  const ending: Promise<void>[] = [];
  for (const { id, generation, phase, driver, endpoint } of controller.state.replicas.values()) {
    if (kept.includes(driver) || driver === 'external' || phase === 'reserved') continue;
    const pid = driver === 'process' ? (endpoint?.pid ?? null) : null;
    try {
      if (pid !== null) platform.subprocess.signal(-pid, 'SIGKILL');
      // Its process may be about to exist, and nobody but the driver will hear of it.
      else ending.push(stopSoon(runtimes, driver, { id, generation }));
    } catch (error) {
      telemetry.log.error({ err: error, replica: id }, 'its engine cannot be killed; it is left');
    }
  }
  await Promise.all(ending);
}

async function stopSoon(runtimes: ModelRuntimes, kind: DriverKind, replica: ReplicaRef): Promise<void> {
  const timeout = kind === 'docker' ? KILL_LIMIT_CONTAINER : KILL_LIMIT;
  // What cannot be ended is found by the next run.
  await runtimes
    .driverOf(kind)
    ?.stop(replica, { timeout, starting: true, cutConnections: () => undefined })
    .catch(() => undefined);
}
