/** Binds each configured model to its driver and its engine. Wiring, not policy. */
import type { Config, DriverKind, ModelConfig } from './config/config.ts';
import type { LaunchRequest, ModelRuntime, ModelRuntimes } from './controller/model-runtime.ts';
import type { Upstream } from './controller/gate.ts';
import type { FetchSpec, LaunchSpec } from './core/launch.ts';
import type { DeviceSettings } from './core/settings.ts';
import type { Endpoint, ReplicaRef } from './core/state.ts';
import type { Driver } from './drivers/driver.ts';
import { createRenewableDriver } from './drivers/registry.ts';
import type { Engine, LaunchContext } from './engines/engine.ts';
import { engineOf } from './engines/registry.ts';
import { engineKeys, type EngineKeys } from './platform/engine-keys.ts';
import type { Platform } from './platform/platform.ts';
import type { StateDir } from './platform/state-dir.ts';
import type { FileFacts } from './model-sizes.ts';
import { isSimulated } from './proxy-settings.ts';
import { SECOND, type Milliseconds } from './units.ts';

/** Health and metrics connections that a replica takes beside its leases. */
const CONTROL_RESERVE = 2;
/** Our engines are told to keep idle sockets for 75 s; an unknown server may close after five. */
const IDLE_LIMIT_OWN: Milliseconds = 60 * SECOND;
const IDLE_LIMIT_OTHER: Milliseconds = 4 * SECOND;
const LOOPBACK = '127.0.0.1';
/** Inside a container of its own, where nobody else listens. */
const EVERYWHERE = '0.0.0.0';

export interface RuntimesOptions extends FileFacts {
  readonly config: Config;
  readonly platform: Platform;
  readonly stateDir: StateDir;
  /** As the core keeps books on them now. */
  readonly devices: () => readonly DeviceSettings[];
  /** Token of the model hub for engines that see nothing of the gateway's environment. */
  readonly hubToken: string | null;
  /** Told once of each thing that an operator should know. */
  readonly notice: (text: string) => void;
}

export interface ReplaceableRuntimes extends ModelRuntimes {
  /**
   * Prepares what belongs to another configuration, and returns what puts it in place of the present one. A model whose
   * engine stays the same keeps its runtime, which follows the new settings; `changed` ones and new ones get another.
   */
  prepare(config: Config, changed: ReadonlySet<string>): () => void;
}

export async function createModelRuntimes(options: RuntimesOptions): Promise<ReplaceableRuntimes> {
  const { platform, stateDir, notice } = options;
  let { config } = options;
  const keys = await engineKeys(platform, stateDir.folder);
  const { docker } = config.drivers;
  const context = { platform, stateDir: stateDir.folder, gatewayId: stateDir.gatewayId, docker, notice };
  // Its client is not even loaded where there is no daemon and nobody asks for one.
  const asksDocker = async (): Promise<boolean> =>
    [...config.models.values()].some(({ driver }) => driver === 'docker') || (await isThere(platform, docker.socket));
  const drivers: Readonly<Record<DriverKind, Driver>> = {
    docker: createRenewableDriver('docker', context, asksDocker),
    external: createRenewableDriver('external', context),
    process: createRenewableDriver('process', context),
    simulated: createRenewableDriver('simulated', context),
  };
  const all: readonly Driver[] = Object.values(drivers);
  const bindingOf = (next: Config, model: ModelConfig): Binding => ({
    ...options,
    config: next,
    model,
    driver: drivers[model.driver],
    engine: engineOf(model.engine),
    keys,
  });
  let bound: ReadonlyMap<string, BoundModel> = new Map();
  const prepare = (next: Config, changed: ReadonlySet<string>): (() => void) => {
    const steps = [...next.models.values()].map((model) => {
      const binding = bindingOf(next, model);
      const known = changed.has(model.name) ? undefined : bound.get(model.name);
      return { name: model.name, model: known ?? bind(binding), binding };
    });
    return () => {
      config = next;
      for (const { model, binding } of steps) model.follow(binding);
      bound = new Map(steps.map(({ name, model }) => [name, model]));
    };
  };
  prepare(config, new Set())();
  return {
    of: (model) => bound.get(model)?.runtime,
    driverOf: (kind) => all.find((driver) => driver.kind === kind),
    drivers: all,
    adoptionBarred: keys.fresh ? 'the secret that its key was made from is lost' : null,
    prepare,
  };
}

