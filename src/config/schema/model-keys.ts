/** The keys of a model. `defaults` takes the same ones, but for those that only one model can have. */
import { MINUTE, MIB, SECOND } from '../../units.ts';
import { healthPath, route, serverUrl } from './address-reader.ts';
import { checkHeader } from './header-name.ts';
import { imageReader } from './docker-keys.ts';
import { group, inherited, key, type Key } from './key.ts';
import { choice, flag, fraction, nullable, size, span, wholeNumber, type Reader } from './reader.ts';
import { ownEntry } from './scalar.ts';
import { GPU_SHARE, LONGEST_START, MAX_QUEUE_SIZE, orAuto } from './sections.ts';
import { identifier, json, list, mapping, scalarText, text } from './text-reader.ts';

export const KUBERNETES = 'is not supported in this version';

export const driverReader = choice(['docker', 'process', 'external'], { kubernetes: KUBERNETES });

/** Engines put these into the environment themselves, or the gateway would lose its own door to them. */
const OWNED_VARIABLES: Readonly<Record<string, string>> = {
  VLLM_API_KEY: 'the gateway gives every engine a key of its own',
};

function checkVariable(name: string): string | undefined {
  if (!/^[A-Za-z_]\w*$/.test(name)) {
    return `${JSON.stringify(name)} is not a variable name; allowed: letters, digits and "_", not beginning with a digit`;
  }
  const reason = ownEntry(OWNED_VARIABLES, name);
  return reason === undefined ? undefined : `${name} is set by the gateway: ${reason}; remove it`;
}

function checkVolume(value: string): string | undefined {
  const parts = value.split(':');
  const allowed = 'allowed: HOST:CONTAINER or HOST:CONTAINER:ro, such as /srv/models:/models:ro';
  if (parts.length < 2 || parts.length > 3 || !parts[1]?.startsWith('/')) return `is not a volume; ${allowed}`;
  if (parts[2] !== undefined && !/^(ro|rw)$/.test(parts[2])) return `has the unknown mode "${parts[2]}"; ${allowed}`;
  const host = parts[0] ?? '';
  if (host === '/') return 'would give an engine the whole host; mount the folder that it needs';
  return host.endsWith('docker.sock') ? 'would give an engine control over Docker; remove it' : undefined;
}

function requestDefaults(): Reader<Readonly<Record<string, unknown>>> {
  const inner = mapping(json('any JSON value'), 'a mapping of request fields', (name) =>
    name.toLowerCase() === 'model'
      ? `"${name}" may not be set: the model is what the client asks for; remove it`
      : undefined,
  );
  return inner;
}

/** A list of arguments; text with blanks is one argument, as it would be in a process's argv. */
const argumentList = list(scalarText('one argument, such as --enable-prefix-caching'), { words: true });
const commandLine = list(text({ what: 'one word of a command', verbatim: true }), { min: 1, words: true });
const modelId = identifier('a name without control characters, up to 256 characters', 256);
const name = (what: string): Reader<string> => identifier(what, 256);

export const modelKeepaliveKeys = {
  after: inherited({
    reader: span({ zero: 'off' }),
    about: 'Wait of a stream before its first heartbeat; default: server.keepalive.',
  }),
  every: inherited({ reader: span({ zero: 'off' }), about: 'Time between heartbeats; default: server.keepalive.' }),
};

export const modelTimeoutKeys = {
  connect: inherited({ reader: span(), about: 'Connecting to the engine; default: timeouts.connect.' }),
  request: inherited({ reader: span(), about: 'Default of first_byte and between_chunks; default: timeouts.request.' }),
  first_byte: inherited({ reader: nullable(span()), about: 'From grant to first body byte; null = request.' }),
  between_chunks: inherited({ reader: nullable(span()), about: 'Between two chunks; null = request.' }),
  total: inherited({ reader: span({ zero: 'none' }), about: 'A whole answer; default: timeouts.total.' }),
  stall: inherited({
    reader: span(),
    about: 'Silence after which the engine counts as hung; default: timeouts.stall.',
  }),
};

