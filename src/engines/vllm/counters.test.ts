import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readCounters, readKvCacheTokens, sumOf } from './counters.ts';

const recorded = readFileSync(new URL('../../../test/fixtures/vllm/metrics.http', import.meta.url), 'utf8');

describe('counters of an engine', () => {
  it('are read out of what a real one answers', () => {
    expect(readCounters(recorded)).toEqual({
      promptTokens: 954,
      generationTokens: 1014,
      kvCacheUsage: 0,
      running: 0,
    });
  });

  it('are added up over engines of one server, in any notation of numbers', () => {
    const text = [
      '# HELP vllm:prompt_tokens_total Number of prefill tokens processed.',
      '# TYPE vllm:prompt_tokens_total counter',
      'vllm:prompt_tokens_total{engine="0",model_name="a } b"} 1.5e+06',
      'vllm:prompt_tokens_total{engine="1",model_name="a } b"} 2',
      'vllm:prompt_tokens_total_created{engine="0"} 99',
      'vllm:kv_cache_usage_perc{engine="0"} 0.25',
      'vllm:num_requests_running 3',
      'vllm:generation_tokens_total{engine="0"} 7',
    ].join('\n');
    expect(readCounters(text)).toEqual({
      promptTokens: 1_500_002,
      generationTokens: 7,
      kvCacheUsage: 0.25,
      running: 3,
    });
  });

  it('are none where a server has none', () => {
    expect(readCounters('')).toBeNull();
    expect(readCounters('http_requests_total 3\n')).toBeNull();
    expect(sumOf('vllm:x NaN\n', 'vllm:x')).toBeNull();
  });

  it('are found anywhere in a large text', () => {
    const large = 'other_series{label="value"} 1\n'.repeat(20_000);
    expect(readCounters(`${large}${recorded}${large}`)).toEqual(readCounters(recorded));
  });
});

describe('size of the KV cache', () => {
  it('is read out of what a real one answers', () => {
    expect(readKvCacheTokens(recorded)).toBe(65_536);
  });

  it('is blocks times their size where a version says no tokens', () => {
    const line =
      'vllm:cache_config_info{block_size="16",cache_dtype="auto",num_gpu_blocks="2904",num_cpu_blocks="None"} 1.0';
    expect(readKvCacheTokens(`# HELP vllm:cache_config_info x\n${line}\n`)).toBe(46_464);
  });

  it.each([
    '',
    'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0',
    '# TYPE vllm:cache_config_info{ gauge',
  ])('is unknown in %j', (metrics) => {
    expect(readKvCacheTokens(metrics)).toBeNull();
  });
});
