/**
 * Why a start failed, from the end of the engine's log. Signatures go from specific to generic: the root cause is printed
 * first, and generic errors of the processes around it follow.
 */
import type { StartFailureCause } from '../../errors.ts';
import { GIB, type Bytes } from '../../units.ts';
import type { StartFailureVerdict } from '../engine.ts';
import { message, quote } from './log-text.ts';

type Groups = readonly (string | undefined)[];

interface Signature {
  readonly cause: StartFailureCause;
  readonly pattern: RegExp;
  readonly say: (groups: Groups, line: string) => string;
  /** How much more memory per device would have done, as far as the log tells. */
  readonly shortage?: (groups: Groups, messages: readonly string[]) => Bytes | null;
}

/** The log rounds to hundredths of a GiB: a hundredth more is surely enough. */
const ROUNDING = GIB / 100;

function shortfall(needed: string | undefined, available: string | undefined): Bytes | null {
  const missing = Math.ceil((Number(needed) - Number(available)) * GIB);
  return Number.isSafeInteger(missing) && missing > 0 ? missing + Math.ceil(ROUNDING) : null;
}

/** vLLM prints how far below zero it came, if at all, before it gives up. */
function belowZero(messages: readonly string[]): Bytes | null {
  const found = messages.flatMap((text) => /^Available KV cache memory: (-[\d.]+) GiB/.exec(text)?.[1] ?? []);
  return found.length === 0 ? null : shortfall('0', String(Math.min(...found.map(Number))));
}

