/** The effective configuration: parsed, checked, frozen. Code is camelCase; the file's keys are snake_case. */
import type { Bytes, Milliseconds } from '../units.ts';

export type DriverKind = 'docker' | 'process' | 'external' | 'simulated';

export type Severity = 'error' | 'warning' | 'info';

export interface ConfigProblem {
  readonly severity: Severity;
  /** File path as given, `environment`, or `flags`. */
  readonly source: string;
  /** 1-based; null when the source has no lines. */
  readonly line: number | null;
  readonly column: number | null;
  /** `limits.max_queue_size`, or the variable or flag. */
  readonly path: string;
  /** Stable word, e.g. `unknown_key`, `out_of_range`, `hidden_by_file`. */
  readonly code: string;
  readonly message: string;
}

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export interface Keepalive {
  /** 0 = off. */
  readonly after: Milliseconds;
  readonly every: Milliseconds;
}

export interface Timeouts {
  readonly connect: Milliseconds;
  readonly firstByte: Milliseconds;
  readonly betweenChunks: Milliseconds;
  /** 0 = none for streams, 1 h for plain answers while the engine's counters move. */
  readonly total: Milliseconds;
  readonly stall: Milliseconds;
}

export type Role = 'inference' | 'admin' | 'metrics';

export interface ApiKey {
  readonly id: string;
  /** SHA-256 of the key, lower-case hex: the key itself is not kept. */
  readonly digest: string;
  readonly roles: readonly Role[];
  /** Globs over model names; `*` = all. */
  readonly models: readonly string[];
}

export interface Config {
  /** What was read: file path, or null when models come from the environment. */
  readonly source: string | null;
  readonly server: {
    readonly listen: ListenAddress;
    readonly adminListen: ListenAddress | null;
    readonly allowedHosts: readonly string[];
    readonly corsOrigins: readonly string[];
    readonly maxBodySize: Bytes;
    readonly keepalive: Keepalive;
    /** Processes of the data plane; `auto`: by the cores that this machine lets us have. */
    readonly workers: number | 'auto';
    readonly shutdownTimeout: Milliseconds;
    readonly onShutdown: 'auto' | 'stop' | 'leave';
    readonly stateDir: string;
  };
  readonly log: { readonly level: LogLevel; readonly format: 'auto' | 'pretty' | 'json' };
  readonly limits: {
    readonly maxQueueSize: number;
    readonly maxConcurrent: number;
    readonly maxModelsConcurrent: number;
    readonly queueTimeout: Milliseconds;
    readonly maxTurn: Milliseconds;
    readonly minResidency: Milliseconds;
    readonly drainTimeout: Milliseconds;
    readonly maxBufferedBytes: Bytes;
  };
  readonly timeouts: Timeouts;
  readonly retry: {
    readonly attempts: number;
    readonly delay: Milliseconds;
    readonly factor: number;
    readonly engineDown: boolean;
  };
  readonly auth: {
    /** Empty = no inference keys: inference is open. */
    readonly keys: readonly ApiKey[];
    /** GATEWAY_ADMIN_KEY; guards what answers 403 without it even when `keys` is empty. */
    readonly adminKey: ApiKey | null;
    /** `auth: none` was written, or GATEWAY_AUTH=none set. */
    readonly explicitNone: boolean;
  };
  readonly devices: {
    readonly probe: 'auto' | 'nvidia-smi' | 'docker' | 'static' | 'simulated' | 'none';
    readonly command: string;
    readonly list: readonly { readonly id: string; readonly memory: Bytes; readonly uuid: string | null }[];
    readonly budgetFraction: number;
  };
  readonly memory: {
    readonly placementMode: 'budget' | 'whole_card';
    readonly eviction: 'lru' | 'value';
    readonly overheadFactor: number;
    readonly overhead: Bytes;
    readonly colocateMargin: Bytes;
    readonly weightOverhead: number;
    readonly colocateMaxShare: number;
  };
  readonly telemetry: {
    readonly traces: {
      /** Where OTLP is posted to, path and all; null = no traces. */
      readonly url: string | null;
      readonly headers: Readonly<Record<string, string>>;
      readonly sampleRatio: number;
      /** What a caller's trace context says of recording goes before the ratio. */
      readonly followsCaller: boolean;
      readonly serviceName: string;
      readonly genaiAttributes: boolean;
    };
  };
  readonly drivers: {
    readonly default: DriverKind;
    readonly docker: DockerSettings;
    readonly process: {
      readonly command: readonly string[];
      readonly portRange: { readonly first: number; readonly last: number };
    };
  };
  /** Pool name → device uuids (or ids of `devices.list`). */
  readonly pools: ReadonlyMap<string, readonly string[]>;
  /** In the order of the file. */
  readonly models: ReadonlyMap<string, ModelConfig>;
  /** Alias → model name. */
  readonly aliases: ReadonlyMap<string, string>;
  /** Everything in force that is not an error in a file: shown in status and metrics. */
  readonly problems: readonly ConfigProblem[];
}

export interface DockerSettings {
  readonly socket: string;
  readonly network: string;
  readonly image: string;
  readonly gpus: 'auto' | 'nvidia' | 'cdi' | 'none';
  readonly reach: 'auto' | 'network' | 'published';
  /** Of an engine, inside its container. */
  readonly port: number;
  readonly containerPrefix: string;
  readonly gatewayContainer: string;
  readonly probeImage: string;
  readonly cacheDir: string;
  readonly tempDir: string;
  readonly libraryPath: string | null;
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

export interface ModelConfig {
  readonly name: string;
  readonly repo: string;
  readonly aliases: readonly string[];
  readonly driver: DriverKind;
  readonly engine: 'vllm' | 'openai-compatible';
  /** External servers only. */
  readonly url: string | null;
  readonly apiKey: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** Process driver: replaces `drivers.process.command` (engine vllm) or is the whole argv (openai-compatible). */
  readonly command: readonly string[] | null;
  readonly env: Readonly<Record<string, string>>;
  readonly image: string | null;
  readonly volumes: readonly string[];
  readonly shmSize: Bytes | null;
  readonly gpuMemoryUtilization: number;
  /** 0 = the native length. */
  readonly maxModelLen: number;
  readonly tensorParallelSize: number;
  readonly maxNumSeqs: number;
  readonly kvReservationSeqs: number | null;
  readonly quantization: string | null;
  readonly dtype: string;
  readonly inactivityTimeout: Milliseconds;
  readonly alwaysOn: boolean;
  readonly preload: boolean;
  readonly extraArgs: readonly string[];
  readonly enforceEager: boolean;
  readonly pool: string | null;
  readonly colocate: boolean;
  /** Top-level body keys with their JSON text, inserted where the client gave none. Never `model`. */
  readonly requestDefaults: ReadonlyMap<string, string>;
  /** Declared bytes per device; null = estimate (later) or the whole budget. */
  readonly memory: Bytes | null;
  /** Ids it may use; null = all (of its pool). */
  readonly devices: readonly string[] | null;
  readonly maxQueueSize: number;
  readonly maxConcurrent: number;
  readonly queueTimeout: Milliseconds;
  readonly keepalive: Keepalive;
  readonly timeouts: Timeouts;
  readonly startTimeout: Milliseconds;
  readonly startStallTimeout: Milliseconds;
  readonly stopTimeout: Milliseconds;
  /** null = a TCP connect. */
  readonly healthPath: string | null;
  /** Extra POST paths. */
  readonly routes: readonly string[];
  readonly description: string | null;
  readonly unlisted: boolean;
  readonly metadata: Readonly<Record<string, unknown>> | null;
}
