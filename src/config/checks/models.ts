/** What one model's keys say about each other. */
import type { ModelConfig } from '../config.ts';
import { ownedFlags } from '../extra-args.ts';
import { pathText } from '../schema/spelling.ts';
import { formatSize } from '../../units.ts';
import { namesGguf } from './versions.ts';
import { complain, isWritten, listsDevices, takesMemory, type CheckInput } from './check-input.ts';

export function checkModels(input: CheckInput): void {
  for (const model of input.config.models.values()) {
    checkSharing(input, model);
    checkTimes(input, model);
    // Nobody knows what kind of model was meant: the rest would only be guesses.
    if (kindIsBroken(input, model)) continue;
    checkKind(input, model);
    checkRepo(input, model);
    checkArguments(input, model);
    checkLength(input, model);
    checkUnused(input, model);
  }
}

function kindIsBroken(input: CheckInput, model: ModelConfig): boolean {
  const keys = ['driver', 'engine', 'url', 'command'].flatMap((key) => [
    pathText(['models', model.name, key]),
    pathText(['defaults', key]),
  ]);
  return input.problems.list.some(({ severity, path }) => severity === 'error' && keys.includes(path));
}

function checkRepo(input: CheckInput, model: ModelConfig): void {
  // With url or a whole command the repo is only a name there, and the model's own does.
  if (!input.file || model.engine === 'openai-compatible' || model.driver === 'external') return;
  if (isWritten(input, ['models', model.name, 'repo'])) return;
  input.problems.inFile(
    'error',
    ['models', model.name, 'repo'],
    'missing',
    'is missing; allowed: a Hugging Face id such as meta-llama/Llama-3.1-8B-Instruct, or a path',
    [['models', model.name]],
  );
}

function checkArguments(input: CheckInput, model: ModelConfig): void {
  if (model.engine !== 'vllm' || model.driver === 'external') {
    if (model.extraArgs.length > 0 && isWritten(input, ['models', model.name, 'extra_args'])) {
      const remedy = model.command === null ? 'the server is started by somebody else' : 'write them into command';
      complain(
        input,
        'warning',
        model.name,
        ['extra_args'],
        'unused',
        `has no effect on engine ${model.engine}; ${remedy}`,
      );
    }
    return;
  }
  for (const found of ownedFlags(model.extraArgs, input.config.memory.placementMode === 'budget')) {
    complain(input, 'error', model.name, ['extra_args', found.index], 'owned_flag', found.message);
  }
}

/** Only the docker driver runs vLLM by itself; whatever else is to run in a container has a command line nobody knows. */
function checkKind(input: CheckInput, model: ModelConfig): void {
  if (model.driver !== 'docker' || model.engine === 'vllm') return;
  complain(
    input,
    'error',
    model.name,
    ['engine'],
    'conflict',
    'is openai-compatible, but the docker driver runs vllm only; allowed: driver: process with command, url of a server that is there, or engine: vllm',
  );
}

function checkSharing(input: CheckInput, model: ModelConfig): void {
  if (model.colocate && model.tensorParallelSize > 1) {
    complain(
      input,
      'error',
      model.name,
      ['colocate'],
      'conflict',
      `may not be true with tensor_parallel_size ${model.tensorParallelSize}; allowed: tensor_parallel_size 1, or colocate: false`,
    );
  }
  const { colocateMaxShare, placementMode } = input.config.memory;
  if (model.colocate && model.gpuMemoryUtilization > colocateMaxShare) {
    complain(
      input,
      'warning',
      model.name,
      ['gpu_memory_utilization'],
      'relation',
      `${model.gpuMemoryUtilization} leaves little for the models it shares a GPU with; a co-located model should stay at or below memory.colocate_max_share, ${colocateMaxShare}`,
    );
  }
  const { budgetFraction } = input.config.devices;
  if (
    placementMode === 'budget' &&
    takesMemory(model) &&
    namesGguf(model.repo) &&
    model.memory === null &&
    model.gpuMemoryUtilization > budgetFraction
  ) {
    complain(
      input,
      'warning',
      model.name,
      ['gpu_memory_utilization'],
      'relation',
      `${model.gpuMemoryUtilization} is above devices.budget_fraction, ${budgetFraction}, and where the size of a GGUF model cannot be read it gets the budget only; lower it, or set memory`,
    );
  }
}

