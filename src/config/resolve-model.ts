/** One model: its own keys over `defaults` over the environment over what is built in. */
import type { Config, Keepalive, ModelConfig, Timeouts } from './config.ts';
import type { EnvironmentValues } from './environment.ts';
import type { Path, Problems } from './problems.ts';
import { resolveKeys } from './resolve.ts';
import type { WrittenFile, WrittenModel } from './schema/file.ts';
import type { Resolved } from './schema/key.ts';
import { modelKeys, modelTimeoutKeys } from './schema/model-keys.ts';
import type { SecretReader } from './secrets.ts';

export interface ModelContext {
  readonly defaults: WrittenFile['defaults'];
  readonly environment: EnvironmentValues;
  readonly driverDefault: 'docker' | 'process' | 'external';
  readonly limits: {
    readonly maxQueueSize: number;
    readonly maxConcurrent: number | 'auto';
    readonly queueTimeout: number;
  };
  readonly keepalive: Keepalive;
  readonly timeouts: Timeouts;
  readonly enforceEager: boolean;
  readonly hasPools: boolean;
  readonly secrets: SecretReader;
  readonly problems: Problems;
  /** The file holds this key, be its value usable or not. */
  isWritten(path: Path): boolean;
  /** Where a key of this model is written: in the model, else in defaults. */
  near(name: string, key: string): readonly Path[];
}

type Keysets = Resolved<typeof modelKeys>;

export async function resolveModel(name: string, written: WrittenModel, context: ModelContext): Promise<ModelConfig> {
  const { environment, limits } = context;
  const values = resolveKeys(modelKeys, [written, context.defaults], environment);
  const kind = kindOf(name, written, values, context);
  const credentials = await credentialsOf(name, values, kind.driver, context);
  const maxConcurrent = values.max_concurrent ?? limits.maxConcurrent;
  return {
    name,
    repo: values.repo ?? name,
    aliases: values.aliases,
    driver: kind.driver,
    engine: kind.engine,
    url: kind.driver === 'external' ? values.url : null,
    ...credentials,
    command: kind.driver === 'process' ? values.command : null,
    env: values.env,
    image: values.image,
    volumes: values.volumes,
    shmSize: values.shm_size,
    gpuMemoryUtilization: values.gpu_memory_utilization,
    maxModelLen: values.max_model_len,
    tensorParallelSize: values.tensor_parallel_size,
    maxNumSeqs: values.max_num_seqs,
    kvReservationSeqs: values.kv_reservation_seqs,
    quantization: values.quantization,
    dtype: values.dtype,
    inactivityTimeout: values.inactivity_timeout,
    alwaysOn: values.always_on,
    preload: values.preload ?? values.always_on,
    extraArgs: values.extra_args,
    enforceEager: context.enforceEager,
    pool: context.hasPools ? values.pool : null,
    colocate: values.colocate,
    requestDefaults: new Map(
      Object.entries(values.request_defaults).map(([key, value]) => [key, JSON.stringify(value)]),
    ),
    memory: values.memory,
    devices: devicesOf(written, values, context),
    maxQueueSize: values.max_queue_size ?? limits.maxQueueSize,
    maxConcurrent: maxConcurrent === 'auto' ? values.max_num_seqs : maxConcurrent,
    queueTimeout: limits.queueTimeout,
    keepalive: {
      after: values.keepalive.after ?? context.keepalive.after,
      every: values.keepalive.every ?? context.keepalive.every,
    },
    timeouts: timeoutsOf([written.timeouts, context.defaults?.timeouts], context.timeouts),
    startTimeout: values.start_timeout,
    startStallTimeout: values.start_stall_timeout,
    stopTimeout: values.stop_timeout,
    healthPath: values.health_path,
    routes: values.routes,
    description: values.description,
    unlisted: values.unlisted,
    metadata: values.metadata,
  };
}

/** A pin from the environment gives way to pools, as it did in the original. */
function devicesOf(written: WrittenModel, values: Keysets, context: ModelContext): readonly string[] | null {
  const inFile = written.devices !== undefined || context.defaults?.devices !== undefined;
  return context.hasPools && !inFile ? null : values.devices;
}

type WrittenTimeouts = WrittenModel['timeouts'];

