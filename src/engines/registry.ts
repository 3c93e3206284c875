/** The only place, beside gateway.ts, that names concrete engines. */
import type { Engine } from './engine.ts';
import { OpenAiCompatibleEngine } from './openai-compatible/openai-compatible-engine.ts';
import { sumOf } from './vllm/counters.ts';
import { classifyFailure } from './vllm/failures.ts';
import { VllmEngine } from './vllm/vllm-engine.ts';

export { modelFilesOptions } from './model-files/environment.ts';
export { createModelFiles } from './model-files/model-files.ts';

/** They keep no state, so one of each serves all models. */
const ENGINES = {
  vllm: new VllmEngine(),
  // Servers of other makes fail in the same ways, and most of them print the same words of Python and CUDA.
  'openai-compatible': new OpenAiCompatibleEngine(sumOf, classifyFailure),
} satisfies Record<Engine['kind'], Engine>;

export function engineOf(kind: Engine['kind']): Engine {
  return ENGINES[kind];
}