const SIGNATURES: readonly Signature[] = [
  {
    cause: 'out_of_memory',
    pattern:
      /(?:Free|Available) memory on (?:device|node)[^(]*\(([\d.]+)\/([\d.]+) GiB\) on startup is less than desired \w+ memory utilization \(([\d.]+), ([\d.]+) GiB\)/,
    say: ([, free, total, , wanted]) =>
      `it wants ${wanted} GiB but only ${free} of ${total} GiB were free when it started; something else holds the memory, or the share promised to the model is too large.`,
  },
  {
    cause: 'out_of_memory',
    pattern: /No available memory for the cache blocks/,
    say: () =>
      'its weights leave no memory for the KV cache; give the model more memory, a smaller max_num_seqs, or a quantized checkpoint.',
    shortage: (_, messages) => belowZero(messages),
  },
  {
    cause: 'out_of_memory',
    pattern:
      /To serve at least one request with the models?'s max seq len \((\d+)\), \(?([\d.]+) GiB KV cache is needed.*?available KV cache memory \(([\d.]+) GiB\)(?:.*?estimated maximum model length is (\d+))?/,
    say: ([, length, needed, available, fits]) =>
      `a request of max_model_len ${length} needs ${needed} GiB of KV cache and ${available} GiB are left${fits === undefined ? '; lower max_model_len or give the model more memory.' : `; max_model_len ${fits} would fit.`}`,
    shortage: ([, , needed, available]) => shortfall(needed, available),
  },
  {
    cause: 'out_of_memory',
    pattern:
      /max seq len \((\d+)\) is larger than the maximum number of tokens that can be stored in KV cache \((\d+)\)/,
    say: ([, length, fits]) =>
      `its KV cache holds ${fits} tokens, fewer than max_model_len ${length}; lower max_model_len or give the model more memory.`,
  },
  {
    cause: 'out_of_memory',
    pattern: /Cannot auto-fit max_model_len/,
    say: () => 'no context length fits into the memory that it was given; give the model more memory.',
  },
  {
    cause: 'out_of_memory',
    pattern: /Error in memory profiling\. Initial free memory ([\d.]+) GiB, current free memory ([\d.]+) GiB/,
    say: () =>
      'another program gave back GPU memory while the engine was measuring it; the next start usually succeeds.',
  },
  {
    cause: 'out_of_memory',
    pattern: /CUDA out of memory occurred when warming up sampler with (\d+) dummy requests/,
    say: ([, requests]) => `the GPU memory does not suffice for ${requests} requests at once; lower max_num_seqs.`,
  },
  {
    cause: 'out_of_memory',
    pattern: /OutOfMemoryError: (?:CUDA|HIP|XPU) out of memory\. Tried to allocate ([\d.]+ [KMG]iB)/,
    say: ([, size]) =>
      `the GPU ran out of memory (another ${size} were asked for); give the model more memory, extra_args: [--enforce-eager], or a quantized checkpoint.`,
  },
  {
    cause: 'out_of_memory',
    pattern: /(?:CUDA error|RuntimeError: CUDA).*out of memory|cudaErrorMemoryAllocation|\bMemoryError\b/,
    say: () => 'it ran out of memory; give the model more memory or a quantized checkpoint.',
  },
  {
    cause: 'bad_arguments',
    pattern: /User-specified max_model_len \((\d+)\) is greater than the derived max_model_len \((?:[^=()]*=)?(\d+)/,
    say: ([, asked, native]) =>
      `max_model_len ${asked} is more than the ${native} tokens that the model can read; lower it.`,
  },
  {
    cause: 'unsupported',
    pattern:
      /Model architectures? \[?'?([\w', -]*?)'?\]? (?:are|is) not supported|not supported in-tree anymore|failed to be inspected/,
    say: ([, names]) =>
      `this version of the engine does not know the architecture of the model${names === undefined || names === '' ? '' : ` (${quote(names)})`}; use a newer one.`,
  },
  {
    cause: 'unsupported',
    pattern: /does not recognize this architecture/,
    say: () => 'the transformers library of the engine is too old for this model; use a newer engine.',
  },
  {
    cause: 'model_files',
    pattern:
      /GatedRepoError|[Yy]ou are trying to access a gated repo|Cannot access gated repo|(?:401|403) Client Error/,
    say: () =>
      'the model is not open to everybody: accept its licence on the hub and set HUGGING_FACE_HUB_TOKEN to a token that may read it.',
  },
  {
    cause: 'model_files',
    pattern: /Invalid repository ID or local directory specified/,
    say: () =>
      'the folder of the model holds no configuration (config.json), or the name is not one of the hub; check repo.',
  },
  {
    cause: 'model_files',
    pattern: /HFValidationError: Repo id must/,
    say: () => 'the path in repo does not exist on this machine; check it and what is mounted.',
  },
  {
    cause: 'model_files',
    pattern: /RepositoryNotFoundError|404 Client Error|RevisionNotFoundError/,
    say: () => 'the hub has no model of this name, or no token may see it; check repo.',
  },
  {
    cause: 'model_files',
    pattern: /LocalEntryNotFoundError|outgoing traffic has been disabled|offline mode is enabled/,
    say: () =>
      'the model is not on this machine and downloads are off or the hub cannot be reached; download it first.',
  },
  {
    cause: 'model_files',
    pattern:
      /Cannot find any model weights with|no safetensors weights|SafetensorError|HeaderTooLarge|InvalidHeaderDeserialization/,
    say: () => 'its weights are missing or broken; the download may be incomplete.',
  },
  {
    cause: 'model_files',
    pattern:
      /the hub cannot be reached and the cache has nothing|Temporary failure in name resolution|Name or service not known|(?:requests\.exceptions\.|huggingface_hub\.\S*|httpx\.)(?:ConnectionError|ReadTimeout|ConnectTimeout|ConnectError)/,
    say: () => 'the hub cannot be reached from this machine; check the network or download the model first.',
  },
  {
    cause: 'model_files',
    pattern: /the repository .+ has no GGUF file of (\S+)/,
    say: ([, quant]) =>
      `its repository has no GGUF file of ${quote(quant ?? '')}; check what stands behind the colon of repo.`,
  },
  {
    cause: 'model_files',
    pattern: /No space left on device/,
    say: () => 'a disk is full: that of the model cache, or /dev/shm.',
  },
  {
    cause: 'port_in_use',
    pattern: /\[Errno 98\].*[Aa]ddress already in use|[Aa]ddress already in use/,
    say: () => 'its port was taken by another program.',
  },
  {
    cause: 'bad_arguments',
    pattern: /Total number of attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)/,
    say: ([, heads, size]) =>
      `tensor_parallel_size ${size} does not divide the ${heads} attention heads of the model; choose one that does.`,
  },
  {
    cause: 'bad_arguments',
    pattern: /World size \((\d+)\) is larger than the number of available GPUs \(?(\d+)?/,
    say: ([, size]) => `tensor_parallel_size ${size} is more than the GPUs that the engine sees.`,
  },
  {
    cause: 'unsupported',
    pattern: /No CUDA GPUs are available|Failed to infer device type|could not select device driver/,
    say: () => 'it sees no GPU; check the driver of the GPU and that its runtime is installed.',
  },
  {
    cause: 'unsupported',
    pattern: /NVIDIA driver on your system is too old|unsupported toolchain|no kernel image is available/,
    say: () => 'the GPU or its driver does not fit this build of the engine; use another build or a newer driver.',
  },
  {
    cause: 'unsupported',
    pattern: /Bfloat16 is only supported on GPUs with compute capability/,
    say: () => 'the GPU cannot compute in bfloat16; set dtype: half.',
  },
  {
    cause: 'unsupported',
    pattern: /is not supported for the current GPU\. Minimum capability/,
    say: () => 'the GPU is too old for the quantization of this model; use another checkpoint.',
  },
  {
    cause: 'unsupported',
    pattern: /Sleep mode is not supported on current platform/,
    say: () => 'sleep mode is not supported on this platform; take --enable-sleep-mode out of extra_args.',
  },
  {
    cause: 'crashed',
    pattern: /NCCL error|ncclSystemError|ncclUnhandledCudaError|Error while creating shared memory segment/,
    say: () =>
      'its processes cannot talk to each other (NCCL or shared memory); check the size of /dev/shm and the GPU topology.',
  },
  {
    cause: 'bad_arguments',
    pattern: /VLLM_PORT '.*' appears to be a URI/,
    say: () => 'VLLM_PORT in its environment is an address, not a number; take it out.',
  },
  {
    cause: 'bad_arguments',
    pattern: /--enable-auto-tool-choice requires --tool-call-parser/,
    say: () => '--enable-auto-tool-choice needs --tool-call-parser beside it in extra_args.',
  },
  {
    cause: 'bad_arguments',
    pattern: /(invalid (?:tool call|reasoning) parser.*)/,
    say: ([, text]) => `${quote(text ?? '')}.`,
  },
  {
    cause: 'bad_arguments',
    pattern: /error: unrecognized arguments: (.+)/,
    say: ([, flags]) => `this version of the engine does not know ${quote(flags ?? '')}; correct extra_args.`,
  },
  {
    cause: 'bad_arguments',
    pattern: /error: (argument .+|the following arguments are required: .+|ambiguous option: .+)/,
    say: ([, text]) => `it refused its arguments: ${quote(text ?? '')}; correct extra_args.`,
  },
  {
    cause: 'bad_arguments',
    pattern: /trust_remote_code=True/,
    say: () => 'the model brings code of its own; add --trust-remote-code to extra_args if you trust its authors.',
  },
  {
    cause: 'start_timeout',
    pattern: /Timed out waiting for engine core processes to start/,
    say: () => 'the engine gave up waiting for its own processes; raise VLLM_ENGINE_READY_TIMEOUT_S in env.',
  },
];

export interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
}

