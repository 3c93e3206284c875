/** The whole way from flags, file and environment to one frozen configuration, or to every reason why there is none. */
import { resolveAuth } from './auth-settings.ts';
import { runChecks } from './checks/run-checks.ts';
import type { Config, ConfigProblem, DockerSettings, ModelConfig } from './config.ts';
import { parseFile, type ParsedFile } from './document.ts';
import {
  noteStrangers,
  readEnforceEager,
  readEnvironment,
  variable,
  type BoundKey,
  type EnvironmentValues,
} from './environment.ts';
import type { Environment } from './interpolate.ts';
import { LEGACY_VARIABLE, readLegacyModels } from './legacy-models.ts';
import { locateFile, type ConfigFiles, type LocateResult } from './locate.ts';
import { Problems, type Path } from './problems.ts';
import { keptUntilRestart } from './reload-diff.ts';
import { untilRestart } from './reload-rules.ts';
import { resolveModel, type ModelContext } from './resolve-model.ts';
import { resolveKeys } from './resolve.ts';
import { listenAddress } from './schema/address-reader.ts';
import { dockerKeys } from './schema/docker-keys.ts';
import { driverDefaultKey, type WrittenFile, type WrittenModel } from './schema/file.ts';
import { flag } from './schema/reader.ts';
import { Substituted } from './schema/scalar.ts';
import {
  deviceKeys,
  limitKeys,
  logKeys,
  logLevel,
  memoryKeys,
  processKeys,
  retryKeys,
  serverKeys,
  timeoutKeys,
} from './schema/sections.ts';
import { pathText } from './schema/spelling.ts';
import { secretReader } from './secrets.ts';
import { resolveTelemetry } from './telemetry-settings.ts';
import { validateFile } from './validate.ts';

export interface LoadFlags {
  readonly config?: string | undefined;
  readonly listen?: string | undefined;
  readonly strict?: boolean | undefined;
  readonly logLevel?: string | undefined;
}

export interface LoadInput {
  readonly flags: LoadFlags;
  readonly env: Environment;
  readonly files: ConfigFiles;
  /** Relative paths are relative to it. */
  readonly cwd: string;
  /** The operating system, as Node names it; left out = one that can do everything. */
  readonly system?: string | undefined;
  /** The demo always stops its engines when it ends. */
  readonly demo?: boolean;
  /**
   * In force now: what is loaded is to take its place. What only a start can change stays as it is there, with a warning,
   * and everything is checked as it will be.
   */
  readonly running?: Config | undefined;
}

export interface LoadResult {
  /** Null when an error forbids a start. */
  readonly config: Config | null;
  /** In the order found: flags and places, the file from top to bottom, the environment, then what only the whole shows. */
  readonly problems: readonly ConfigProblem[];
  readonly strict: boolean;
  /** Absolute paths of every file that was read or looked for: when one of them changes, this is out of date. */
  readonly files: readonly string[];
}

/** Of a key that only a start can change: no fault of the file, so strict lets it pass. */
export const NEEDS_RESTART = 'needs_restart';

/** Never throws on what it is given: whatever is wrong comes back as a problem. */
export async function loadConfig(given: LoadInput): Promise<LoadResult> {
  const seen = new Set<string>();
  const input = { ...given, files: noting(given.files, seen) };
  const early = new Problems();
  const strict = strictOf(input, early);
  const located = await locateFile(input.flags.config, input.env, input.files, input.cwd, early);
  let problems = new Problems();
  const parsed = located.file
    ? parseFile(located.file.text, located.file.path, input.env, (places) => (problems = new Problems(places)))
    : undefined;
  const written: WrittenFile = parsed?.root ? validateFile(parsed, problems) : {};
  // Without a readable file the rest would only be guesses about models that nobody can see.
  const readable = !located.broken && (parsed === undefined || parsed.root !== undefined);
  const config = await assemble({ input, strict, written, parsed, located, readable, problems });
  const list = sorted([...early.list, ...problems.list]);
  const inForce = list.filter(({ severity }) => severity !== 'info');
  const refused = early.refused || problems.refused || (strict && inForce.some(({ code }) => code !== NEEDS_RESTART));
  return {
    config: refused || !config ? null : freeze({ ...config, problems: inForce }),
    problems: list,
    strict,
    files: [...seen],
  };
}

