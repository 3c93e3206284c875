import type { App } from './app.ts';
import { VERSION } from './app.ts';
import type { FlagValue } from './argv.ts';
import { frameworkTrace } from './tracebacks.ts';

/** The lines of 0.32, in its words. */

const SITE = '/usr/lib/python3.11/site-packages';

export function banner(app: App): void {
  const say = (text: string): void => app.log.line(app.api, 'INFO', 'api_utils.py:347', text);
  say('');
  say('       █     █     █▄   ▄█');
  say(` ▄▄ ▄█ █     █     █ ▀▄▀ █  version ${VERSION}`);
  say(`  █▄█▀ █     █     █     █  model   ${app.options.repo}`);
  say('   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀');
  say('');
  const { given, repo } = app.options;
  const shown: Record<string, FlagValue> = { model_tag: repo };
  for (const [name, value] of given) shown[name.replaceAll('-', '_')] = name === 'api-key' ? ['***'] : value;
  shown['model'] = repo;
  app.log.line(app.api, 'INFO', 'api_utils.py:286', `non-default args: ${pythonDict(shown)}`);
}

function pythonDict(values: Readonly<Record<string, FlagValue>>): string {
  return `{${Object.entries(values)
    .map(([name, value]) => `'${name}': ${python(value)}`)
    .join(', ')}}`;
}

function python(value: FlagValue): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return `'${value}'`;
  return `[${value.map((item) => `'${item}'`).join(', ')}]`;
}

export function configLines(app: App): void {
  const { options, log, api } = app;
  log.line(api, 'INFO', 'model.py:733', 'Resolved architecture: LlamaForCausalLM');
  log.line(api, 'INFO', 'model.py:2152', `Using max model len ${options.maxModelLen}`);
  if (options.enforceEager) {
    const text =
      'Enforce eager set, disabling torch.compile, CUDAGraphs, and JIT kernel warmup. This is equivalent to setting -cc.mode=none -cc.cudagraph_mode=none and --kernel_config.enable_jit_warmup=False';
    log.line(api, 'WARNING', 'vllm.py:1703', text);
  }
}

export function engineLines(app: App): void {
  const { options, log, engineSpeaker } = app;
  const model = `model='${options.repo}', speculative_config=None, tokenizer='${options.repo}'`;
  const rest = `max_seq_len=${options.maxModelLen}, tensor_parallel_size=${options.tensorParallelSize}, enforce_eager=${options.enforceEager ? 'True' : 'False'}`;
  log.line(
    engineSpeaker,
    'INFO',
    'core.py:133',
    `Initializing a V1 LLM engine (v${VERSION}) with config: ${model}, ${rest}`,
  );
  const ranks =
    'rank 0 in world size 1 is assigned as DP rank 0, PP rank 0, PCP rank 0, TP rank 0, ETP rank 0, EP rank N/A, EPLB rank N/A';
  log.line(engineSpeaker, 'INFO', 'parallel_state.py:2350', ranks);
}

export function loadStarts(app: App): void {
  app.log.line(app.engineSpeaker, 'INFO', 'gpu_model_runner.py:4512', `Starting to load model ${app.options.repo}...`);
}

export function loadProgress(app: App, done: number, total: number, seconds: number): void {
  app.log.progress('Loading safetensors checkpoint shards', done, total, seconds);
}

export function loadEnds(app: App, seconds: number): void {
  const { log, engineSpeaker, knobs } = app;
  log.line(engineSpeaker, 'INFO', 'default_loader.py:391', `Loading weights took ${seconds.toFixed(2)} seconds`);
  const gib = (knobs.weightsMib / 1024 / app.options.tensorParallelSize).toFixed(2);
  const text = `Model loading took ${gib} GiB memory and ${seconds.toFixed(6)} seconds`;
  log.line(engineSpeaker, 'INFO', 'gpu_model_runner.py:4597', text);
}

export function compileLines(app: App, seconds: number): void {
  if (app.options.enforceEager) return;
  const { log, engineSpeaker } = app;
  const cache = '/root/.cache/vllm/torch_compile_cache/simulated/rank_0_0/backbone';
  log.line(engineSpeaker, 'INFO', 'backends.py:916', `Using cache directory: ${cache} for vLLM's torch.compile`);
  log.line(engineSpeaker, 'INFO', 'backends.py:976', `Dynamo bytecode transform time: ${(seconds / 2).toFixed(2)} s`);
  log.line(engineSpeaker, 'INFO', 'monitor.py:35', `torch.compile took ${seconds.toFixed(2)} s in total`);
}

