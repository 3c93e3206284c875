/** Binds each configured model to its driver and its engine. Wiring, not policy. */
import type { Config, ModelConfig } from './config/config.ts';
import type { LaunchRequest, ModelRuntime, ModelRuntimes } from './controller/model-runtime.ts';
import type { Upstream } from './controller/gate.ts';
import type { FetchSpec, LaunchSpec } from './core/launch.ts';
import type { DeviceSettings } from './core/settings.ts';
import type { Endpoint, ReplicaRef } from './core/state.ts';
import type { Driver } from './drivers/driver.ts';
import { createDriver } from './drivers/registry.ts';
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

export async function createModelRuntimes(options: RuntimesOptions): Promise<ModelRuntimes> {
  const { config, platform, stateDir, notice } = options;
  const keys = await engineKeys(platform, stateDir.folder);
  const { docker } = config.drivers;
  const context = { platform, stateDir: stateDir.folder, gatewayId: stateDir.gatewayId, docker, notice };
  const drivers = {
    docker: createDriver('docker', context),
    external: createDriver('external', context),
    process: createDriver('process', context),
    simulated: createDriver('simulated', context),
  } satisfies Record<ModelConfig['driver'], Driver>;
  const all: readonly Driver[] = Object.values(drivers);
  const models = [...config.models.values()];
  // Its client is not even loaded where there is no daemon and nobody asks for one.
  const withDocker = models.some(({ driver }) => driver === 'docker') || (await isThere(platform, docker.socket));
  const runtimes = new Map<string, ModelRuntime>();
  for (const model of models) {
    runtimes.set(
      model.name,
      bind({ ...options, model, driver: drivers[model.driver], engine: engineOf(model.engine), keys }),
    );
  }
  return {
    of: (model) => runtimes.get(model),
    driverOf: (kind) => all.find((driver) => driver.kind === kind),
    drivers: all.filter(({ kind }) => kind !== 'docker' || withDocker),
    adoptionBarred: keys.fresh ? 'the secret that its key was made from is lost' : null,
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

function bind(binding: Binding): ModelRuntime {
  const { model, driver, engine, keys } = binding;
  const external = model.driver === 'external';
  let version: string | null = null;
  let tokenizer: string | null = null;
  const headers = (replica: ReplicaRef): Readonly<Record<string, string>> =>
    external ? externalHeaders(model) : { authorization: `Bearer ${keys.keyFor(replica)}` };
  return {
    model: model.name,
    driver,
    readyAtOnce: external,
    healthPath: engine.healthPath(model),
    listsModels: engine.listsModels,
    servedName: engine.servedName(model),
    launchSpec: (request) =>
      external ? externalSpec(model) : engine.launchSpec({ ...launchContext(binding, request), version, tokenizer }),
    upstream: (replica, endpoint): Upstream => upstreamOf(model, engine, endpoint, replica, headers(replica)),
    controlHeaders: headers,
    size: () => (hasFiles(binding) ? binding.sizeOf(model) : null),
    findTokenizer: async () => {
      if (hasFiles(binding)) tokenizer = await binding.tokenizerOf(model);
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
}

function upstreamOf(
  model: ModelConfig,
  engine: Engine,
  endpoint: Endpoint,
  replica: ReplicaRef,
  headers: Readonly<Record<string, string>>,
): Upstream {
  const external = model.driver === 'external';
  return {
    id: replica.id,
    origin: endpoint.origin,
    pathPrefix: endpoint.pathPrefix,
    headers,
    servedName: engine.servedName(model),
    connections: model.maxConcurrent + CONTROL_RESERVE,
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
