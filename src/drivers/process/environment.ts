/** What an engine sees of the gateway's environment: an allow-list, so that no secret of the gateway ever gets there. */

type Environment = Readonly<Record<string, string | undefined>>;

const NAMES: ReadonlySet<string> = new Set([
  ...['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'LANGUAGE', 'TZ', 'TMPDIR', 'LD_LIBRARY_PATH', 'LD_PRELOAD'],
  ...['XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_RUNTIME_DIR', 'VIRTUAL_ENV', 'CONDA_PREFIX', 'MALLOC_ARENA_MAX'],
  // Model downloads go through the same proxy and trust the same authorities as everything else on the machine.
  ...['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'no_proxy', 'all_proxy'],
  ...['SSL_CERT_FILE', 'SSL_CERT_DIR', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'HUGGING_FACE_HUB_TOKEN'],
]);

const PREFIXES: readonly string[] = [
  ...['LC_', 'CUDA_', 'NVIDIA_', 'NCCL_', 'UCX_', 'ROCR_', 'ROCM_', 'HIP_', 'HSA_', 'GLOO_', 'TP_SOCKET_'],
  ...['HF_', 'TRANSFORMERS_', 'TORCH', 'PYTORCH_', 'TRITON_', 'FLASHINFER_', 'OMP_', 'MKL_', 'KMP_', 'PYTHON'],
  ...['VLLM_', 'FAKE_VLLM_'],
];

/** Variables that look like vLLM's own but speak to the gateway (in vLLM, VLLM_PORT is even something else). */
const GATEWAY_OWN: ReadonlySet<string> = new Set([
  ...['VLLM_PORT', 'VLLM_IMAGE', 'VLLM_GPU_MEMORY_UTILIZATION', 'VLLM_SWAP_SPACE', 'VLLM_MAX_MODEL_LEN_GLOBAL'],
  ...['VLLM_MAX_NUM_SEQS', 'VLLM_TENSOR_PARALLEL_SIZE', 'VLLM_INACTIVITY_TIMEOUT', 'VLLM_CONTAINER_PREFIX'],
  ...['VLLM_TEMP_DIR', 'VLLM_ENFORCE_EAGER', 'VLLM_NO_CUDAGRAPH', 'VLLM_QUANTIZATION', 'VLLM_DTYPE', 'VLLM_API_KEY'],
]);

export function baseEnvironment(own: Environment): Record<string, string> {
  const base: Record<string, string> = {};
  for (const [name, value] of Object.entries(own)) {
    if (value !== undefined && passes(name)) base[name] = value;
  }
  const token = own['HUGGING_FACE_HUB_TOKEN'];
  if (token !== undefined && token !== '') base['HF_TOKEN'] ??= token;
  // Python's setproctitle writes its title over the environment as others see it, and with it over our marks.
  base['SPT_NOENV'] = '1';
  return base;
}

function passes(name: string): boolean {
  if (GATEWAY_OWN.has(name) || name.startsWith('VLLM_GATEWAY_')) return false;
  return NAMES.has(name) || PREFIXES.some((prefix) => name.startsWith(prefix));
}

/** Variables that say whose a process is; written last, so that nothing overrides them. */
export const MARKS = { replica: 'VGW_REPLICA', gateway: 'VGW_GATEWAY', process: 'VGW_PROCESS' } as const;

/** Names one engine process on this machine, whichever gateways share it. */
export function processMark(gateway: string, replica: { readonly id: string; readonly generation: number }): string {
  return `${gateway}/${replica.id}/${replica.generation}`;
}

export function marks(
  gateway: string,
  replica: { readonly id: string; readonly generation: number },
): Readonly<Record<string, string>> {
  return {
    [MARKS.replica]: replica.id,
    [MARKS.gateway]: gateway,
    [MARKS.process]: processMark(gateway, replica),
  };
}