/** What runs and where. */
const launchKeys = {
  driver: inherited({
    reader: driverReader,
    about: 'docker, process or external; default: external with url, process with command, else drivers.default.',
  }),
  engine: inherited({
    reader: choice(['vllm', 'openai-compatible']),
    about: 'Server software; default: vllm, with url or command openai-compatible.',
  }),
  url: key({ reader: nullable(serverUrl()), fallback: null, about: 'Address of a server that somebody else runs.' }),
  api_key: key({
    reader: nullable(text({ what: 'a key, ${NAME}, or file:PATH', secret: true })),
    fallback: null,
    about: 'Credential for url: plain, ${NAME}, or file:PATH.',
  }),
  headers: key({
    reader: mapping(
      text({ what: 'text, ${NAME}, or file:PATH', secret: true }),
      'a mapping of header names to values',
      checkHeader,
    ),
    fallback: {},
    about: 'Headers added to every request to url; values plain, ${NAME}, or file:PATH.',
  }),
  command: key({
    reader: nullable(commandLine),
    fallback: null,
    about:
      'The whole argv of a server (engine openai-compatible), or with engine vllm what stands before `serve REPO --flags…`.',
  }),
  env: key({
    reader: mapping(scalarText('text'), 'a mapping of variable names to values', checkVariable),
    fallback: {},
    about: "Variables added to the engine's environment.",
  }),
  image: key({ reader: nullable(imageReader), fallback: null, about: 'Image of this engine (docker).' }),
  volumes: key({
    reader: list(text({ what: 'HOST:CONTAINER or HOST:CONTAINER:ro', check: checkVolume })),
    fallback: [],
    about: 'Folders mounted into the engine (docker).',
  }),
  shm_size: key({
    reader: nullable(size({ min: MIB })),
    fallback: null,
    about: 'Shared memory of the engine (docker).',
  }),
};

/** What the engine is told, and how much memory it may take. */
const engineKeys = {
  gpu_memory_utilization: key({
    reader: fraction(0, 1, { above: true }),
    fallback: GPU_SHARE,
    about: 'Share of a GPU (whole_card mode, co-location, models of unknown size).',
    env: ['VLLM_GPU_MEMORY_UTILIZATION'],
  }),
  max_model_len: key({
    reader: wholeNumber(0, 100_000_000, '; 0 = the native length'),
    fallback: 0,
    about: 'Longest context, capped to the native length; 0 = the native length.',
    env: ['VLLM_MAX_MODEL_LEN_GLOBAL'],
  }),
  tensor_parallel_size: key({
    reader: wholeNumber(1, 64),
    fallback: 1,
    about: 'GPUs that the model is spread over.',
    env: ['VLLM_TENSOR_PARALLEL_SIZE'],
  }),
  max_num_seqs: key({
    reader: wholeNumber(1, 100_000),
    fallback: 16,
    about: 'Sequences that the engine computes at a time.',
    env: ['VLLM_MAX_NUM_SEQS'],
  }),
  kv_reservation_seqs: key({
    reader: nullable(wholeNumber(1, 100_000)),
    fallback: null,
    about: 'Sequences that KV cache is reserved for; null = max_num_seqs. Never changes how the engine is launched.',
  }),
  quantization: key({ reader: nullable(name('the name of a method')), fallback: null, about: 'Quantisation method.' }),
  dtype: key({ reader: name('the name of a type, such as auto'), fallback: 'auto', about: 'Type of the weights.' }),
  extra_args: key({
    reader: argumentList,
    fallback: [],
    about: 'Further arguments of the engine; one that the gateway would pass too replaces it.',
  }),
  memory: key({
    reader: nullable(size({ min: MIB })),
    fallback: null,
    about: 'Memory on each of its devices; null = estimated, else the whole budget.',
  }),
  devices: key({
    reader: nullable(list(identifier('the id or UUID of a device', 128), { min: 1, unique: true })),
    fallback: null,
    about: 'Devices it may use; null = all, or all of its pool.',
    env: ['GATEWAY_GPU_UUID'],
  }),
  pool: key({
    reader: nullable(name('the name of a pool')),
    fallback: null,
    about: 'Pool of devices that it belongs to.',
  }),
  colocate: key({
    reader: flag(),
    fallback: false,
    about: 'May share a GPU with other co-located models (whole_card mode).',
  }),
};