function noting(files: ConfigFiles, seen: Set<string>): ConfigFiles {
  return {
    stat: (path) => {
      seen.add(path);
      return files.stat(path);
    },
    readBytes: (path, offset, length) => files.readBytes(path, offset, length),
  };
}

interface Assembly {
  readonly input: LoadInput;
  readonly strict: boolean;
  readonly written: WrittenFile;
  readonly parsed: ParsedFile | undefined;
  readonly located: LocateResult;
  readonly readable: boolean;
  readonly problems: Problems;
}

function strictOf(input: LoadInput, problems: Problems): boolean {
  const text = variable(input.env, 'GATEWAY_STRICT_CONFIG');
  let strict = input.flags.strict === true;
  if (text === undefined) return strict;
  const reading = flag().read(new Substituted(text, true));
  if ('value' in reading) strict ||= reading.value;
  else
    for (const found of reading.complaints)
      problems.inEnvironment('error', 'GATEWAY_STRICT_CONFIG', found.code, found.message);
  return strict;
}

async function assemble(parts: Assembly): Promise<Omit<Config, 'problems'> | null> {
  const { input, written, parsed, problems } = parts;
  const { env } = input;
  const environment = readEnvironment(env, parts.strict, (key) => hider(key, written, parsed), problems);
  const enforceEager = readEnforceEager(env, problems);
  noteStrangers(env, problems);
  const settings = globalSettings(written, environment, input, problems);
  const secrets = secretReader(input.files, input.cwd);
  const auth = await resolveAuth(written.auth, env, secrets, parsed, problems);
  const telemetry = await resolveTelemetry({ written: written.telemetry, environment, env, secrets, problems });
  if (!parts.readable) return null;

  const pools = new Map(namesOf(parsed, ['pools'], written.pools).map((name) => [name, written.pools?.[name] ?? []]));
  const limits = resolveKeys(limitKeys, [written.limits], environment);
  const context: ModelContext = {
    defaults: written.defaults,
    environment,
    driverDefault: written.drivers?.default ?? driverDefaultKey.fallback,
    limits: {
      maxQueueSize: limits.max_queue_size,
      maxConcurrent: limits.max_concurrent,
      queueTimeout: limits.queue_timeout,
    },
    keepalive: settings.server.keepalive,
    timeouts: settings.timeouts,
    enforceEager,
    hasPools: pools.size > 0,
    secrets,
    problems,
    isWritten: (path) => parsed?.place(path, 'key') !== undefined,
    near: (name, key) => [
      ['defaults', key],
      ['models', name],
    ],
  };
  const models = new Map<string, ModelConfig>();
  for (const [name, model] of writtenModels(parts)) models.set(name, await resolveModel(name, model, context));
  const maxConcurrent =
    limits.max_concurrent === 'auto'
      ? Math.max(1, ...[...models.values()].map((model) => model.maxConcurrent))
      : limits.max_concurrent;
  const wanted: Omit<Config, 'problems'> = {
    source: parts.located.file?.path ?? null,
    ...settings,
    limits: {
      maxQueueSize: limits.max_queue_size,
      maxConcurrent,
      maxModelsConcurrent: limits.max_models_concurrent,
      queueTimeout: limits.queue_timeout,
      maxTurn: limits.max_turn,
      minResidency: limits.min_residency,
      drainTimeout: limits.drain_timeout,
      maxBufferedBytes: limits.max_buffered_bytes,
    },
    auth,
    telemetry,
    pools,
    models,
    aliases: new Map(
      [...models.values()].flatMap((model) => model.aliases.map((alias) => [alias, model.name] as const)),
    ),
  };
  const config = input.running ? untilRestart(input.running, wanted) : wanted;
  const flagged = input.flags.listen !== undefined;
  runChecks({ config, written, file: parsed, env, environment, system: input.system, flagged, problems });
  if (input.running) noteKept(input.running, wanted, problems);
  return config;
}

