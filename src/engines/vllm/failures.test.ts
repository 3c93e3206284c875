import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { StartFailureCause } from '../../errors.ts';
import { GIB } from '../../units.ts';
import { classifyFailure } from './failures.ts';

const LOGS = new URL('../../../test/fixtures/vllm/logs/', import.meta.url);
const recorded = (name: string): string[] =>
  readFileSync(new URL(`${name}.txt`, LOGS), 'utf8')
    .trimEnd()
    .split('\n');
const ended = { code: 1, signal: null };

/** What each failure of a real engine is called, and the words that help. */
const GOLDEN: Readonly<Record<string, readonly [StartFailureCause, string, number?]>> = {
  'fail-auto-tool-without-parser': [
    'bad_arguments',
    '--enable-auto-tool-choice needs --tool-call-parser beside it in extra_args.',
  ],
  'fail-bad-value': [
    'bad_arguments',
    "it refused its arguments: argument --max-num-seqs: invalid int value: 'many'; correct extra_args.",
    2,
  ],
  'fail-hub-name-offline': [
    'model_files',
    'the model is not on this machine and downloads are off or the hub cannot be reached; download it first.',
  ],
  'fail-kv-cache-too-small': [
    'out_of_memory',
    'its weights leave no memory for the KV cache; give the model more memory, a smaller max_num_seqs, or a quantized checkpoint.',
  ],
  'fail-max-model-len-over-model': [
    'bad_arguments',
    'max_model_len 4096 is more than the 2048 tokens that the model can read; lower it.',
  ],
  'fail-memory-utilization-too-high': [
    'out_of_memory',
    'it wants 23.52 GiB but only 18.75 of 23.54 GiB were free when it started; something else holds the memory, or the share promised to the model is too large.',
  ],
  'fail-model-path-missing': [
    'model_files',
    'the path in repo does not exist on this machine; check it and what is mounted.',
  ],
  'fail-no-config-json': [
    'model_files',
    'the folder of the model holds no configuration (config.json), or the name is not one of the hub; check repo.',
  ],
  'fail-no-weights': ['model_files', 'its weights are missing or broken; the download may be incomplete.'],
  'fail-port-in-use': ['port_in_use', 'its port was taken by another program.'],
  'fail-sleep-mode-unsupported': [
    'unsupported',
    'sleep mode is not supported on this platform; take --enable-sleep-mode out of extra_args.',
  ],
  'fail-unknown-flag': [
    'bad_arguments',
    'this version of the engine does not know --no-such-flag; correct extra_args.',
    2,
  ],
};

describe('failures that a real engine was recorded with', () => {
  it('are all known here', () => {
    const names = readdirSync(LOGS).filter((name) => name.startsWith('fail-'));
    expect(names.map((name) => name.replace('.txt', ''))).toEqual(Object.keys(GOLDEN));
  });

  it.each(Object.entries(GOLDEN))('%s', (name, [cause, message, code = 1]) => {
    expect(classifyFailure(recorded(name).slice(-400), { code, signal: null })).toEqual({
      cause,
      message,
      shortage: null,
    });
  });

  it('are not seen in a start that went well', () => {
    expect(classifyFailure(recorded('start-to-first-request'), { code: 0, signal: null })).toEqual({
      cause: 'crashed',
      message: 'it ended with exit code 0 before it was ready.',
      shortage: null,
    });
  });
});