/** Each tier's `request` stands in for what the same tier does not say. */
function timeoutsOf(tiers: readonly WrittenTimeouts[], global: Timeouts): Timeouts {
  const values = resolveKeys(modelTimeoutKeys, tiers, new Map());
  const phase = (name: 'first_byte' | 'between_chunks', fallback: number): number => {
    for (const tier of tiers) {
      const found = tier?.[name] ?? tier?.request;
      if (found !== undefined) return found;
    }
    return fallback;
  };
  return {
    connect: values.connect ?? global.connect,
    firstByte: phase('first_byte', global.firstByte),
    betweenChunks: phase('between_chunks', global.betweenChunks),
    total: values.total ?? global.total,
    stall: values.stall ?? global.stall,
  };
}

type Tiered = 'driver' | 'url' | 'command' | 'engine';

/** 2 = the model itself says so, 1 = defaults do, 0 = nobody does. What was refused still says what was meant. */
function rank(key: Tiered, name: string, written: WrittenModel, context: ModelContext): number {
  const own = written[key];
  if (own !== undefined) return own === null ? 0 : 2;
  if (context.isWritten(['models', name, key])) return 2;
  return (context.defaults?.[key] ?? null) !== null || context.isWritten(['defaults', key]) ? 1 : 0;
}

function kindOf(
  name: string,
  written: WrittenModel,
  values: Keysets,
  context: ModelContext,
): { driver: ModelConfig['driver']; engine: ModelConfig['engine'] } {
  const url = rank('url', name, written, context);
  const command = rank('command', name, written, context);
  const said = rank('driver', name, written, context);
  const { problems } = context;
  const path = (key: string): Path => ['models', name, key];
  let driver = values.driver;
  if (driver === undefined || said < Math.max(url, command)) {
    if (url > 0 && url >= command) driver = 'external';
    else if (command > 0) driver = 'process';
    else driver ??= context.driverDefault;
  }
  if (url > 0 && driver !== 'external' && url >= said) {
    problems.inFile(
      'error',
      path('driver'),
      'conflict',
      `is ${driver}, but url is set, which means external; remove one of the two`,
      context.near(name, 'driver'),
    );
  }
  if (driver === 'external' && url === 0) {
    problems.inFile(
      'error',
      path('url'),
      'missing',
      'is missing; an external model needs the address of its server, such as http://10.0.0.5:8000',
      context.near(name, 'driver'),
    );
  }
  if (command > 0 && driver !== 'process' && command >= Math.max(said, url)) {
    const reason =
      driver === 'external'
        ? 'an external server is started by somebody else'
        : 'only the process driver runs commands';
    problems.inFile(
      'error',
      path('command'),
      'conflict',
      `is set, but the driver is ${driver}: ${reason}; remove one of the two`,
      context.near(name, 'command'),
    );
  }
  const runsCommand = driver === 'process' && command > 0;
  const engine = values.engine ?? (driver === 'external' || runsCommand ? 'openai-compatible' : 'vllm');
  if (engine === 'openai-compatible' && driver === 'process' && command === 0) {
    problems.inFile(
      'error',
      path('command'),
      'missing',
      'is missing; engine openai-compatible needs the whole command of the server, such as [llama-server, --port, "${port}"]',
      context.near(name, 'engine'),
    );
  }
  return { driver, engine };
}

async function credentialsOf(
  name: string,
  values: Keysets,
  driver: Config['drivers']['default'],
  context: ModelContext,
): Promise<Pick<ModelConfig, 'apiKey' | 'headers'>> {
  const { problems, secrets } = context;
  const path = (key: string, ...more: string[]): Path => ['models', name, key, ...more];
  const headers: Record<string, string> = {};
  for (const [header, text] of Object.entries(values.headers)) {
    const secret = await secrets.text(text);
    if ('value' in secret) headers[header] = secret.value;
    else problems.inFile('error', path('headers', header), 'secret', secret.complaint, context.near(name, 'headers'));
  }
  let apiKey: string | null = null;
  if (values.api_key !== null) {
    const secret = await secrets.text(values.api_key);
    if ('value' in secret) apiKey = secret.value;
    else problems.inFile('error', path('api_key'), 'secret', secret.complaint, context.near(name, 'api_key'));
  }
  for (const key of ['api_key', 'headers'] as const) {
    const set = key === 'api_key' ? values.api_key !== null : Object.keys(values.headers).length > 0;
    if (set && driver !== 'external') {
      problems.inFile(
        'warning',
        path(key),
        'unused',
        `has no effect: only a server given by url is sent it; the driver is ${driver}`,
        context.near(name, key),
      );
    }
  }
  return driver === 'external' ? { apiKey, headers } : { apiKey: null, headers: {} };
}