/** Without a bound on the context the whole of it is reserved, and where nobody knows it, the model is measured alone. */
function checkLength(input: CheckInput, model: ModelConfig): void {
  const { devices, memory } = input.config;
  const counts = takesMemory(model) && model.engine === 'vllm' && devices.probe !== 'none';
  if (memory.placementMode !== 'budget' || !counts || model.maxModelLen > 0 || model.memory !== null) return;
  // What is written wrong is told of there; nothing follows from its absence.
  const keys = ['memory', 'max_model_len'].flatMap((key) => [`models.${model.name}.${key}`, `defaults.${key}`]);
  if (input.problems.list.some(({ path, severity }) => severity === 'error' && keys.includes(path))) return;
  const share = Math.min(model.gpuMemoryUtilization, devices.budgetFraction);
  const largest = listsDevices(input) ? Math.max(0, ...devices.list.map((device) => device.memory)) : 0;
  const cost = largest > 0 ? `, ${formatSize(Math.floor(largest * share))}` : '';
  const sequences = model.kvReservationSeqs ?? model.maxNumSeqs;
  complain(
    input,
    'warning',
    model.name,
    ['max_model_len'],
    'unbounded_length',
    `0 means the native length of the model: KV cache for ${sequences} ${sequences === 1 ? 'request' : 'requests'} of it is reserved, and where no device has that much the model is refused (\`plan\` says the bytes); where it cannot be computed the model gets ${share} of a device${cost}; set max_model_len, or memory`,
  );
}

function checkUnused(input: CheckInput, model: ModelConfig): void {
  const unused = (key: string, reason: string): void => {
    if (isWritten(input, ['models', model.name, key])) {
      complain(input, 'warning', model.name, [key], 'unused', `has no effect: ${reason}`);
    }
  };
  if (model.driver === 'external') {
    for (const key of ['always_on', 'preload', 'inactivity_timeout', 'memory', 'devices', 'env']) {
      unused(key, 'an external server is never started or stopped by the gateway');
    }
  }
  if (model.driver !== 'docker') {
    for (const key of ['image', 'volumes', 'shm_size'])
      unused(key, `only the docker driver uses it; the driver is ${model.driver}`);
  }
  const devicesInEnvironment = ['CUDA_VISIBLE_DEVICES', 'NVIDIA_VISIBLE_DEVICES'].find((name) => name in model.env);
  if (devicesInEnvironment !== undefined && input.config.devices.probe !== 'none') {
    complain(
      input,
      'error',
      model.name,
      ['env', devicesInEnvironment],
      'owned_variable',
      'is set by the gateway, which chooses the devices; allowed: devices: [ID], or devices.probe: none for the whole gateway',
    );
  }
}

function checkTimes(input: CheckInput, model: ModelConfig): void {
  if (model.startStallTimeout > model.startTimeout && isWritten(input, ['models', model.name, 'start_stall_timeout'])) {
    complain(
      input,
      'warning',
      model.name,
      ['start_stall_timeout'],
      'relation',
      'is longer than start_timeout, which ends the start first',
    );
  }
  if (
    model.maxConcurrent > model.maxQueueSize &&
    (isWritten(input, ['models', model.name, 'max_concurrent']) ||
      isWritten(input, ['models', model.name, 'max_queue_size']))
  ) {
    complain(
      input,
      'warning',
      model.name,
      ['max_queue_size'],
      'relation',
      `${model.maxQueueSize} is smaller than max_concurrent, ${model.maxConcurrent}: a burst of one replica's size is refused`,
    );
  }
  if (model.alwaysOn && model.inactivityTimeout > 0 && isWritten(input, ['models', model.name, 'inactivity_timeout'])) {
    complain(
      input,
      'warning',
      model.name,
      ['inactivity_timeout'],
      'relation',
      'has no effect with always_on: true; remove one of the two',
    );
  }
}
