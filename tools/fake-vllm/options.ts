import { type FlagValue, type ServeArguments, UsageError } from './argv.ts';
import type { Knobs } from './knobs.ts';

/** What the model of this process can do; decides which routes exist, as in vLLM. */
export type Task = 'generate' | 'embed' | 'classify' | 'score' | 'transcription' | 'speech';

/** The launch arguments the stand-in acts on; everything else it accepts is only printed. */
export interface ServeOptions {
  readonly repo: string;
  readonly given: ReadonlyMap<string, FlagValue>;
  readonly host: string;
  readonly port: number;
  /** A Unix socket instead of host and port. */
  readonly uds: string | undefined;
  /** First is canonical: answers carry it whatever name was asked for. */
  readonly servedNames: readonly string[];
  readonly apiKeys: readonly string[];
  readonly maxModelLen: number;
  readonly maxNumSeqs: number;
  readonly maxQueuedRequests: number | undefined;
  readonly gpuMemoryUtilization: number;
  readonly kvCacheBytes: number | undefined;
  readonly tensorParallelSize: number;
  /** Seconds. */
  readonly shutdownTimeout: number;
  readonly enforceEager: boolean;
  readonly toolParser: boolean;
  readonly autoTools: boolean;
  readonly task: Task;
  readonly allowedOrigins: readonly string[];
  readonly quietEndpoints: ReadonlySet<string>;
  /** Milliseconds. */
  readonly keepAliveMs: number;
  readonly devMode: boolean;
  on(flag: string): boolean;
}

/** Longest context of the pretended model when no flag and no knob says otherwise. */
const DEFAULT_MODEL_LEN = 8192;
export const DERIVED_MODEL_LEN = 131_072;

export function readOptions(args: ServeArguments, knobs: Knobs, env: NodeJS.ProcessEnv): ServeOptions {
  const { given, repo } = args;
  const number = (name: string): number | undefined => {
    const value = given.get(name);
    return typeof value === 'number' ? value : undefined;
  };
  const text = (name: string): string | undefined => {
    const value = given.get(name);
    return typeof value === 'string' ? value : undefined;
  };
  const list = (name: string): readonly string[] => {
    const value = given.get(name);
    return Array.isArray(value) ? (value as readonly string[]) : [];
  };
  const on = (name: string): boolean => given.get(name) === true;
  const names = list('served-model-name');
  const keys = list('api-key');
  const environmentKey = env['VLLM_API_KEY'];
  const asked = number('max-model-len');
  const keepAlive = Number(env['VLLM_HTTP_TIMEOUT_KEEP_ALIVE'] ?? '5');
  const quiet = on('disable-uvicorn-access-log') ? '*' : (text('disable-access-log-for-endpoints') ?? '');
  return {
    repo,
    given,
    host: text('host') ?? '0.0.0.0',
    port: number('port') ?? 8000,
    uds: text('uds'),
    servedNames: names.length > 0 ? names : [repo],
    apiKeys: keys.length > 0 ? keys : environmentKey === undefined || environmentKey === '' ? [] : [environmentKey],
    maxModelLen: asked === undefined || asked < 0 ? (knobs.modelLen ?? DEFAULT_MODEL_LEN) : asked,
    maxNumSeqs: number('max-num-seqs') ?? 256,
    maxQueuedRequests: number('max-num-queued-reqs'),
    gpuMemoryUtilization: number('gpu-memory-utilization') ?? 0.92,
    kvCacheBytes: number('kv-cache-memory-bytes'),
    tensorParallelSize: number('tensor-parallel-size') ?? 1,
    shutdownTimeout: number('shutdown-timeout') ?? 0,
    enforceEager: on('enforce-eager'),
    toolParser: text('tool-call-parser') !== undefined,
    autoTools: on('enable-auto-tool-choice'),
    task: readTask(knobs.task, text('runner'), text('convert')),
    allowedOrigins: readOrigins(text('allowed-origins')),
    quietEndpoints: new Set(quiet.split(',').map((path) => path.trim())),
    keepAliveMs: (Number.isFinite(keepAlive) ? keepAlive : 5) * 1000,
    devMode: env['VLLM_SERVER_DEV_MODE'] === '1',
    on,
  };
}

function readTask(task: string, runner: string | undefined, convert: string | undefined): Task {
  if (task === '' || task === 'generate') {
    if (runner !== 'pooling') return 'generate';
    return convert === 'classify' ? 'classify' : 'embed';
  }
  if (task === 'embed' || task === 'classify' || task === 'score' || task === 'transcription' || task === 'speech') {
    return task;
  }
  throw new Error(
    `fake-vllm: FAKE_VLLM_TASK='${task}' is not one of generate, embed, classify, score, transcription, speech`,
  );
}

function readOrigins(text: string | undefined): readonly string[] {
  if (text === undefined) return [];
  try {
    const parsed: unknown = JSON.parse(text);
    if (Array.isArray(parsed)) return parsed.map(String);
  } catch {
    // Falls through to argparse's own complaint.
  }
  throw new UsageError(
    'usage: vllm serve [model_tag] [options]',
    `vllm serve: error: argument --allowed-origins: invalid loads value: '${text}'`,
  );
}
