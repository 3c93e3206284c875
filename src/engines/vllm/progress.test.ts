import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readProgress, readVersion } from './progress.ts';

const LOGS = new URL('../../../test/fixtures/vllm/logs/', import.meta.url);

/** The recording of a start stamps each line with seconds; nothing of that is in the engine's own log. */
function lines(name: string): string[] {
  return readFileSync(new URL(name, LOGS), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^\[\s*[\d.]+\] /, ''));
}

function phases(name: string): string[] {
  const seen: string[] = [];
  for (const line of lines(name)) {
    const progress = readProgress(line);
    if (progress !== null && progress.phase !== seen.at(-1)) seen.push(progress.phase);
  }
  return seen;
}

describe('progress of a start', () => {
  it('follows a recorded start from its first words to the open port', () => {
    expect(phases('start-to-first-request.txt')).toEqual(['config', 'engine', 'load', 'kv', 'serve']);
  });

  it('goes forward only, in every recorded log', () => {
    const order = ['config', 'engine', 'download', 'load', 'compile', 'profile', 'kv', 'graphs', 'serve'];
    for (const name of readdirSync(LOGS)) {
      const seen = phases(name).map((phase) => order.indexOf(phase));
      expect(seen, name).toEqual(seen.toSorted((one, other) => one - other));
      expect(seen, name).not.toContain(-1);
    }
  });

  it.each([
    ['Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:03,  1.00s/it]', 'load', 0.25],
    ['Loading pt checkpoint shards: 100% Completed | 4/4', 'load', 1],
    [
      '(EngineCore pid=1) Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  40%|████      | 14/35',
      'graphs',
      0.4,
    ],
    ['Fetching 4 files:  50%|█████     | 2/4 [00:10<00:10,  5.00s/it]', 'download', 0.5],
    ['model-00001-of-00004.safetensors:  34%|███▍      | 1.69G/4.98G [00:10<00:20, 160MB/s]', 'download', 0.34],
    [
      '(EngineCore pid=7) INFO 08-14 14:07:22 [gpu_model_runner.py:1] Model loading took 14.99 GiB memory and 3 seconds',
      'compile',
      null,
    ],
    ['(EngineCore pid=7) INFO 08-14 14:07:22 [gpu_worker.py:1] Available KV cache memory: 5.67 GiB', 'kv', null],
    ['INFO:     Application startup complete.', 'serve', null],
  ])('reads %s', (line, phase, fraction) => {
    expect(readProgress(line)).toMatchObject({ phase, fraction });
  });

  it('reads a simulated engine, which says in every line that it is one, as it reads vLLM', () => {
    for (const line of lines('start-to-first-request.txt')) {
      expect(readProgress(`simulated ${line}`), line).toEqual(readProgress(line));
    }
    const version =
      '(EngineCore pid=7) INFO 08-14 14:07:22 [core.py:1] Initializing a V1 LLM engine (v0.32.0) with config: x';
    expect(readVersion(`simulated ${version}`)).toBe('0.32.0');
  });

  it.each(['', 'INFO:     127.0.0.1:1 - "POST /v1/completions HTTP/1.1" 200 OK', 'a prompt that says 50%| of it'])(
    'sees nothing in %j',
    (line) => {
      expect(readProgress(line)).toBeNull();
    },
  );

  it('passes what the start gate waits for, in a recorded start: first loading, then profiled', () => {
    const passed = lines('start-to-first-request.txt').flatMap((line) => readProgress(line)?.milestone ?? []);
    expect(passed).toEqual(['loading', 'profiled']);
  });

  it.each([
    ['INFO 07-15 10:00:00 [gpu_model_runner.py:1770] Starting to load model a/b...', 'loading'],
    ['(EngineCore_0 pid=9) INFO 08-19 14:58:40 [gpu_worker.py:277] Available KV cache memory: 112.61 GiB', 'profiled'],
    ['(EngineCore_0 pid=9) INFO 08-19 14:58:40 [kv_cache_utils.py:849] GPU KV cache size: 922,496 tokens', 'profiled'],
    [
      '(EngineCore pid=9) INFO 08-19 14:58:40 [gpu_worker.py:240] Initial free memory 22.80 GiB, reserved 4.00 GiB memory for KV Cache as specified by kv_cache_memory_bytes config and skipped memory profiling.',
      'profiled',
    ],
    // One of several workers: the others may still be measuring.
    ['(Worker_TP1 pid=9) INFO 08-19 14:58:40 [gpu_worker.py:277] Available KV cache memory: 112.61 GiB', null],
    ['INFO 03-01 10:00:00 [executor_base.py:112] # cuda blocks: 27540, # CPU blocks: 2048', 'profiled'],
    ['(EngineCore pid=7) INFO 08-14 14:07:22 [gpu_model_runner.py:1] Model loading took 14.99 GiB memory', null],
  ])('passes a milestone with %s', (line, milestone) => {
    expect(readProgress(line)?.milestone).toBe(milestone);
  });

  it('tells which version starts', () => {
    expect(lines('start-to-first-request.txt').flatMap((line) => readVersion(line) ?? [])).toEqual(['0.32.0']);
    expect(
      readVersion(
        'INFO 09-03 16:28:23 [core.py:75] Initializing a V1 LLM engine (v0.10.2.dev378+g4d7fe40fc) with config: x',
      ),
    ).toBe('0.10.2.dev378+g4d7fe40fc');
    expect(readVersion('a prompt about an LLM engine (v9)')).toBeNull();
  });
});
