import type { ServeOptions } from './options.ts';

/** What nothing here depends on: the values a plain start shows. */
const CONSTANT = `
_block_size_resolved=True cache_dtype=auto cache_hit_alignment_tokens=None effective_attention_block_size=16
enable_mamba_shared_prefix_checkpoint=False hash_block_size=None is_attention_free=False kv_cache_dtype_skip_layers=[]
kv_cache_layout=None kv_offloading_backend=native kv_offloading_size=None kv_sharing_fast_prefill=False
mamba_block_size=None mamba_cache_dtype=auto mamba_cache_mode=none mamba_page_size_padded=None
mamba_ssm_cache_dtype=auto num_cpu_blocks=None num_gpu_blocks_override=None prefix_cache_retention_interval=0
prefix_caching_hash_algo=sha256 prefix_match_unit=None replayssm_buffer_len=16 skip_page_size_padded=None
sliding_window=None swa_bounded_replay=True use_kda_recoverssm=False use_replayssm=False
user_specified_block_size=False
`;

/** Labels of `vllm:cache_config_info`: the real size of the KV cache can be read from it. */
export function cacheConfig(options: ServeOptions, tokens: number): Record<string, string> {
  const constant = CONSTANT.trim()
    .split(/\s+/)
    .map((pair): [string, string] => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]);
  const concurrency = tokens / options.maxModelLen;
  return {
    ...Object.fromEntries(constant),
    block_size: '16',
    enable_prefix_caching: options.given.get('enable-prefix-caching') === false ? 'False' : 'True',
    gpu_memory_utilization: String(options.gpuMemoryUtilization),
    kv_cache_max_concurrency: Number.isInteger(concurrency) ? `${concurrency}.0` : String(concurrency),
    kv_cache_memory_bytes: options.kvCacheBytes === undefined ? 'None' : String(options.kvCacheBytes),
    kv_cache_size_tokens: String(tokens),
    num_gpu_blocks: String(Math.floor(tokens / 16)),
  };
}
