/** vLLM: `vllm serve REPO --flags…`, checked against 0.32. */
import type { ModelConfig } from '../../config/config.ts';
import type { LaunchSpec } from '../../core/launch.ts';
import { deviceEnvironment, fillTemplate, templateValues, type Engine, type LaunchContext } from '../engine.ts';
import { serveArguments } from './arguments.ts';
import { readCounters } from './counters.ts';
import { classifyFailure } from './failures.ts';
import { readProgress } from './progress.ts';

/** The engine keeps idle connections longer than the gateway does, so that none is reused in the moment it closes. */
const KEEP_ALIVE_SECONDS = 75;

const DEFAULTS: Readonly<Record<string, string>> = {
  VLLM_NO_USAGE_STATS: '1',
  DO_NOT_TRACK: '1',
  NO_COLOR: '1',
  // The context length is the operator's decision; vLLM would refuse one beyond the model's own.
  VLLM_ALLOW_LONG_MAX_MODEL_LEN: '1',
};

export class VllmEngine implements Engine {
  readonly kind = 'vllm';
  readonly listsModels = true;

  launchSpec(context: LaunchContext): LaunchSpec {
    const { model, host, port } = context;
    if (model.driver === 'external') return { argv: [], env: {}, host, port: null, url: model.url };
    const served = this.servedName(model);
    const values = templateValues(context, served);
    const command = (model.command ?? context.command).map((word) => fillTemplate(word, values));
    if (command.length === 0) throw new Error(`model ${model.name} has no command to run`);
    return {
      argv: [...command, ...serveArguments(context, served)],
      env: environment(context, (text) => fillTemplate(text, values)),
      host,
      port,
      url: null,
    };
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
  readProgress = readProgress;
  classifyFailure = classifyFailure;
}

/** The model's own variables go over the defaults, and under what the gateway depends on. */
function environment(context: LaunchContext, fill: (text: string) => string): Readonly<Record<string, string>> {
  const own = Object.fromEntries(Object.entries(context.model.env).map(([name, value]) => [name, fill(value)]));
  const token = own['HUGGING_FACE_HUB_TOKEN'];
  return {
    ...DEFAULTS,
    ...(token === undefined ? {} : { HF_TOKEN: token }),
    ...own,
    ...deviceEnvironment(context.devices),
    VLLM_API_KEY: context.engineKey,
    VLLM_HTTP_TIMEOUT_KEEP_ALIVE: String(KEEP_ALIVE_SECONDS),
  };
}
