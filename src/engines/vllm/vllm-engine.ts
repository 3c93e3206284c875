/** vLLM: `vllm serve REPO --flags…`, for 0.8 to 0.32. */
import type { ModelConfig } from '../../config/config.ts';
import type { FetchSpec, LaunchSpec } from '../../core/launch.ts';
import {
  containerOf,
  deviceEnvironment,
  deviceUuids,
  fillTemplate,
  templateValues,
  type Engine,
  type FetchContext,
  type LaunchContext,
  type StartRefusal,
} from '../engine.ts';
import { serveArguments } from './arguments.ts';
import { readCounters, readKvCacheTokens } from './counters.ts';
import { classifyFailure } from './failures.ts';
import { fetchSpec } from './fetch.ts';
import { ggufRefusal } from './gguf.ts';
import { hubEnvironment } from './hub-environment.ts';
import { readMemoryReport } from './memory-report.ts';
import { readProgress, readVersion } from './progress.ts';

/** The engine keeps idle connections longer than the gateway does, so that none is reused in the moment it closes. */
const KEEP_ALIVE_SECONDS = 75;

const DEFAULTS: Readonly<Record<string, string>> = {
  VLLM_NO_USAGE_STATS: '1',
  DO_NOT_TRACK: '1',
  NO_COLOR: '1',
  // The context length is the operator's decision; vLLM would refuse one beyond the model's own.
  VLLM_ALLOW_LONG_MAX_MODEL_LEN: '1',
};

/** What runs vLLM in its images, whatever their entry point does. */
const IN_CONTAINER: readonly string[] = ['vllm'];

export class VllmEngine implements Engine {
  readonly kind = 'vllm';
  readonly listsModels = true;

  launchSpec(context: LaunchContext): LaunchSpec {
    const { model, host, port } = context;
    if (model.driver === 'external') {
      return { argv: [], env: {}, host, port: null, url: model.url, deviceUuids: null, container: null };
    }
    const served = this.servedName(model);
    const values = templateValues(context, served);
    const command = context.image === null ? (model.command ?? context.command) : IN_CONTAINER;
    if (command.length === 0) throw new Error(`model ${model.name} has no command to run`);
    return {
      argv: [...command.map((word) => fillTemplate(word, values)), ...serveArguments(context, served)],
      env: environment(context, (text) => fillTemplate(text, values)),
      host,
      port,
      url: null,
      deviceUuids: deviceUuids(context.devices),
      container: containerOf(context),
    };
  }

  fetchSpec(context: FetchContext): FetchSpec | null {
    return fetchSpec(context);
  }

  refusal(model: ModelConfig, image: string | null): StartRefusal | null {
    return ggufRefusal(model, image);
  }

  healthPath(model: ModelConfig): string | null {
    return model.healthPath === null
      ? null
      : fillTemplate(model.healthPath, { model: this.servedName(model), repo: model.repo });
  }

  servedName(model: ModelConfig): string {
    return model.driver === 'external' ? model.repo : model.name;
  }

  readCounters = readCounters;
  readKvCacheTokens = readKvCacheTokens;
  readProgress = readProgress;
  readVersion = readVersion;
  readMemoryReport = readMemoryReport;
  classifyFailure = classifyFailure;
}

/** The model's own variables go over the defaults, and under what the gateway depends on. */
function environment(context: LaunchContext, fill: (text: string) => string): Readonly<Record<string, string>> {
  const own = Object.fromEntries(Object.entries(context.model.env).map(([name, value]) => [name, fill(value)]));
  return {
    ...DEFAULTS,
    ...hubEnvironment(context, own),
    ...own,
    ...deviceEnvironment(context),
    VLLM_API_KEY: context.engineKey,
    VLLM_HTTP_TIMEOUT_KEEP_ALIVE: String(KEEP_ALIVE_SECONDS),
  };
}
