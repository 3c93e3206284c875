import { observe, Registry, type Series } from './registry.ts';

const TTFT = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
];
const INTER_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];
const LATENCY = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];
const ITERATION = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384];
const REASONS = ['stop', 'length', 'abort', 'error', 'repetition'] as const;

export type FinishReason = (typeof REASONS)[number];

/** What a finished sequence adds to the counters; times in seconds. */
export interface FinishedSequence {
  readonly reason: FinishReason;
  readonly promptTokens: number;
  readonly generatedTokens: number;
  readonly maxTokens: number;
  readonly queueSeconds: number;
  readonly prefillSeconds: number;
  readonly totalSeconds: number;
}

/** State read at the moment the page is asked for. */
export interface MetricsState {
  readonly running: number;
  readonly waiting: number;
  readonly kvUsage: number;
  readonly sleepLevel: number;
}

/** The `/metrics` page of 0.32: its names, labels, buckets and order. */
export class Metrics {
  private readonly registry = new Registry();
  private readonly model: string;
  private readonly engine: { readonly engine: string; readonly model_name: string };
  private readonly tokenBuckets: readonly number[];
  /** Written with every token. */
  private readonly generation: Series;
  private readonly iterations: Series;
  private readonly interTokens: Series;

  constructor(model: string, maxModelLen: number, cacheConfig: Readonly<Record<string, string>>) {
    this.model = model;
    this.engine = { engine: '0', model_name: model };
    this.tokenBuckets = oneTwoFive(maxModelLen);
    this.appear(cacheConfig);
    const { registry, engine } = this;
    this.generation = registry.series('vllm:generation_tokens', HELP.generation, 'counter', [], engine);
    this.iterations = registry.series('vllm:iteration_tokens_total', HELP.iteration, 'histogram', ITERATION, engine);
    const itl = 'vllm:inter_token_latency_seconds';
    this.interTokens = registry.series(itl, HELP.itl, 'histogram', INTER_TOKEN, engine);
  }

  prompt(tokens: number, cached: number): void {
    this.registry.counter('vllm:prefix_cache_queries', HELP.prefixQueries, this.engine, tokens);
    this.registry.counter('vllm:prefix_cache_hits', HELP.prefixHits, this.engine, cached);
    this.registry.counter('vllm:prompt_tokens', HELP.prompt, this.engine, tokens);
    this.bySource('local_compute', tokens - cached);
    this.bySource('local_cache_hit', cached);
    this.registry.counter('vllm:prompt_tokens_cached', HELP.cached, this.engine, cached);
    this.iteration(tokens);
  }

  generated(tokens: number): void {
    this.generation.value += tokens;
    observe(this.iterations, ITERATION, tokens);
  }

  firstToken(seconds: number): void {
    this.registry.histogram('vllm:time_to_first_token_seconds', HELP.ttft, TTFT, this.engine, seconds);
  }

  interToken(seconds: number): void {
    observe(this.interTokens, INTER_TOKEN, seconds);
  }

  rejected(reason: 'max_num_queued_reqs' | 'max_num_queued_tokens'): void {
    this.registry.counter('vllm:admission_rejections', HELP.rejections, { model_name: this.model, reason }, 1);
  }

  finished(sequence: FinishedSequence): void {
    this.registry.counter(
      'vllm:request_success',
      HELP.success,
      { engine: '0', finished_reason: sequence.reason, model_name: this.model },
      1,
    );
    this.observe(sequence);
  }

  /** Appears with `--enable-lora`; its value is a time. */
  loras(most: unknown, running: readonly string[]): void {
    const labels = { max_lora: String(most ?? 1), running_lora_adapters: running.join(','), waiting_lora_adapters: '' };
    this.registry.gauge('vllm:lora_requests_info', HELP.lora, labels, Date.now() / 1000);
  }

  /** Appears with the first use of sleep or wake. */
  slept(operation: 'sleep' | 'wake_up', seconds: number): void {
    const bounds = [0.01, 0.1, 1, 10, 30, 60, 120, 300, 600];
    this.registry.histogram('vllm:sleep_mode_operation_duration_seconds', HELP.slept, bounds, { operation }, seconds);
    this.registry.gauge('vllm:sleep_mode_operations_in_flight', HELP.slept, { operation }, 0);
  }

