/** What to run and how to talk to it. No IO of its own: it writes launch specs and reads texts. */
import type { ModelConfig } from '../config/config.ts';
import type { StartFailureCause } from '../errors.ts';
import type { Bytes } from '../units.ts';
import type { ContainerSpec, FetchSpec, LaunchShare, LaunchSpec } from '../core/launch.ts';
import type { StartMilestone } from '../core/events.ts';

export interface LaunchContext {
  readonly model: ModelConfig;
  /** What stands before `serve REPO --flags…`. */
  readonly command: readonly string[];
  readonly host: string;
  readonly port: number;
  /** The engine's own key (HMAC of the replica's identity). */
  readonly engineKey: string;
  /** Devices in order, with what is promised on each and their uuid when they have one. */
  readonly devices: readonly {
    readonly id: string;
    readonly uuid: string | null;
    readonly totalBytes: Bytes;
    readonly reservedBytes: Bytes;
  }[];
  readonly share: LaunchShare;
  /** Set for container drivers: the image, and where its version can be read from (`v0.16.0`). */
  readonly image: string | null;
  /** Version as the engine said it in an earlier start (`readVersion`); where there is no image, nothing else tells. */
  readonly version?: string | null;
  /** Token of the model hub for drivers whose engines see nothing of the gateway's environment. */
  readonly hubToken?: string | null;
  /** Repo whose tokenizer fits a GGUF model, when somebody has looked that it is there. */
  readonly tokenizer?: string | null;
}

export interface FetchContext {
  readonly model: ModelConfig;
  /** What stands before `serve REPO --flags…`. */
  readonly command: readonly string[];
  readonly image: string | null;
  /** As in LaunchContext. */
  readonly hubToken?: string | null;
}

/** Numbers whose movement proves that an engine works; null when the text has none of them. */
export interface EngineCounters {
  readonly promptTokens: number;
  readonly generationTokens: number;
  readonly kvCacheUsage: number;
  readonly running: number;
}

export interface StartFailureVerdict {
  readonly cause: StartFailureCause;
  /** One line for clients: what is wrong and what would help. No paths, no keys. */
  readonly message: string;
  /** Out of memory for the KV cache: how much more on each device would have done, if the log says so. */
  readonly shortage: Bytes | null;
}

export interface StartRefusal {
  readonly cause: StartFailureCause;
  readonly message: string;
}

export interface Progress {
  readonly phase: string;
  /** In [0, 1] when known. */
  readonly fraction: number | null;
  readonly milestone: StartMilestone | null;
}

/** What an engine says of its own memory in its log, per device; null = not said (yet). */
export interface MemoryReport {
  readonly weightBytes: Bytes | null;
  readonly kvCacheBytes: Bytes | null;
  readonly kvCacheTokens: number | null;
  readonly graphBytes: Bytes | null;
}

export interface Engine {
  readonly kind: 'vllm' | 'openai-compatible';
  /** Throws GatewayFailure-free plain Error on a model it cannot launch; config has checked it before. */
  launchSpec(context: LaunchContext): LaunchSpec;
  /** Path polled until 200; null = a TCP connect proves readiness. */
  healthPath(model: ModelConfig): string | null;
  /** True: after health, `GET /v1/models` must list the served name (proves that the port is ours). */
  readonly listsModels: boolean;
  /** The name that the engine answers to. */
  servedName(model: ModelConfig): string;
  /** Reads `GET /metrics`; null when it has no such counters. */
  readCounters(metrics: string): EngineCounters | null;
  /** Phase of a start from one log line; null when the line says nothing. */
  readProgress(line: string): Progress | null;
  /** From the lines of a start; later lines win. */
  readMemoryReport(lines: readonly string[]): MemoryReport;
  /** Version of the engine from one log line; null when the line does not say it. */
  readVersion(line: string): string | null;
  /** Why this model can never start with this image (null: as a process); null = nothing known against it. */
  refusal(model: ModelConfig, image: string | null): StartRefusal | null;
  /** Tokens of KV cache from `/metrics`; null when it does not say. */
  readKvCacheTokens(metrics: string): number | null;
  /** What fetches the weights into the shared cache before a start; null = the engine fetches them itself. */
  fetchSpec(context: FetchContext): FetchSpec | null;
  /** Root cause of a failed start from the last log lines and how it ended. */
  classifyFailure(
    lines: readonly string[],
    exit: { readonly code: number | null; readonly signal: string | null },
  ): StartFailureVerdict;
}

/** What `${…}` may stand for in `command`, `env` and `health_path` of a model. */
export interface TemplateValues {
  readonly port: number;
  readonly host: string;
  /** The name that the engine answers to. */
  readonly model: string;
  readonly repo: string;
  /** Device uuids, or ids where there are none, joined by commas. */
  readonly devices: string;
}

/** Fills in the engine templates of the configuration; whatever else looks like one stays as it is. */
export function fillTemplate(text: string, values: Partial<TemplateValues>): string {
  return text.replace(/\$?\$\{(port|host|model|repo|devices)\}/g, (whole: string, name: keyof TemplateValues) => {
    // `$${port}` is a literal `${port}`, for the shell that the command may start.
    if (whole.startsWith('$$')) return whole.slice(1);
    const value = values[name];
    return value === undefined ? whole : String(value);
  });
}

export function templateValues(context: LaunchContext, served: string): TemplateValues {
  return {
    port: context.port,
    host: context.host,
    model: served,
    repo: context.model.repo,
    devices: context.devices.map((device) => device.uuid ?? device.id).join(','),
  };
}

/** Devices that a driver can hand out are named by uuid; the others are numbers for the ledger only. Null = nothing is pinned. */
export function deviceUuids(devices: LaunchContext['devices']): readonly string[] | null {
  const uuids = devices.flatMap((device) => device.uuid ?? []);
  return uuids.length === 0 || uuids.length < devices.length ? null : uuids;
}

/**
 * How an engine is told its devices. In a container CUDA's names begin anew, so none are given; the other variable is read by
 * the container runtime of the machine where devices are not asked for in any other way.
 */
export function deviceEnvironment(context: LaunchContext): Readonly<Record<string, string>> {
  const uuids = deviceUuids(context.devices)?.join(',');
  if (uuids === undefined) return {};
  return context.image === null
    ? { CUDA_DEVICE_ORDER: 'PCI_BUS_ID', CUDA_VISIBLE_DEVICES: uuids }
    : { NVIDIA_VISIBLE_DEVICES: uuids };
}

/** What a container is made from; null for drivers without one. */
export function containerOf(context: Pick<LaunchContext, 'model' | 'image'>): ContainerSpec | null {
  const { model, image } = context;
  return image === null ? null : { image, volumes: model.volumes, shmSize: model.shmSize };
}