/** What must not even be looked at may be there all the same. */
async function isThere(platform: Platform, socket: string): Promise<boolean> {
  const found = await platform.files.stat(socket.replace(/^unix:\/\//, '')).catch(() => 'out of reach');
  return found !== undefined;
}

interface Binding extends Pick<RuntimesOptions, 'config' | 'devices' | 'sizeOf' | 'tokenizerOf' | 'hubToken'> {
  readonly model: ModelConfig;
  readonly driver: Driver;
  readonly engine: Engine;
  readonly keys: EngineKeys;
}

interface BoundModel {
  readonly runtime: ModelRuntime;
  /** The configuration was replaced by one in which its engine is the same. */
  follow(binding: Binding): void;
}

/** What makes the engine what it is cannot change under a runtime; whatever else it says is asked of the present binding. */
function bind(first: Binding): BoundModel {
  const { model, driver, engine, keys } = first;
  let binding = first;
  const external = model.driver === 'external';
  let credentials = externalHeaders(model);
  let version: string | null = null;
  let tokenizer: string | null = null;
  const ownHeaders = (replica: ReplicaRef): (() => Readonly<Record<string, string>>) => {
    if (external) return () => credentials;
    const headers = { authorization: `Bearer ${keys.keyFor(replica)}` };
    return () => headers;
  };
  const runtime: ModelRuntime = {
    model: model.name,
    driver,
    readyAtOnce: external,
    get healthPath() {
      return engine.healthPath(binding.model);
    },
    listsModels: engine.listsModels,
    servedName: engine.servedName(model),
    launchSpec: (request) =>
      external ? externalSpec(model) : engine.launchSpec({ ...launchContext(binding, request), version, tokenizer }),
    upstream: (replica, endpoint) => upstreamOf(() => binding, endpoint, replica, ownHeaders(replica)),
    controlHeaders: (replica) => ownHeaders(replica)(),
    size: () => (hasFiles(binding) ? binding.sizeOf(binding.model) : null),
    findTokenizer: async () => {
      if (hasFiles(binding)) tokenizer = await binding.tokenizerOf(binding.model);
    },
    fetchSpec: () => fetchSpec(binding),
    readProgress: (line) => {
      version = engine.readVersion(line) ?? version;
      return engine.readProgress(line);
    },
    readMemoryReport: (lines) => engine.readMemoryReport(lines),
    readKvCacheTokens: (metrics) => engine.readKvCacheTokens(metrics),
    readCounters: (metrics) => engine.readCounters(metrics),
    classifyFailure: (lines, exit) => engine.classifyFailure(lines, exit),
  };
  return {
    runtime,
    follow: (next) => {
      binding = next;
      credentials = externalHeaders(next.model);
    },
  };
}

/** Kept as long as its replica: slots and credentials may change meanwhile. */
function upstreamOf(
  binding: () => Binding,
  endpoint: Endpoint,
  replica: ReplicaRef,
  headers: () => Readonly<Record<string, string>>,
): Upstream {
  const { model, engine } = binding();
  const external = model.driver === 'external';
  return {
    id: replica.id,
    origin: endpoint.origin,
    pathPrefix: endpoint.pathPrefix,
    get headers() {
      return headers();
    },
    servedName: engine.servedName(model),
    get connections() {
      return binding().model.maxConcurrent + CONTROL_RESERVE;
    },
    idleLimit: !external && engine.kind === 'vllm' ? IDLE_LIMIT_OWN : IDLE_LIMIT_OTHER,
    external,
  };
}

function externalHeaders(model: ModelConfig): Readonly<Record<string, string>> {
  const named = Object.fromEntries(Object.entries(model.headers).map(([name, value]) => [name.toLowerCase(), value]));
  return model.apiKey === null ? named : { authorization: `Bearer ${model.apiKey}`, ...named };
}

function externalSpec(model: ModelConfig): LaunchSpec {
  return { argv: [], env: {}, host: LOOPBACK, port: null, url: model.url, deviceUuids: null, container: null };
}

/** A simulated engine pretends; what another server loads, nobody knows. */
function hasFiles({ config, model }: Binding): boolean {
  return model.driver !== 'external' && model.engine === 'vllm' && !isSimulated(config, model);
}

function fetchSpec(binding: Binding): FetchSpec | null {
  const { config, model, engine } = binding;
  const image = imageOf(binding);
  const token = image === null ? null : binding.hubToken;
  const wanted = hasFiles(binding)
    ? engine.fetchSpec({ model, command: commandOf(config, model), image, hubToken: token })
    : null;
  if (wanted !== null || image === null) return wanted;
  return { argv: null, env: {}, container: { image, volumes: [], shmSize: null } };
}

function commandOf(config: Config, model: ModelConfig): readonly string[] {
  return model.command ?? config.drivers.process.command;
}

function imageOf({ config, model }: Binding): string | null {
  return model.driver === 'docker' ? (model.image ?? config.drivers.docker.image) : null;
}

function launchContext(binding: Binding, request: LaunchRequest): LaunchContext {
  const { config, model, keys } = binding;
  const docker = model.driver === 'docker';
  return {
    model: isSimulated(config, model) ? { ...model, env: { FAKE_VLLM_LABEL: 'simulated', ...model.env } } : model,
    command: commandOf(config, model),
    host: docker ? EVERYWHERE : LOOPBACK,
    port: docker ? config.drivers.docker.port : (request.port ?? 0),
    engineKey: keys.keyFor(request.replica),
    image: imageOf(binding),
    devices: devicesOf(binding, request),
    share: request.share,
    hubToken: docker ? binding.hubToken : null,
  };
}

/** Without readings the promise names no GPU: the engine gets all that its model may use. */
function devicesOf({ model, config, devices }: Binding, request: LaunchRequest): LaunchContext['devices'] {
  const known = new Map(devices().map((device) => [device.id, device]));
  if ([...request.reservations.keys()].some((id) => known.get(id)?.unmeasured === true)) {
    const names = model.devices ?? (model.pool === null ? [] : (config.pools.get(model.pool) ?? []));
    return names.map((uuid) => ({ id: uuid, uuid, totalBytes: 0, reservedBytes: 0 }));
  }
  return [...request.reservations].map(([id, reservedBytes]) => ({
    id,
    uuid: known.get(id)?.uuid ?? null,
    totalBytes: known.get(id)?.totalBytes ?? reservedBytes,
    reservedBytes,
  }));
}
