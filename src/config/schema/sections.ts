/** Every key of a configuration file outside `models`, with its bounds, default and variables. */
import { GIB, HOUR, KIB, MIB, MINUTE, SECOND } from '../../units.ts';
import { hostName, listenAddress, origin, portRange } from './address-reader.ts';
import { group, inherited, key } from './key.ts';
import { choice, flag, fraction, good, nullable, size, span, wholeNumber, type Reader } from './reader.ts';
import { ownEntry, plainText } from './scalar.ts';
import { identifier, list, text } from './text-reader.ts';

export const MAX_QUEUE_SIZE = { min: 1, max: 10_000, fallback: 200 } as const;
export const MAX_CONCURRENT = { min: 1, max: 10_000, fallback: 50 } as const;
export const MAX_MODELS_CONCURRENT = { min: 1, max: 100, fallback: 3 } as const;
/** The share of a GPU's memory that engines may take, as vLLM's own default was when the original was written. */
export const GPU_SHARE = 0.9;

const whole = wholeNumber(MAX_CONCURRENT.min, MAX_CONCURRENT.max);

/** A number, or the word `auto`. */
export function orAuto(about: string): Reader<number | 'auto'> {
  return {
    allows: `${whole.allows}, or auto = ${about}`,
    lenient: true,
    json: { anyOf: [{ enum: ['auto'] }, whole.json] },
    show: (value) => value,
    read: (input) => {
      if (plainText(input) === 'auto') return good('auto');
      const reading = whole.read(input);
      return 'value' in reading
        ? reading
        : {
            complaints: reading.complaints.map((found) => ({
              ...found,
              message: `${found.message}, or auto = ${about}`,
            })),
          };
    },
  };
}

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;
const LEVEL_NAMES: Readonly<Record<string, string>> = {
  warning: 'warn',
  critical: 'error',
  fatal: 'error',
  notset: 'trace',
};

/** Any case, and the names that the original's logging used. */
export function logLevel(): Reader<(typeof LEVELS)[number]> {
  const words = choice(LEVELS);
  return {
    ...words,
    json: { anyOf: [{ enum: LEVELS }, { type: 'string' }] },
    read: (input) => {
      const value = plainText(input);
      if (typeof value !== 'string') return words.read(input);
      const lower = value.trim().toLowerCase();
      const reading = words.read(ownEntry(LEVEL_NAMES, lower) ?? lower);
      return 'value' in reading ? reading : words.read(value);
    },
  };
}

export const keepaliveKeys = {
  after: key({
    reader: span({ zero: 'off' }),
    fallback: 10 * SECOND,
    about: 'Wait of a stream before its first heartbeat; 0 = no heartbeats.',
  }),
  every: key({
    reader: span({ zero: 'off' }),
    fallback: 15 * SECOND,
    about: 'Time between heartbeats; 0 = no heartbeats.',
  }),
};

/** More processes than this share no machine with a GPU sensibly. */
const MOST_WORKERS = 64;

export const serverKeys = {
  listen: key({
    reader: listenAddress(),
    fallback: { host: '127.0.0.1', port: 9000 },
    about: 'Address and port of the API.',
    env: ['GATEWAY_LISTEN'],
  }),
  admin_listen: key({
    reader: nullable(listenAddress()),
    fallback: null,
    about: 'Moves the control plane, all but /healthz, /readyz and /gateway/status, to an address of its own.',
    env: ['GATEWAY_ADMIN_LISTEN'],
  }),
  allowed_hosts: key({
    reader: list(hostName()),
    fallback: [],
    about: 'Names beside localhost and address literals that a loopback listener without keys answers to.',
  }),
  cors_origins: key({
    reader: list(origin()),
    fallback: [],
    about: 'Origins whose pages may call the API from a browser.',
  }),
  max_body_size: key({
    reader: size({ min: KIB, max: 4 * GIB }),
    fallback: 64 * MIB,
    about: 'Largest request body.',
    env: ['GATEWAY_MAX_BODY_SIZE'],
  }),
  keepalive: group('Heartbeats of streams that wait for their model.', keepaliveKeys),
  workers: key({
    reader: workers(),
    fallback: 1,
    about:
      'Processes of the data plane: 1 = none beside the one process, auto = as many as there are cores, at most 8. More than one needs Linux.',
  }),
  shutdown_timeout: key({
    reader: span({ zero: 'no waiting' }),
    fallback: 30 * SECOND,
    about: 'How long running requests may go on after a signal to end.',
    env: ['GATEWAY_SHUTDOWN_TIMEOUT'],
  }),
  on_shutdown: key({
    reader: choice(['auto', 'stop', 'leave']),
    fallback: 'auto' as const,
    about:
      'What becomes of engines: stop them, leave them for the next start, or auto = leave with docker, stop with process.',
  }),
  state_dir: key({
    reader: text({ what: 'the path of a folder' }),
    fallback: './data',
    about: 'Folder of footprints, adoption records, engine logs, pins and the secret.',
    env: ['GATEWAY_STATE_DIR'],
  }),
};