function noteKept(running: Config, wanted: Omit<Config, 'problems'>, problems: Problems): void {
  for (const { path, kept } of keptUntilRestart(running, wanted)) {
    const value = typeof kept === 'string' ? kept : JSON.stringify(kept);
    problems.inFile('warning', path, NEEDS_RESTART, `is ${value} until the gateway is started anew`);
  }
}

/** Names of a mapping in the order of the file; what was refused is left out. */
function namesOf(
  file: ParsedFile | undefined,
  path: Path,
  kept: Readonly<Record<string, unknown>> | undefined,
): readonly string[] {
  if (!kept) return [];
  const order = file?.names(path) ?? [];
  const all = Object.keys(kept);
  return [...order.filter((name) => Object.hasOwn(kept, name)), ...all.filter((name) => !order.includes(name))];
}

function writtenModels(parts: Assembly): ReadonlyMap<string, WrittenModel> {
  const { written, parsed, problems, input } = parts;
  const legacy = variable(input.env, LEGACY_VARIABLE);
  if (!parsed) {
    const models = legacy === undefined ? undefined : readLegacyModels(legacy, problems);
    if (legacy === undefined || (models?.size === 0 && !problems.list.some(({ path }) => path === LEGACY_VARIABLE))) {
      noModels(problems);
    }
    return new Map([...(models ?? [])].map(([name, repo]) => [name, { repo }]));
  }
  if (legacy !== undefined) {
    problems.inEnvironment(
      'info',
      LEGACY_VARIABLE,
      'hidden_by_file',
      `has no effect: it is used only when there is no file, and ${parsed.source} is there`,
    );
  }
  const names = namesOf(parsed, ['models'], written.models);
  if (
    names.length === 0 &&
    !parsed.names(['models']).length &&
    (written.models !== undefined || parsed.root?.['models'] === undefined || parsed.root['models'] === null)
  ) {
    const message = `${parsed.place(['models'], 'key') ? 'is empty' : 'is missing'}; allowed: at least one model, such as {llama: {repo: meta-llama/Llama-3.1-8B-Instruct}}`;
    if (!problems.list.some(({ path }) => path.startsWith('models')))
      problems.atKey('error', ['models'], 'no_models', message);
  }
  return new Map(names.map((name) => [name, written.models?.[name] ?? {}]));
}

function noModels(problems: Problems): void {
  problems.atPlace(
    'configuration',
    undefined,
    'no_models',
    'no model is configured; three ways: write models into ./gateway.yaml, name a file with --config FILE or GATEWAY_CONFIG_FILE, ' +
      `or set ${LEGACY_VARIABLE}='{"llama": "meta-llama/Llama-3.1-8B-Instruct"}'`,
  );
}

type GlobalSettings = Pick<Config, 'server' | 'log' | 'timeouts' | 'retry' | 'devices' | 'memory' | 'drivers'>;

