/** How far a start is, from the lines that vLLM writes on its way (0.10 to 0.32). */
import type { StartMilestone } from '../../core/events.ts';
import type { Progress } from '../engine.ts';
import { message } from './log-text.ts';

interface Marker {
  readonly phase: string;
  /** What every such line holds: looked for before the expression is tried. */
  readonly holds: string;
  readonly pattern: RegExp;
  /** The expression's first group is a percentage. */
  readonly percent?: boolean;
  /** What is behind a start once this was said. */
  readonly milestone?: StartMilestone;
  /** The milestone counts only where one process speaks for all devices: of several, others may still be at it. */
  readonly alone?: boolean;
}

const MARKERS: readonly Marker[] = [
  { phase: 'load', holds: 'checkpoint shards:', pattern: /checkpoint shards:\s+(\d+)% /, percent: true },
  { phase: 'graphs', holds: 'Capturing CUDA graph', pattern: /^Capturing CUDA graph[^:]*:\s+(\d+)%/, percent: true },
  { phase: 'download', holds: 'Fetching ', pattern: /^Fetching \d+ files:\s+(\d+)%/, percent: true },
  { phase: 'download', holds: 'Downloading ', pattern: /^Downloading \d+ files:\s+(\d+)%/, percent: true },
  { phase: 'download', holds: '%|', pattern: /^\S+\.(?:safetensors|bin|gguf|pt)\S*:\s+(\d+)%\|/, percent: true },
  { phase: 'config', holds: 'non-default args', pattern: /^non-default args: / },
  { phase: 'config', holds: 'Resolved architecture', pattern: /^Resolved architecture/ },
  { phase: 'config', holds: 'Using max model len', pattern: /^Using max model len \d/ },
  { phase: 'engine', holds: 'LLM engine (v', pattern: /^Initializing a V\d LLM engine \(v/ },
  // It has looked at the free memory by now: what a neighbour gives back from here on falsifies its measuring.
  {
    phase: 'load',
    holds: 'Starting to load model',
    pattern: /^Starting to load model /,
    milestone: 'loading',
  },
  { phase: 'load', holds: 'downloading weights', pattern: /^Time spent downloading weights/ },
  { phase: 'load', holds: 'Loading weights took', pattern: /^Loading weights took / },
  { phase: 'compile', holds: 'Model loading took', pattern: /^Model loading took / },
  { phase: 'compile', holds: 'Using cache directory', pattern: /^Using cache directory: .*torch_compile_cache/ },
  { phase: 'compile', holds: 'bytecode transform', pattern: /^Dynamo bytecode transform time/ },
  { phase: 'compile', holds: 'Compiling a graph', pattern: /^Compiling a graph/ },
  { phase: 'compile', holds: 'compiled graph', pattern: /^Directly load the compiled graph/ },
  { phase: 'profile', holds: 'torch.compile t', pattern: /^torch\.compile (?:took|takes)/ },
  { phase: 'profile', holds: 'CUDA graph memory', pattern: /^Estimated CUDA graph memory/ },
  {
    phase: 'kv',
    holds: 'Available KV cache memory',
    pattern: /^Available KV cache memory/,
    milestone: 'profiled',
    alone: true,
  },
  // With a size that it was given there is nothing to measure.
  {
    phase: 'kv',
    holds: 'memory for KV Cache',
    pattern: /\breserved [\d.]+ GiB memory for KV Cache/,
    milestone: 'profiled',
  },
  {
    phase: 'kv',
    holds: 'KV cache size',
    pattern: /^(?:GPU|CPU|\w+) KV cache size/,
    milestone: 'profiled',
  },
  // Up to 0.8 under the first engine.
  { phase: 'kv', holds: 'blocks:', pattern: /^# (?:\w+) blocks: \d+/, milestone: 'profiled' },
  { phase: 'graphs', holds: 'Graph capturing finished', pattern: /^Graph capturing finished/ },
  { phase: 'serve', holds: 'init engine (', pattern: /^init engine \(profile, create kv cache, warmup model\) took/ },
  { phase: 'serve', holds: 'Supported tasks', pattern: /^Supported[ _]tasks: / },
  { phase: 'serve', holds: 'Starting vLLM', pattern: /^Starting vLLM (?:API )?server / },
  {
    phase: 'serve',
    holds: 'startup',
    pattern: /^(?:INFO:\s+)?(?:Waiting for application startup|Application startup complete)/,
  },
];

/** `(Worker_TP1 pid=9)`, `(VllmWorker TP0 pid=9)`: one of several that do the same. */
const OF_MANY = /^(?:simulated )?\((?:Vllm)?Worker/;

export function readProgress(line: string): Progress | null {
  for (const marker of MARKERS) {
    if (!line.includes(marker.holds)) continue;
    const match = marker.pattern.exec(message(line));
    if (!match) continue;
    return {
      phase: marker.phase,
      fraction: marker.percent === true ? fractionOf(match[1]) : null,
      milestone: marker.alone === true && OF_MANY.test(line) ? null : (marker.milestone ?? null),
    };
  }
  return null;
}

/** `0.32.0` from the line with which the engine introduces itself; null when it is another line. */
export function readVersion(line: string): string | null {
  if (!line.includes('LLM engine (v')) return null;
  return /^Initializing a V\d LLM engine \(v([^)\s]{1,64})\)/.exec(message(line))?.[1] ?? null;
}

function fractionOf(percent: string | undefined): number {
  return Math.min(1, Math.max(0, Number(percent) / 100));
}