function workers(): Reader<number | 'auto'> {
  const number = wholeNumber(1, MOST_WORKERS);
  const word = choice(['auto']);
  const allows = `${number.allows}, or auto`;
  return {
    ...number,
    allows,
    lenient: false,
    json: { anyOf: [number.json, word.json] },
    read: (input) => {
      const named = word.read(input);
      if ('value' in named) return named;
      const reading = number.read(input);
      if ('value' in reading) return reading;
      return {
        complaints: reading.complaints.map((one) => ({ ...one, message: one.message.replace(number.allows, allows) })),
      };
    },
  };
}

export const logKeys = {
  level: key({ reader: logLevel(), fallback: 'info' as const, about: 'What is logged.', env: ['LOG_LEVEL'] }),
  format: key({
    reader: choice(['auto', 'pretty', 'json']),
    fallback: 'auto' as const,
    about: 'auto = pretty on a terminal, JSON elsewhere.',
  }),
};

export const limitKeys = {
  max_queue_size: key({
    reader: wholeNumber(MAX_QUEUE_SIZE.min, MAX_QUEUE_SIZE.max),
    fallback: MAX_QUEUE_SIZE.fallback,
    about: 'Waiting requests per model; while no replica is ready, max_concurrent more.',
    env: ['GATEWAY_MAX_QUEUE_SIZE'],
  }),
  max_concurrent: key<number | 'auto'>({
    reader: orAuto("the model's max_num_seqs"),
    fallback: MAX_CONCURRENT.fallback,
    about: "Requests that one replica runs at a time; auto = the model's max_num_seqs.",
    env: ['GATEWAY_MAX_CONCURRENT'],
  }),
  max_models_concurrent: key({
    reader: wholeNumber(MAX_MODELS_CONCURRENT.min, MAX_MODELS_CONCURRENT.max),
    fallback: MAX_MODELS_CONCURRENT.fallback,
    about: 'Times max_concurrent = the requests that may run at a time over all models.',
    env: ['GATEWAY_MAX_MODELS_CONCURRENT'],
  }),
  queue_timeout: key({
    reader: span(),
    fallback: 9 * MINUTE,
    about: 'Longest wait of a request while no start of its model is under way.',
    env: ['GATEWAY_QUEUE_TIMEOUT'],
  }),
  max_turn: key({
    reader: span({ zero: 'never' }),
    fallback: MINUTE,
    about: 'A model that cannot be placed and has waited this long may take the place of a busy one; 0 = never.',
    env: ['GATEWAY_MAX_TURN'],
  }),
  min_residency: key({
    reader: span({ zero: 'no minimum' }),
    fallback: 90 * SECOND,
    about: 'How long a model stays at least before another one takes its place, where there is a choice.',
    env: ['GATEWAY_MIN_RESIDENT_SECONDS'],
  }),
  drain_timeout: key({
    reader: span(),
    fallback: 5 * MINUTE,
    about: 'How long running requests of a leaving replica may go on.',
  }),
  max_buffered_bytes: key({
    reader: size({ min: MIB }),
    fallback: 512 * MIB,
    about: 'Bodies of waiting requests, all together.',
    env: ['GATEWAY_MAX_BUFFERED_BYTES'],
  }),
};

export const timeoutKeys = {
  connect: key({
    reader: span(),
    fallback: 10 * SECOND,
    about: 'Connecting to an engine.',
    env: ['GATEWAY_CONNECT_TIMEOUT'],
  }),
  request: key({
    reader: span(),
    fallback: 300 * SECOND,
    about: 'Default of first_byte and between_chunks.',
    env: ['GATEWAY_REQUEST_TIMEOUT', 'GATEWAY_HTTP_TIMEOUT'],
  }),
  first_byte: key({
    reader: nullable(span()),
    fallback: null,
    about: "From grant to first body byte, while the engine's token counters stand still; null = request.",
  }),
  between_chunks: key({ reader: nullable(span()), fallback: null, about: 'Between two chunks; null = request.' }),
  total: key({
    reader: span({ zero: "none for streams, 1h for plain answers while the engine's counters move" }),
    fallback: 0,
    about: "A whole answer; 0 = none for streams, 1h for plain answers while the engine's counters move.",
  }),
  stall: key({
    reader: span(),
    fallback: 120 * SECOND,
    about: 'With requests running, no byte and no counter moving for this long: the engine hangs and is restarted.',
  }),
};

