import type { App } from './app.ts';

const SITE = '/usr/lib/python3.11/site-packages';

/** The outer frames every failed start of 0.32 prints before its own error. */
export function frameworkTrace(): string {
  return [
    'Traceback (most recent call last):',
    '  File "/usr/bin/vllm", line 8, in <module>',
    '    sys.exit(main())',
    '             ^^^^^^',
    `  File "${SITE}/vllm/entrypoints/cli/main.py", line 120, in main`,
    '    args.dispatch_function(args)',
    `  File "${SITE}/vllm/entrypoints/cli/serve.py", line 156, in cmd`,
    '    uvloop.run(run_server(args))',
    `  File "${SITE}/vllm/entrypoints/launchers/api_server/entry.py", line 177, in run_server`,
    '    await run_server_worker(listen_address, sock, args, **uvicorn_kwargs)',
  ].join('\n');
}

/** A failure of the API server itself: before any engine process exists. */
export function serverFails(app: App, error: string): void {
  app.log.error(`${frameworkTrace()}\n${error}`);
}

export const portInUse = `  File "${SITE}/vllm/entrypoints/launchers/launcher.py", line 348, in create_server_socket
    sock.bind(addr)
OSError: [Errno 98] Address already in use`;

/** A failure of EngineCore: its root cause first, then the generic wrapper the API server ends with. */
export function coreFails(app: App, rootCause: string): void {
  const say = (text: string): void => app.log.line(app.engineSpeaker, 'ERROR', 'core.py:1510', text);
  say('EngineCore failed to start.');
  say('Traceback (most recent call last):');
  say(`  File "${SITE}/vllm/v1/engine/core.py", line 1482, in run_engine_core`);
  say('    engine_core = EngineCoreProc(*args, engine_index=dp_rank, **kwargs)');
  for (const line of rootCause.split('\n')) say(line);
  app.log.error('Process EngineCore:');
  serverFails(
    app,
    `  File "${SITE}/vllm/v1/engine/utils.py", line 1431, in wait_for_engine_startup
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}`,
  );
}

export const NO_KV_MEMORY =
  'ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine (this flag also controls CPU memory reservation on the CPU backend, despite its name). See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details.';

export function kvTooSmall(maxModelLen: number, needed: number, available: number, fits: number): string {
  return `ValueError: To serve at least one request with the model's max seq len (${maxModelLen}), (${needed.toFixed(2)} GiB KV cache is needed, which is larger than the available KV cache memory (${available.toFixed(2)} GiB). Based on the available memory, the estimated maximum model length is ${fits}. Try increasing \`gpu_memory_utilization\` or decreasing \`max_model_len\` when initializing the engine.`;
}

export function noFreeMemory(free: number, total: number, utilization: number, wanted: number): string {
  return `ValueError: Free memory on device cuda:0 (${free.toFixed(2)}/${total.toFixed(2)} GiB) on startup is less than desired GPU memory utilization (${utilization}, ${wanted.toFixed(2)} GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.`;
}

export function profilingRace(before: number, now: number): string {
  return `AssertionError: Error in memory profiling. Initial free memory ${before.toFixed(2)} GiB, current free memory ${now.toFixed(2)} GiB. This happens when other processes sharing the same container release GPU memory while vLLM is profiling during initialization. To fix this, ensure consistent GPU memory allocation or isolate vLLM in its own container.`;
}

export function outOfMemory(wantedMib: number, totalGib: number, freeMib: number): string {
  const size = wantedMib >= 1024 ? `${(wantedMib / 1024).toFixed(2)} GiB` : `${wantedMib.toFixed(2)} MiB`;
  return `torch.OutOfMemoryError: CUDA out of memory. Tried to allocate ${size}. GPU 0 has a total capacity of ${totalGib.toFixed(2)} GiB of which ${freeMib.toFixed(2)} MiB is free. Process has memory in use. See documentation for Memory Management  (https://docs.pytorch.org/docs/stable/notes/cuda.html#environment-variables)`;
}

export function noModel(repo: string): string {
  if (repo.startsWith('/') || repo.startsWith('.')) {
    return `huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '${repo}'. Use \`repo_type\` argument if needed.`;
  }
  return 'huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the specified revision on the local disk and outgoing traffic has been disabled.';
}

export function noWeights(repo: string): string {
  return `RuntimeError: Cannot find any model weights with \`${repo}\``;
}

export function tooLong(asked: number, derived: number): string {
  return `pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (${asked}) is greater than the derived max_model_len (max_position_embeddings=${derived}.0 or model_max_length=None in model's config.json). To allow overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1.
    For further information visit https://errors.pydantic.dev/2.14/v/value_error`;
}

export const AUTO_TOOL_WITHOUT_PARSER = `Traceback (most recent call last):
  File "/usr/bin/vllm", line 8, in <module>
    sys.exit(main())
             ^^^^^^
  File "${SITE}/vllm/entrypoints/cli/main.py", line 117, in main
    cmd.validate(args)
  File "${SITE}/vllm/entrypoints/launchers/cli_args.py", line 524, in validate_parsed_serve_args
    raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")
TypeError: Error: --enable-auto-tool-choice requires --tool-call-parser`;