export function profileLines(app: App, kvGib: number): void {
  const { log, engineSpeaker, options, knobs, vram } = app;
  if (options.kvCacheBytes !== undefined) {
    const free = ((vram?.firstFreeAtStart ?? 0) / 1024).toFixed(2);
    const text = `Initial free memory ${free} GiB, reserved ${kvGib.toFixed(2)} GiB memory for KV Cache as specified by kv_cache_memory_bytes config and skipped memory profiling. This does not respect the gpu_memory_utilization config. Only use kv_cache_memory_bytes config when you want manual control of KV cache memory size. If OOM'ed, check the difference of initial free memory between the current run and the previous run where kv_cache_memory_bytes is suggested and update it correspondingly.`;
    log.line(engineSpeaker, 'INFO', 'gpu_worker.py:431', text);
    return;
  }
  if (!options.enforceEager) {
    const text = `Estimated CUDA graph memory: ${(knobs.graphsMib / 1024).toFixed(2)} GiB total`;
    log.line(engineSpeaker, 'INFO', 'gpu_model_runner.py:5480', text);
  }
  log.line(engineSpeaker, 'INFO', 'gpu_worker.py:459', `Available KV cache memory: ${kvGib.toFixed(2)} GiB`);
}

export function downloadProgress(app: App, done: number, total: number): void {
  const percent = Math.round((done / total) * 100);
  app.log.bar(
    `model.safetensors: ${String(percent).padStart(3)}%|${'#'.repeat(done)}| ${done}.0G/${total}.0G`,
    done === total,
  );
}

export function downloadEnds(app: App, seconds: number): void {
  const text = `Time spent downloading weights for ${app.options.repo}: ${seconds.toFixed(6)} seconds`;
  app.log.line(app.engineSpeaker, 'INFO', 'weight_utils.py:496', text);
}

export function kvLines(app: App, tokens: number): void {
  const { maxModelLen } = app.options;
  const comma = (value: number): string => value.toLocaleString('en-US');
  const concurrency = (tokens / maxModelLen).toFixed(2);
  const text = `GPU KV cache size: ${comma(tokens)} tokens, Maximum concurrency for ${comma(maxModelLen)} tokens per request: ${concurrency}x`;
  app.log.line(app.engineSpeaker, 'INFO', 'kv_cache_utils.py:2327', text);
}

export function graphProgress(app: App, done: number, total: number, seconds: number): void {
  if (!app.options.enforceEager) {
    app.log.progress('Capturing CUDA graphs (mixed prefill-decode, PIECEWISE)', done, total, seconds);
  }
}

export function graphsEnd(app: App, seconds: number): void {
  const { log, engineSpeaker, knobs, options } = app;
  if (!options.enforceEager) {
    const gib = (knobs.graphsMib / 1024).toFixed(2);
    const text = `Graph capturing finished in ${Math.round(seconds)} secs, took ${gib} GiB`;
    log.line(engineSpeaker, 'INFO', 'gpu_model_runner.py:5543', text);
  }
  if (app.vram !== undefined && options.kvCacheBytes === undefined) usageLine(app);
  const text = `init engine (profile, create kv cache, warmup model) took ${seconds.toFixed(2)} s`;
  log.line(engineSpeaker, 'INFO', 'core.py:402', text);
}

/** What an engine that measured says in the end: what it took, and the size of KV cache with which it need not measure. */
function usageLine(app: App): void {
  const { knobs, options, vram } = app;
  if (vram === undefined) return;
  const gib = (mib: number): string => (mib / 1024).toFixed(2);
  const { total, free } = vram.first;
  const weights = knobs.weightsMib / options.tensorParallelSize;
  const graphs = options.enforceEager ? 0 : knobs.graphsMib;
  const wanted = total * options.gpuMemoryUtilization;
  const fits = Math.max(0, wanted - weights - knobs.activationMib - graphs - 150);
  const parts = [
    `Free memory on device (${gib(vram.firstFreeAtStart)}/${gib(total)} GiB) on startup.`,
    `Desired GPU memory utilization is (${options.gpuMemoryUtilization}, ${gib(wanted)} GiB).`,
    `Actual usage is ${gib(weights)} GiB for consumed memory (weights + non-torch), ${gib(knobs.activationMib + knobs.spikeMib)} GiB for peak activation, and ${gib(graphs)} GiB for CUDAGraph memory.`,
    `Replace gpu_memory_utilization config with \`--kv-cache-memory=${Math.floor(fits * 1024 * 1024)}\` (${gib(fits)} GiB) to fit into requested memory, or \`--kv-cache-memory=${Math.floor((fits + free) * 1024 * 1024)}\` (${gib(fits + free)} GiB) to fully utilize gpu memory.`,
    `Current kv cache memory in use is ${gib(vram.kvMib)} GiB.`,
  ];
  app.log.line(app.engineSpeaker, 'INFO', 'gpu_worker.py:789', parts.join(' '));
}

