import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { GIB } from '../../units.ts';
import { readMemoryReport } from './memory-report.ts';

const recorded = readFileSync(
  new URL('../../../test/fixtures/vllm/logs/start-to-first-request.txt', import.meta.url),
  'utf8',
);

describe('what an engine says of its memory', () => {
  it('is read out of a start of 0.32', () => {
    expect(
      readMemoryReport([
        '(EngineCore pid=7) INFO 08-14 14:07:22 [gpu_model_runner.py:4597] Model loading took 14.99 GiB memory and 3.211220 seconds',
        '(EngineCore pid=7) INFO 08-14 14:07:52 [gpu_worker.py:459] Available KV cache memory: 5.67 GiB',
        '(EngineCore pid=7) INFO 08-14 14:07:52 [kv_cache_utils.py:2327] GPU KV cache size: 46,464 tokens, Maximum concurrency for 8,192 tokens per request: 5.67x',
        '(EngineCore pid=7) INFO 08-14 14:08:12 [gpu_model_runner.py:5543] Graph capturing finished in 17 secs, took 0.48 GiB',
      ]),
    ).toEqual({
      weightBytes: Math.round(14.99 * GIB),
      kvCacheBytes: Math.round(5.67 * GIB),
      kvCacheTokens: 46_464,
      graphBytes: Math.round(0.48 * GIB),
    });
  });

  it('is read out of older ones, whose words were others', () => {
    expect(
      readMemoryReport([
        'INFO 07-15 10:00:00 [gpu_model_runner.py:1770] Model loading took 14.9596 GB and 3.2 seconds',
        'INFO 07-15 10:00:00 [gpu_worker.py:227] Available KV cache memory: 112.61 GiB',
        'INFO 07-15 10:00:00 [kv_cache_utils.py:715] GPU KV cache size: 922,496 tokens',
        'INFO 07-15 10:00:00 [kv_cache_utils.py:719] Maximum concurrency for 40,000 tokens per request: 23.06x',
        'INFO 07-15 10:00:00 [gpu_model_runner.py:2340] Graph capturing finished in 20 secs, took 0.56 GiB',
      ]),
    ).toMatchObject({
      weightBytes: Math.round(14.9596 * GIB),
      kvCacheBytes: Math.round(112.61 * GIB),
      kvCacheTokens: 922_496,
    });
  });

  it('is the size that was given, when nothing was measured', () => {
    const line =
      '(EngineCore pid=7) INFO 08-14 14:07:52 [gpu_worker.py:240] Initial free memory 22.80 GiB, reserved 4.50 GiB memory for KV Cache as specified by kv_cache_memory_bytes config and skipped memory profiling.';
    expect(readMemoryReport([line]).kvCacheBytes).toBe(4.5 * GIB);
  });

  it('is the largest of the devices that one engine spans, and the fewest tokens', () => {
    const lines = [14.5, 15, 14.75].map(
      (gib) => `(Worker_TP0 pid=7) INFO 08-14 14:07:22 [x.py:1] Model loading took ${gib} GiB memory`,
    );
    const tokens = [65_536, 65_520].map(
      (count) => `(Worker pid=7) INFO 08-14 14:07:22 [x.py:1] GPU KV cache size: ${count} tokens`,
    );
    expect(readMemoryReport([...lines, ...tokens])).toMatchObject({ weightBytes: 15 * GIB, kvCacheTokens: 65_520 });
  });

  it('is that of the last start in a log', () => {
    const start = 'INFO 11-22 13:26:32 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: x';
    const loaded = (gib: number): string => `INFO 11-22 13:26:32 [x.py:1] Model loading took ${gib} GiB memory`;
    expect(readMemoryReport([start, loaded(20), start, loaded(10)]).weightBytes).toBe(10 * GIB);
    expect(readMemoryReport([start, loaded(20), start]).weightBytes).toBeNull();
  });

  it('is nothing where it says nothing, or less than nothing', () => {
    expect(readMemoryReport([])).toEqual({
      weightBytes: null,
      kvCacheBytes: null,
      kvCacheTokens: null,
      graphBytes: null,
    });
    expect(readMemoryReport(['Available KV cache memory: -1.20 GiB']).kvCacheBytes).toBeNull();
    expect(
      readMemoryReport(['a prompt: Model loading took 3 GiB', 'Model loading took 1e999 GiB']).weightBytes,
    ).toBeNull();
  });

  it('is the size of the cache in a recorded start without a GPU', () => {
    const lines = recorded.split('\n').map((line) => line.replace(/^\[\s*[\d.]+\] /, ''));
    expect(readMemoryReport(lines)).toMatchObject({ kvCacheTokens: 65_536 });
  });
});