  http(
    handler: string,
    method: string,
    status: number,
    requestBytes: number,
    responseBytes: number,
    seconds: number,
  ): void {
    const family = `${Math.floor(status / 100)}xx`;
    this.registry.counter('http_requests', HELP.http, { handler, method, status: family }, 1);
    this.registry.summary('http_request_size_bytes', HELP.httpIn, { handler }, requestBytes);
    this.registry.summary('http_response_size_bytes', HELP.httpOut, { handler }, responseBytes);
    this.registry.histogram('http_request_duration_highr_seconds', HELP.httpHighr, HIGHR, {}, seconds);
    this.registry.histogram(
      'http_request_duration_seconds',
      HELP.httpSeconds,
      [0.1, 0.5, 1],
      { handler, method },
      seconds,
    );
  }

  /** `counters: false` leaves every `vllm:` series out, as `--disable-log-stats` does. */
  render(state: MetricsState, counters: boolean): string {
    const { registry, engine } = this;
    registry.gauge('vllm:num_requests_running', HELP.running, engine, state.running);
    registry.gauge('vllm:num_requests_waiting', HELP.waiting, engine, state.waiting);
    registry.gauge(
      'vllm:num_requests_waiting_by_reason',
      HELP.byReason,
      { ...engine, reason: 'capacity' },
      state.waiting,
    );
    registry.gauge('vllm:num_requests_waiting_by_reason', HELP.byReason, { ...engine, reason: 'deferred' }, 0);
    for (const [level, name] of ['awake', 'weights_offloaded', 'discard_all'].entries()) {
      const labels = { ...engine, sleep_state: name };
      registry.gauge('vllm:engine_sleep_state', HELP.sleep, labels, state.sleepLevel === level ? 1 : 0);
    }
    registry.gauge('vllm:kv_cache_usage_perc', HELP.kv, engine, state.kvUsage);
    registry.gauge('process_resident_memory_bytes', HELP.rss, {}, process.memoryUsage.rss());
    return registry.render((name) => counters || !name.startsWith('vllm:'));
  }

  private iteration(tokens: number): void {
    observe(this.iterations, ITERATION, tokens);
  }

  private bySource(source: string, tokens: number): void {
    this.registry.counter('vllm:prompt_tokens_by_source', HELP.source, { ...this.engine, source }, tokens);
  }

  /** With a sequence, records it; without, makes every per-request histogram appear at zero. */
  private observe(sequence?: FinishedSequence): void {
    const put = (name: string, buckets: readonly number[], value: number | undefined): void => {
      this.registry.histogram(`vllm:${name}`, HELP.request, buckets, this.engine, value);
    };
    const generated = sequence?.generatedTokens;
    const decode =
      sequence === undefined
        ? undefined
        : Math.max(0, sequence.totalSeconds - sequence.queueSeconds - sequence.prefillSeconds);
    put('request_prompt_tokens', this.tokenBuckets, sequence?.promptTokens);
    put('request_generation_tokens', this.tokenBuckets, generated);
    put('request_max_num_generation_tokens', this.tokenBuckets, generated);
    put('request_params_n', [1, 2, 5, 10, 20], sequence === undefined ? undefined : 1);
    put('request_params_max_tokens', this.tokenBuckets, sequence?.maxTokens);
    const perToken =
      decode === undefined || generated === undefined || generated < 2 ? undefined : decode / (generated - 1);
    put('request_time_per_output_token_seconds', INTER_TOKEN, perToken);
    put('e2e_request_latency_seconds', LATENCY, sequence?.totalSeconds);
    put('request_queue_time_seconds', LATENCY, sequence?.queueSeconds);
    put(
      'request_inference_time_seconds',
      LATENCY,
      sequence === undefined ? undefined : sequence.totalSeconds - sequence.queueSeconds,
    );
    put('request_prefill_time_seconds', LATENCY, sequence?.prefillSeconds);
    put('request_decode_time_seconds', LATENCY, decode);
    put('request_num_preemptions', [1, 2, 3, 4, 5, 10, 20], sequence === undefined ? undefined : 0);
    put('request_prefill_kv_computed_tokens', this.tokenBuckets, sequence?.promptTokens);
  }

