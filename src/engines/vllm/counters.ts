/** A few numbers out of a metrics text of a hundred kilobytes, without reading the rest of it. */
import type { EngineCounters } from '../engine.ts';

/** Sum of all samples of exactly this name; null when there is none. Prometheus text format. */
export function sumOf(metrics: string, name: string): number | null {
  let sum: number | null = null;
  for (let at = metrics.indexOf(name); at >= 0; at = metrics.indexOf(name, at + name.length)) {
    const before = at === 0 ? '\n' : metrics[at - 1];
    const after = metrics[at + name.length];
    // Not the middle of a comment, nor the beginning of a longer name.
    if (before !== '\n' || (after !== '{' && after !== ' ')) continue;
    const end = metrics.indexOf('\n', at);
    const line = metrics.slice(at + name.length, end < 0 ? undefined : end);
    const value = Number(
      line
        .slice(line.lastIndexOf('}') + 1)
        .trim()
        .split(' ', 1)[0],
    );
    if (Number.isFinite(value)) sum = (sum ?? 0) + value;
  }
  return sum;
}

export function readCounters(metrics: string): EngineCounters | null {
  const promptTokens = sumOf(metrics, 'vllm:prompt_tokens_total');
  const generationTokens = sumOf(metrics, 'vllm:generation_tokens_total');
  if (promptTokens === null && generationTokens === null) return null;
  return {
    promptTokens: promptTokens ?? 0,
    generationTokens: generationTokens ?? 0,
    // The second name is that of versions up to 0.10.
    kvCacheUsage: sumOf(metrics, 'vllm:kv_cache_usage_perc') ?? sumOf(metrics, 'vllm:gpu_cache_usage_perc') ?? 0,
    running: sumOf(metrics, 'vllm:num_requests_running') ?? 0,
  };
}

/**
 * Tokens of KV cache, of one engine of the server: newer versions say it, older ones say blocks and their size.
 * The labels of `vllm:cache_config_info`, in the Prometheus text format.
 */
export function readKvCacheTokens(metrics: string): number | null {
  for (let at = metrics.indexOf(CACHE_INFO); at >= 0; at = metrics.indexOf(CACHE_INFO, at + CACHE_INFO.length)) {
    if (at > 0 && metrics[at - 1] !== '\n') continue;
    const end = metrics.indexOf('\n', at);
    const labels = metrics.slice(at + CACHE_INFO.length, end < 0 ? undefined : end);
    const number = (name: string): number => Number(new RegExp(`[{,]${name}="(\\d+)"`).exec(`{${labels}`)?.[1]);
    const tokens = number('kv_cache_size_tokens');
    if (tokens > 0) return tokens;
    const product = number('num_gpu_blocks') * number('block_size');
    if (product > 0 && Number.isSafeInteger(product)) return product;
  }
  return null;
}

const CACHE_INFO = 'vllm:cache_config_info{';
