/** Everything `FAKE_VLLM_*` sets. Durations in milliseconds of real time, memory in MiB. */
export interface Knobs {
  readonly startMs: number;
  /** Changed while running by the control route. */
  ttftMs: number;
  tokenMs: number;
  tokens: number;
  readonly label: string;
  readonly vramFile: string | undefined;
  /** Null = for ever. */
  readonly vramReleaseMs: number | null;
  readonly weightsMib: number;
  readonly activationMib: number;
  readonly contextMib: number;
  readonly graphsMib: number;
  /** Held while it compiles and measures, on top of everything else. */
  readonly spikeMib: number;
  /** Time that weights take to arrive when nobody fetched them before. */
  readonly downloadMs: number;
  /** Where fetched models are remembered. */
  readonly cacheDir: string | undefined;
  readonly sleepResidualMib: number;
  readonly kvBytesPerToken: number;
  readonly modelLen: number | undefined;
  readonly logEveryMs: number;
  readonly speed: number;
  readonly processes: number;
  readonly orphanMaxMs: number;
  readonly control: boolean;
  readonly task: string;
  readonly multimodal: boolean;
  readonly fault: string;
}

export function readKnobs(env: NodeJS.ProcessEnv): Knobs {
  const number = (name: string, fallback: number): number => {
    const text = env[`FAKE_VLLM_${name}`];
    if (text === undefined || text === '') return fallback;
    const value = Number(text);
    if (!Number.isFinite(value) || value < 0) throw new Error(`fake-vllm: FAKE_VLLM_${name}='${text}' is not a number`);
    return value;
  };
  const text = (name: string): string | undefined => {
    const value = env[`FAKE_VLLM_${name}`];
    return value === undefined || value === '' ? undefined : value;
  };
  const modelLen = number('MODEL_LEN', 0);
  return {
    startMs: number('START_MS', 2000),
    ttftMs: number('TTFT_MS', 30),
    tokenMs: number('TOKEN_MS', 20),
    tokens: number('TOKENS', 16),
    label: text('LABEL') ?? '',
    vramFile: text('VRAM_FILE'),
    vramReleaseMs: text('VRAM_RELEASE_MS') === 'never' ? null : number('VRAM_RELEASE_MS', 0),
    weightsMib: number('WEIGHTS_MIB', 4096),
    activationMib: number('ACTIVATION_MIB', 512),
    contextMib: number('CONTEXT_MIB', 450),
    graphsMib: number('GRAPHS_MIB', 256),
    spikeMib: number('SPIKE_MIB', 0),
    downloadMs: number('DOWNLOAD_MS', 0),
    cacheDir: text('CACHE_DIR'),
    sleepResidualMib: number('SLEEP_RESIDUAL_MIB', 1100),
    kvBytesPerToken: number('KV_BYTES_PER_TOKEN', 16_384),
    modelLen: modelLen === 0 ? undefined : modelLen,
    logEveryMs: number('LOG_EVERY_MS', 0),
    speed: Math.max(number('SPEED', 1), 0.001),
    processes: number('PROCESSES', 1),
    orphanMaxMs: number('ORPHAN_MAX_MS', 600_000),
    control: text('CONTROL') === '1',
    task: text('TASK') ?? '',
    multimodal: text('MULTIMODAL') === '1',
    fault: text('FAULT') ?? '',
  };
}