export function serveLines(app: App, routes: readonly string[]): void {
  const { log, api, options } = app;
  log.line(api, 'INFO', 'entry.py:136', `Supported tasks: ['${options.task}']`);
  const where = options.uds === undefined ? `http://${options.host}:${options.port}` : `unix:${options.uds}`;
  log.line(api, 'INFO', 'entry.py:140', `Starting vLLM server on ${where}`);
  log.line(api, 'INFO', 'launcher.py:186', 'Available routes are:');
  for (const route of routes) log.line(api, 'INFO', 'launcher.py:195', `Route: ${route}`);
  log.error(`INFO:     Started server process [${process.pid}]`);
  log.error('INFO:     Waiting for application startup.');
  log.error('INFO:     Application startup complete.');
}

/** The first lines of a stop, up to the moment the engine is told. */
export function shutdownStarts(app: App, mode: 'abort' | 'drain'): void {
  const { log, api, options } = app;
  const timeout = `timeout=${options.shutdownTimeout}s`;
  log.line(api, 'INFO', 'launcher.py:254', '[shutdown] API server: shutdown triggered');
  log.line(api, 'INFO', 'launcher.py:270', `[shutdown] API server: stopping engine client mode=${mode} ${timeout}`);
  log.line(api, 'INFO', 'core_client.py:770', `[shutdown] MPClient: start ${timeout}`);
  log.line(api, 'INFO', 'core_client.py:772', '[shutdown] MPClient: stopping engine manager');
  log.line(api, 'INFO', 'utils.py:628', '[shutdown] Process manager: send sigterm to process EngineCore');
}

export function engineForced(app: App): void {
  const { log, api, engineSpeaker } = app;
  log.line(api, 'WARNING', 'utils.py:648', '[shutdown] Process manager: force killing remaining processes count=1');
  const text = `[shutdown] Process manager: force killing remaining process EngineCore pid ${engineSpeaker.pid}`;
  log.line(api, 'WARNING', 'utils.py:653', text);
}

export function engineAborts(app: App, count: number): void {
  const text = `[shutdown] EngineCore: aborting in-flight requests count=${count}`;
  app.log.line(app.engineSpeaker, 'INFO', 'core.py:1644', text);
}

export function clientStopped(app: App): void {
  const { log, api } = app;
  log.line(api, 'INFO', 'core_client.py:774', '[shutdown] MPClient: engine manager stopped');
  log.line(api, 'INFO', 'core_client.py:775', '[shutdown] MPClient: cleaning up background resources');
  log.line(api, 'INFO', 'core_client.py:777', '[shutdown] MPClient: complete');
  log.line(api, 'INFO', 'launcher.py:279', '[shutdown] API server: engine client stopped');
  log.line(api, 'INFO', 'launcher.py:282', '[shutdown] API server: signalling HTTP server shutdown');
  log.line(api, 'INFO', 'launcher.py:304', '[shutdown] API server: shutting down FastAPI HTTP server');
  log.error('INFO:     Shutting down');
}

export function waitsForClients(app: App): void {
  app.log.error('INFO:     Waiting for connections to close. (CTRL+C to force quit)');
}

export function finalLines(app: App, shuttingDown: boolean): void {
  if (!shuttingDown) app.log.error('INFO:     Shutting down');
  app.log.error('INFO:     Waiting for application shutdown.');
  app.log.error('INFO:     Application shutdown complete.');
  app.log.error(
    '/usr/lib/python3.11/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked shared_memory objects to clean up at shutdown',
  );
}

export function deathOfEngine(app: App): void {
  const { log, api } = app;
  const lines: readonly [string, string, string][] = [
    ['WARNING', 'core_client.py:817', '[shutdown] MPClient: engine core exited unexpectedly; starting cleanup'],
    ['INFO', 'core_client.py:777', '[shutdown] MPClient: complete'],
    ['ERROR', 'async_llm.py:906', 'AsyncLLM output_handler failed.'],
    ['ERROR', 'async_llm.py:906', 'Traceback (most recent call last):'],
    ['ERROR', 'async_llm.py:906', `  File "${SITE}/vllm/v1/engine/async_llm.py", line 849, in output_handler`],
    ['ERROR', 'async_llm.py:906', '    outputs = await engine_core.get_output_async()'],
    [
      'ERROR',
      'async_llm.py:906',
      'vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.',
    ],
  ];
  for (const [level, source, text] of lines) log.line(api, level, source, text);
}

export function interrupted(app: App): void {
  app.log.error(`${frameworkTrace()}\n    raise KeyboardInterrupt("terminated")\nKeyboardInterrupt: terminated`);
}