function globalSettings(
  written: WrittenFile,
  environment: EnvironmentValues,
  input: LoadInput,
  problems: Problems,
): GlobalSettings {
  const server = resolveKeys(serverKeys, [written.server], environment);
  const log = resolveKeys(logKeys, [written.log], environment);
  const timeouts = resolveKeys(timeoutKeys, [written.timeouts], environment);
  const retry = resolveKeys(retryKeys, [written.retry], environment);
  const devices = resolveKeys(deviceKeys, [written.devices], environment);
  const memory = resolveKeys(memoryKeys, [written.memory], environment);
  const process = resolveKeys(processKeys, [written.drivers?.process], environment);
  return {
    server: {
      listen: flagged('--listen', input.flags.listen, listenAddress(), problems) ?? server.listen,
      adminListen: server.admin_listen,
      allowedHosts: server.allowed_hosts,
      corsOrigins: server.cors_origins,
      maxBodySize: server.max_body_size,
      keepalive: server.keepalive,
      workers: server.workers,
      shutdownTimeout: server.shutdown_timeout,
      onShutdown: input.demo === true ? 'stop' : server.on_shutdown,
      stateDir: server.state_dir,
    },
    log: { level: flagged('--log-level', input.flags.logLevel, logLevel(), problems) ?? log.level, format: log.format },
    timeouts: {
      connect: timeouts.connect,
      firstByte: timeouts.first_byte ?? timeouts.request,
      betweenChunks: timeouts.between_chunks ?? timeouts.request,
      total: timeouts.total,
      stall: timeouts.stall,
    },
    retry: { attempts: retry.attempts, delay: retry.delay, factor: retry.factor, engineDown: retry.engine_down },
    devices: {
      probe: devices.probe,
      command: devices.command,
      list: (written.devices?.list ?? []).map(({ id, memory: bytes, uuid }) => ({
        id: id ?? '',
        memory: bytes ?? 0,
        uuid: uuid ?? null,
      })),
      budgetFraction: devices.budget_fraction,
    },
    memory: {
      placementMode: memory.placement_mode,
      eviction: memory.eviction,
      overheadFactor: memory.overhead_factor,
      overhead: memory.overhead,
      colocateMargin: memory.colocate_margin,
      weightOverhead: memory.weight_overhead,
      colocateMaxShare: memory.colocate_max_share,
    },
    drivers: {
      default: written.drivers?.default ?? driverDefaultKey.fallback,
      docker: dockerSettings(written, environment),
      process: { command: process.command, portRange: process.port_range },
    },
  };
}

function dockerSettings(written: WrittenFile, environment: EnvironmentValues): DockerSettings {
  const { library_path: libraryPath, ...docker } = resolveKeys(dockerKeys, [written.drivers?.docker], environment);
  return {
    socket: docker.socket,
    network: docker.network,
    image: docker.image,
    gpus: docker.gpus,
    reach: docker.reach,
    port: docker.port,
    containerPrefix: docker.container_prefix,
    gatewayContainer: docker.gateway_container,
    probeImage: docker.probe_image,
    cacheDir: docker.cache_dir,
    tempDir: docker.temp_dir,
    libraryPath,
  };
}

function flagged<T>(
  name: string,
  text: string | undefined,
  reader: { read(value: unknown): { value: T } | { complaints: readonly { code: string; message: string }[] } },
  problems: Problems,
): T | undefined {
  if (text === undefined) return undefined;
  const reading = reader.read(text);
  if ('value' in reading) return reading.value;
  for (const found of reading.complaints) problems.inFlags(name, found.code, found.message);
  return undefined;
}

/** What of the file stands over a variable: the key itself; for a model's key `defaults`, or every single model. */
function hider(bound: BoundKey, written: WrittenFile, file: ParsedFile | undefined): string | undefined {
  if (!file) return undefined;
  const has = (path: Path): boolean => file.place(path, 'key') !== undefined;
  if (!bound.ofModel) return has(bound.path) ? pathText(bound.path) : undefined;
  if (has(['defaults', ...bound.path])) return pathText(['defaults', ...bound.path]);
  const names = Object.keys(written.models ?? {});
  if (names.length === 0 || !names.every((name) => has(['models', name, ...bound.path]))) return undefined;
  return `${pathText(['models', names[0] ?? '', ...bound.path])}${names.length > 1 ? ' and that of every other model' : ''}`;
}

/** Problems of the file from top to bottom; the others keep their order. */
function sorted(problems: readonly ConfigProblem[]): readonly ConfigProblem[] {
  const rank = (problem: ConfigProblem): number =>
    problem.source === 'flags' ? 0 : problem.source === 'environment' ? 2 : 1;
  return problems
    .map((problem, index) => ({ problem, index }))
    .toSorted(
      (left, right) =>
        rank(left.problem) - rank(right.problem) ||
        (left.problem.line ?? 0) - (right.problem.line ?? 0) ||
        (left.problem.column ?? 0) - (right.problem.column ?? 0) ||
        left.index - right.index,
    )
    .map(({ problem }) => problem);
}

function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  if (!(value instanceof Map)) for (const part of Object.values(value)) freeze(part);
  else for (const part of value.values()) freeze(part);
  return Object.freeze(value);
}
