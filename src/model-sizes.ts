/** How large the models of a configuration are, as their files on this machine or a hub say, and which can never be loaded. */
import type { Config, ModelConfig } from './config/config.ts';
import { flagValue } from './config/merge-args.ts';
import type { ModelSize } from './core/memory/model-shape.ts';
import type { StartRefusal } from './engines/engine.ts';
import { createModelFiles, engineOf, modelFilesOptions } from './engines/registry.ts';
import type { Platform } from './platform/platform.ts';

/** Neither ever rejects. */
export interface FileFacts {
  readonly sizeOf: (model: ModelConfig) => Promise<ModelSize>;
  /** For a GGUF model: a repository with its tokenizer, when it was seen to be there. */
  readonly tokenizerOf: (model: ModelConfig) => Promise<string | null>;
}

/** `stateDir`: where answers of the hub are kept; null = nowhere. */
export function createFileFacts(config: Config, platform: Platform, stateDir: string | null): FileFacts {
  const files = createModelFiles(modelFilesOptions(platform, { cacheDir: config.drivers.docker.cacheDir, stateDir }));
  return {
    sizeOf: ({ repo, quantization, dtype, extraArgs }) =>
      files.size(repo, { quantization, dtype, revision: flagValue(extraArgs, '--revision') }),
    tokenizerOf: ({ repo, extraArgs }) =>
      flagValue(extraArgs, '--tokenizer') === null
        ? files.tokenizerRepo(repo).catch(() => null)
        : Promise.resolve(null),
  };
}

/** Why a model can never start with the image that it is configured for; null = nothing known against it. */
export function refusalOf({ drivers }: Config): (model: ModelConfig) => StartRefusal | null {
  return (model) => {
    const image = model.driver === 'docker' ? (model.image ?? drivers.docker.image) : null;
    return engineOf(model.engine).refusal(model, image);
  };
}