export function classifyFailure(lines: readonly string[], exit: Ending): StartFailureVerdict {
  const messages = lines.map(message);
  for (const { cause, pattern, say, shortage } of SIGNATURES) {
    for (const text of messages) {
      const match = pattern.exec(text);
      if (match) return { cause, message: say(match, text), shortage: shortage?.(match, messages) ?? null };
    }
  }
  return unknownFailure(messages, exit);
}

/** An exception that says nothing by itself: what it is about stands above it. */
const WRAPPERS =
  /Engine core initialization failed|WorkerProc initialization failed|Frontend process failed|KeyboardInterrupt/;
const EXCEPTION = /^(?:[\w.]+\.)?([A-Z]\w*(?:Error|Exception|Failure)): (.+)/;

function unknownFailure(messages: readonly string[], exit: Ending): StartFailureVerdict {
  const root = messages.find((text) => EXCEPTION.test(text) && !WRAPPERS.test(text));
  const cause: StartFailureCause =
    exit.code === 2 || exit.code === 126 || exit.code === 127 ? 'bad_arguments' : 'crashed';
  const said = root === undefined ? '' : ` It said: ${quote(root)}`;
  return { cause, message: `${ending(exit)}${said}`, shortage: null };
}

function ending(exit: Ending): string {
  switch (exit.signal) {
    case null:
      break;
    case 'SIGKILL':
      return 'it was killed (SIGKILL); when nobody did that, the machine ran out of memory.';
    case 'SIGBUS':
      return 'it was killed by SIGBUS; /dev/shm may be full.';
    default:
      return `it was killed by ${exit.signal}.`;
  }
  if (exit.code === null) return 'it ended before it was ready.';
  if (exit.code === 127) return 'its command was not found.';
  return `it ended with exit code ${exit.code} before it was ready.`;
}