describe('failures known from the field', () => {
  it.each<[string, StartFailureCause, string]>([
    [
      '(EngineCore pid=9) ERROR 11-22 13:43:04 [core.py:1] ValueError: Free memory on device cuda:0 (3.20/23.54 GiB) on startup is less than desired GPU memory utilization (0.9, 21.19 GiB). Decrease GPU memory utilization',
      'out_of_memory',
      'it wants 21.19 GiB but only 3.20 of 23.54 GiB were free',
    ],
    [
      "ValueError: To serve at least one request with the model's max seq len (131072), (16.00 GiB KV cache is needed, which is larger than the available KV cache memory (5.67 GiB). Based on the available memory, the estimated maximum model length is 46464. Try increasing",
      'out_of_memory',
      'a request of max_model_len 131072 needs 16.00 GiB of KV cache and 5.67 GiB are left; max_model_len 46464 would fit.',
    ],
    [
      "ValueError: To serve at least one request with the models's max seq len (8192), (1.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.50 GiB). Try increasing",
      'out_of_memory',
      'lower max_model_len or give the model more memory.',
    ],
    [
      'AssertionError: Error in memory profiling. Initial free memory 10.00 GiB, current free memory 12.00 GiB. This happens when',
      'out_of_memory',
      'the next start usually succeeds',
    ],
    [
      'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB. GPU 0 has a total capacity of 23.54 GiB',
      'out_of_memory',
      'another 1.96 GiB were asked for',
    ],
    [
      "ValueError: Model architectures ['FancyForCausalLM'] are not supported for now. Supported architectures: dict_keys([])",
      'unsupported',
      'FancyForCausalLM',
    ],
    [
      'The checkpoint you are trying to load has model type `new3` but Transformers does not recognize this architecture.',
      'unsupported',
      'transformers library',
    ],
    [
      'huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-2)',
      'model_files',
      'HUGGING_FACE_HUB_TOKEN',
    ],
    [
      'huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. (Request ID: x)',
      'model_files',
      'the hub has no model of this name',
    ],
    ['OSError: [Errno 28] No space left on device', 'model_files', 'a disk is full'],
    [
      'ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).',
      'bad_arguments',
      'tensor_parallel_size 8 does not divide the 28 attention heads',
    ],
    ['RuntimeError: No CUDA GPUs are available', 'unsupported', 'it sees no GPU'],
    ['RuntimeError: NCCL error: unhandled system error', 'crashed', 'NCCL'],
    [
      'ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.',
      'unsupported',
      'dtype: half',
    ],
    [
      'KeyError: invalid tool call parser: nope (chose from { hermes })',
      'bad_arguments',
      'invalid tool call parser: nope',
    ],
    [
      'ValueError: Loading x requires you to execute the configuration file in that repo. Please set the option `trust_remote_code=True`',
      'bad_arguments',
      '--trust-remote-code',
    ],
  ])('%s', (line, cause, words) => {
    const wrapper =
      "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}";
    const verdict = classifyFailure(['Traceback (most recent call last):', line, wrapper], ended);
    expect(verdict.cause).toBe(cause);
    expect(verdict.message).toContain(words);
    expect(verdict.message).not.toContain('\n');
  });
});

describe('failures that nobody has seen before', () => {
  it('quote the root cause and not the wrapper around it, without paths, addresses or tokens', () => {
    const lines = [
      '(EngineCore pid=9) ERROR 11-22 13:43:04 [core.py:1] ValueError: cannot read /models/secret/x.bin at 10.0.0.7:8000 with hf_abcdef via https://example.org/x',
      "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
    ];
    expect(classifyFailure(lines, ended)).toEqual({
      cause: 'crashed',
      message:
        'it ended with exit code 1 before it was ready. It said: ValueError: cannot read <path> at <address> with <token> via <address>',
      shortage: null,
    });
  });

  it('are bounded, however much the engine wrote', () => {
    expect(classifyFailure([`ValueError: ${'x'.repeat(10_000)}`], ended).message.length).toBeLessThan(400);
  });

  it.each([
    [{ code: null, signal: 'SIGKILL' }, 'crashed', 'the machine ran out of memory'],
    [{ code: null, signal: 'SIGSEGV' }, 'crashed', 'SIGSEGV'],
    [{ code: null, signal: 'SIGBUS' }, 'crashed', '/dev/shm'],
    [{ code: 0, signal: null }, 'crashed', 'exit code 0'],
    [{ code: 127, signal: null }, 'bad_arguments', 'not found'],
    [{ code: 2, signal: null }, 'bad_arguments', 'exit code 2'],
    [{ code: null, signal: null }, 'crashed', 'it ended before it was ready'],
  ] as const)('tell how it ended: %o', (exit, cause, words) => {
    const verdict = classifyFailure([], exit);
    expect(verdict.cause).toBe(cause);
    expect(verdict.message).toContain(words);
  });
});

describe('what a start lacked', () => {
  const shortageOf = (...lines: readonly string[]): number | null => classifyFailure(lines, ended).shortage;
  const hundredth = GIB / 100;

  it('is the KV cache of one request less what was left, and a hundredth for the rounding [item 125]', () => {
    const line =
      "ValueError: To serve at least one request with the model's max seq len (131072), (16.00 GiB KV cache is needed, which is larger than the available KV cache memory (5.50 GiB). Based on";
    expect(shortageOf(line)).toBeCloseTo(10.5 * GIB + hundredth, -1);
  });

  it('is how far below nothing the measuring came', () => {
    const lines = [
      '(Worker_TP0 pid=9) INFO 11-22 13:43:04 [gpu_worker.py:1] Available KV cache memory: -2.25 GiB',
      '(Worker_TP1 pid=9) INFO 11-22 13:43:04 [gpu_worker.py:1] Available KV cache memory: -3.00 GiB',
      'ValueError: No available memory for the cache blocks. Try increasing',
    ];
    expect(shortageOf(...lines)).toBeCloseTo(3 * GIB + hundredth, -1);
    expect(shortageOf(lines[2] ?? '')).toBeNull();
  });

  it('is unknown when something else held the memory', () => {
    expect(
      shortageOf(
        'ValueError: Free memory on device cuda:0 (3.20/23.54 GiB) on startup is less than desired GPU memory utilization (0.9, 21.19 GiB).',
      ),
    ).toBeNull();
  });
});