export const retryKeys = {
  attempts: key({
    reader: wholeNumber(1, 10),
    fallback: 3,
    about: 'Attempts to connect to an engine, the first one included.',
    env: ['GATEWAY_RETRY_ATTEMPTS'],
  }),
  delay: key({
    reader: span({ zero: 'at once', max: MINUTE }),
    fallback: SECOND,
    about: 'Wait before the second attempt.',
    env: ['GATEWAY_RETRY_DELAY'],
  }),
  factor: key({
    reader: fraction(1, 10),
    fallback: 1.5,
    about: 'By how much the wait grows with each attempt.',
    env: ['GATEWAY_RETRY_FACTOR'],
  }),
  engine_down: key({
    reader: flag(),
    fallback: true,
    about: 'Queue a request again, once, when its engine went down before anything was sent to the client.',
    env: ['GATEWAY_RETRY_ENGINE_DOWN'],
  }),
};

export const deviceEntryKeys = {
  id: key({
    reader: identifier('a name of the device, such as gpu-0', 64),
    fallback: '',
    about: 'Name of the device.',
  }),
  memory: key({ reader: size({ min: MIB }), fallback: 0, about: 'Its memory.' }),
  uuid: inherited({
    reader: nullable(identifier('the UUID of the GPU', 128)),
    about: 'Its UUID, where it is a real GPU.',
  }),
};

export const deviceKeys = {
  probe: key({
    reader: choice(['auto', 'nvidia-smi', 'docker', 'static', 'simulated', 'none']),
    fallback: 'auto' as const,
    about: 'How GPUs are found: nvidia-smi, a helper container, the list below (static, simulated), or not at all.',
  }),
  command: key({ reader: text(), fallback: 'nvidia-smi', about: 'What the nvidia-smi probe runs.' }),
  budget_fraction: key({
    reader: fraction(0, 1, { above: true }),
    fallback: GPU_SHARE,
    about: "The part of a device's memory that the gateway may give to engines.",
    env: ['GPU_BUDGET_FRACTION', 'VLLM_GPU_MEMORY_UTILIZATION'],
  }),
};

export const memoryKeys = {
  placement_mode: key({
    reader: choice(['budget', 'whole_card']),
    fallback: 'budget' as const,
    about: 'budget = models share a GPU by the bytes they need; whole_card = by gpu_memory_utilization.',
    env: ['PLACEMENT_MODE'],
  }),
  eviction: key({
    reader: choice(['lru', 'value']),
    fallback: 'lru' as const,
    about: 'Which idle model leaves first.',
  }),
  overhead_factor: key({
    reader: fraction(1, 10),
    fallback: 1.1,
    about: 'Factor on estimated weights and KV cache.',
    env: ['BUDGET_OVERHEAD_FACTOR'],
  }),
  overhead: key({
    reader: size({ bareIsMib: true }),
    fallback: GIB,
    about: 'Fixed memory of every engine on each device.',
    env: ['BUDGET_OVERHEAD_MIB'],
  }),
  colocate_margin: key({
    reader: size({ bareIsMib: true }),
    fallback: GIB,
    about: 'Memory left free beside co-located models.',
    env: ['COLOCATE_MARGIN_MIB'],
  }),
  weight_overhead: key({
    reader: fraction(1, 10),
    fallback: 1.15,
    about: 'Smallest share of a co-located model, as a factor on its weights.',
    env: ['COLOCATE_WEIGHT_OVERHEAD'],
  }),
  colocate_max_share: key({
    reader: fraction(0, 1, { above: true }),
    fallback: 0.9,
    about: 'A co-located model with a larger share is warned about.',
    env: ['COLOCATE_MAX_SHARE'],
  }),
};

export const processKeys = {
  command: key({
    reader: list(text({ what: 'one word of a command', verbatim: true }), { min: 1, words: true }),
    fallback: ['vllm'],
    about:
      'What stands before `serve REPO --flags…`; [simulated-vllm] is the simulated engine that comes with the gateway.',
  }),
  port_range: key({
    reader: portRange(),
    fallback: { first: 20_000, last: 29_999 },
    about: 'Ports of engine processes on 127.0.0.1.',
  }),
};

export const LONGEST_START = 24 * HOUR;
