/** Any server that speaks the OpenAI API: the operator writes its whole command line, or where it is. */
import type { ModelConfig } from '../../config/config.ts';
import type { LaunchSpec } from '../../core/launch.ts';
import {
  containerOf,
  deviceEnvironment,
  deviceUuids,
  fillTemplate,
  templateValues,
  type Engine,
  type EngineCounters,
  type LaunchContext,
  type MemoryReport,
  type StartFailureVerdict,
} from '../engine.ts';

/** Reads one series of a metrics text; null when it is not there. */
export type SeriesReader = (metrics: string, name: string) => number | null;

/** Counters of servers that are often run this way: prompt tokens, generated tokens, running requests. */
const COUNTERS: readonly (readonly [string, string, string])[] = [
  ['vllm:prompt_tokens_total', 'vllm:generation_tokens_total', 'vllm:num_requests_running'],
  ['sglang:prompt_tokens_total', 'sglang:generation_tokens_total', 'sglang:num_running_reqs'],
  ['llamacpp:prompt_tokens_total', 'llamacpp:tokens_predicted_total', 'llamacpp:requests_processing'],
];

export class OpenAiCompatibleEngine implements Engine {
  readonly kind = 'openai-compatible';
  /** Many such servers list no models, or others than the name they answer to. */
  readonly listsModels = false;
  readonly #series: SeriesReader;
  readonly #classify: Engine['classifyFailure'];

  constructor(series: SeriesReader, classify: Engine['classifyFailure']) {
    this.#series = series;
    this.#classify = classify;
  }

  launchSpec(context: LaunchContext): LaunchSpec {
    const { model, host, port, engineKey } = context;
    if (model.driver === 'external') {
      return { argv: [], env: {}, host, port: null, url: model.url, deviceUuids: null, container: null };
    }
    const values = templateValues(context, this.servedName(model));
    const command = model.command ?? context.command;
    if (command.length === 0) throw new Error(`model ${model.name} has no command to run`);
    const fill = (text: string): string => fillTemplate(text, values);
    const own = Object.fromEntries(Object.entries(model.env).map(([name, value]) => [name, fill(value)]));
    return {
      argv: [...command, ...model.extraArgs].map(fill),
      env: { ...own, ...deviceEnvironment(context), VGW_ENGINE_KEY: engineKey, VLLM_API_KEY: engineKey },
      host,
      port,
      url: null,
      deviceUuids: deviceUuids(context.devices),
      container: containerOf(context),
    };
  }

  healthPath(model: ModelConfig): string | null {
    return model.healthPath === null
      ? null
      : fillTemplate(model.healthPath, { model: this.servedName(model), repo: model.repo });
  }

  /** The name that it was started with, when the command names one; otherwise its name for what it serves. */
  servedName(model: ModelConfig): string {
    if (model.driver === 'external') return model.repo;
    const texts = [...(model.command ?? []), ...model.extraArgs, ...Object.values(model.env)];
    return texts.some((text) => text.includes('${model}')) || model.repo === '' ? model.name : model.repo;
  }

  readCounters(metrics: string): EngineCounters | null {
    for (const [prompt, generation, running] of COUNTERS) {
      const promptTokens = this.#series(metrics, prompt);
      const generationTokens = this.#series(metrics, generation);
      if (promptTokens === null && generationTokens === null) continue;
      return {
        promptTokens: promptTokens ?? 0,
        generationTokens: generationTokens ?? 0,
        kvCacheUsage: this.#series(metrics, 'vllm:kv_cache_usage_perc') ?? 0,
        running: this.#series(metrics, running) ?? 0,
      };
    }
    return null;
  }

  readProgress(): null {
    return null;
  }

  readVersion(): null {
    return null;
  }

  /** Such a server is nobody's business but its operator's: it fetches what it serves. */
  fetchSpec(): null {
    return null;
  }

  refusal(): null {
    return null;
  }

  readMemoryReport(): MemoryReport {
    return { weightBytes: null, kvCacheBytes: null, kvCacheTokens: null, graphBytes: null };
  }

  readKvCacheTokens(): null {
    return null;
  }

  classifyFailure(lines: readonly string[], exit: Parameters<Engine['classifyFailure']>[1]): StartFailureVerdict {
    return this.#classify(lines, exit);
  }
}