  private appear(cacheConfig: Readonly<Record<string, string>>): void {
    const { registry, engine } = this;
    registry.gauge(
      'python_info',
      HELP.python,
      { implementation: 'CPython', major: '3', minor: '11', patchlevel: '7', version: '3.11.7' },
      1,
    );
    registry.gauge('process_resident_memory_bytes', HELP.rss, {}, process.memoryUsage.rss());
    registry.gauge('process_start_time_seconds', HELP.started, {}, Math.round(performance.timeOrigin) / 1000);
    for (const name of ['estimated_flops_per_gpu', 'estimated_read_bytes_per_gpu', 'estimated_write_bytes_per_gpu']) {
      registry.counter(`vllm:${name}`, HELP.estimated, engine);
    }
    this.render({ running: 0, waiting: 0, kvUsage: 0, sleepLevel: 0 }, true);
    registry.counter('vllm:prefix_cache_queries', HELP.prefixQueries, engine);
    registry.counter('vllm:prefix_cache_hits', HELP.prefixHits, engine);
    for (const name of [
      'external_prefix_cache_queries',
      'external_prefix_cache_hits',
      'mm_cache_queries',
      'mm_cache_hits',
      'num_preemptions',
    ]) {
      registry.counter(`vllm:${name}`, HELP.cache, engine);
    }
    registry.counter('vllm:prompt_tokens', HELP.prompt, engine);
    for (const source of ['local_compute', 'local_cache_hit', 'external_kv_transfer']) this.bySource(source, 0);
    registry.counter('vllm:prompt_tokens_cached', HELP.cached, engine);
    for (const source of ['device', 'host', 'p2p', 'disk', 'external_unspecified']) {
      registry.counter('vllm:prompt_tokens_cached_by_source', HELP.source, { ...engine, source });
    }
    registry.counter('vllm:generation_tokens', HELP.generation, engine);
    for (const reason of REASONS) {
      registry.counter('vllm:request_success', HELP.success, {
        engine: '0',
        finished_reason: reason,
        model_name: this.model,
      });
    }
    for (const reason of ['max_num_queued_reqs', 'max_num_queued_tokens']) {
      registry.counter('vllm:admission_rejections', HELP.rejections, { model_name: this.model, reason });
    }
    registry.histogram('vllm:iteration_tokens_total', HELP.iteration, ITERATION, engine);
    registry.histogram('vllm:time_to_first_token_seconds', HELP.ttft, TTFT, engine);
    registry.histogram('vllm:inter_token_latency_seconds', HELP.itl, INTER_TOKEN, engine);
    this.observe();
    registry.gauge('vllm:cache_config_info', HELP.config, { engine: '0', ...cacheConfig }, 1);
  }
}

const HIGHR = [0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60];

const HELP = {
  running: 'Requests being generated now.',
  waiting: 'Requests waiting for a slot.',
  byReason: 'Waiting requests by reason.',
  sleep: 'Sleep state of the engine.',
  kv: 'Share of the KV cache in use, 0 to 1.',
  prefixQueries: 'Prompt tokens looked up in the prefix cache.',
  prefixHits: 'Prompt tokens found in the prefix cache.',
  prompt: 'Prompt tokens processed.',
  source: 'Prompt tokens by source.',
  cached: 'Prompt tokens taken from a cache.',
  generation: 'Tokens generated.',
  success: 'Finished requests by reason.',
  rejections: 'Requests refused by a queue limit.',
  iteration: 'Tokens per engine step.',
  ttft: 'Seconds to the first token.',
  itl: 'Seconds between tokens.',
  request: 'Per request, simulated.',
  estimated: 'Always zero here.',
  cache: 'Always zero here.',
  config: 'Settings of the KV cache.',
  lora: 'Adapters of running requests.',
  slept: 'Sleep and wake operations.',
  python: 'Pretended Python.',
  rss: 'Resident memory in bytes.',
  started: 'Start of the process, Unix time.',
  http: 'Requests by route, method and status.',
  httpIn: 'Request bytes by route.',
  httpOut: 'Response bytes by route.',
  httpHighr: 'Seconds of all requests.',
  httpSeconds: 'Seconds by route.',
} as const;

/** 1, 2, 5, 10, … below the limit. */
function oneTwoFive(limit: number): number[] {
  const bounds: number[] = [];
  for (let power = 1; power <= limit; power *= 10) {
    for (const factor of [1, 2, 5]) if (power * factor <= limit) bounds.push(power * factor);
  }
  return bounds;
}