/** How it is kept and what clients see. */
const servingKeys = {
  inactivity_timeout: key({
    reader: span({ zero: 'never', clamp: true }),
    fallback: 1800 * SECOND,
    about: 'Stopped after this long without a request; 0 = never.',
    env: ['VLLM_INACTIVITY_TIMEOUT'],
  }),
  always_on: key({
    reader: flag(),
    fallback: false,
    about: 'Never stopped for idleness, never evicted, restarted after a crash.',
  }),
  preload: inherited({ reader: flag(), about: 'Started with the gateway; default: the value of always_on.' }),
  request_defaults: key({
    reader: requestDefaults(),
    fallback: {},
    about: 'Top-level request fields for clients that do not set them.',
  }),
  max_queue_size: inherited({
    reader: wholeNumber(MAX_QUEUE_SIZE.min, MAX_QUEUE_SIZE.max),
    about: 'Waiting requests; default: limits.max_queue_size.',
  }),
  max_concurrent: inherited<number | 'auto'>({
    reader: orAuto("the model's max_num_seqs"),
    about: 'Requests that one replica runs at a time; default: limits.max_concurrent.',
  }),
  keepalive: group('Heartbeats; default: server.keepalive.', modelKeepaliveKeys),
  timeouts: group('Limits of an answer; default: timeouts.', modelTimeoutKeys),
  start_timeout: key({
    reader: span({ max: LONGEST_START }),
    fallback: 65 * MINUTE,
    about: 'Longest start, whatever it shows.',
    env: ['GATEWAY_LOADING_TIMEOUT'],
  }),
  start_stall_timeout: key({
    reader: span({ max: LONGEST_START }),
    fallback: 10 * MINUTE,
    about: 'Longest part of a start without a log line, a byte loaded or memory growth.',
  }),
  stop_timeout: key({ reader: span(), fallback: 30 * SECOND, about: 'From SIGTERM to verified gone.' }),
  health_path: key({
    reader: nullable(healthPath()),
    fallback: '/health',
    about: 'Path that answers 200 when the engine is ready; null = a TCP connect.',
  }),
  routes: key({
    reader: list(route(), { unique: true }),
    fallback: [],
    about: 'Further POST paths that this model may serve.',
  }),
  description: key({ reader: nullable(text({ what: 'text', max: 10_000 })), fallback: null, about: 'For people.' }),
  unlisted: key({ reader: flag(), fallback: false, about: 'Left out of /v1/models.' }),
  metadata: key({
    reader: nullable(mapping(json('any JSON value'), 'a mapping')),
    fallback: null,
    about: 'Shown with the model in /v1/models.',
  }),
};

export const sharedModelKeys = { ...launchKeys, ...engineKeys, ...servingKeys };

export const modelKeys = {
  repo: inherited({
    reader: identifier('a Hugging Face id such as Qwen/Qwen3-8B, or a path', 1024),
    about: 'Hugging Face id or path; with url the name there.',
  }),
  aliases: key({ reader: list(modelId, { unique: true }), fallback: [], about: 'Further names that clients may use.' }),
  ...sharedModelKeys,
};

/** Launch switches that only have a variable: the engine's own flag belongs into extra_args. */
export const ENFORCE_EAGER: Key<boolean> = key({
  reader: flag(),
  fallback: false,
  about: 'Passes --enforce-eager to every engine.',
  env: ['VLLM_ENFORCE_EAGER', 'VLLM_NO_CUDAGRAPH'],
});

export const refuseName = (value: string): string | undefined => {
  const reading = modelId.read(value);
  return 'complaints' in reading ? reading.complaints[0]?.message : undefined;
};
