/** How large the models of a configuration are, as their files on this machine or a hub say. */
import type { Config, ModelConfig } from './config/config.ts';
import { flagName } from './config/merge-args.ts';
import type { ModelSize } from './core/memory/model-shape.ts';
import { createModelFiles, modelFilesOptions } from './engines/registry.ts';
import type { Platform } from './platform/platform.ts';

/** `stateDir`: where answers of the hub are kept; null = nowhere. The result never rejects. */
export function createSizeOf(
  config: Config,
  platform: Platform,
  stateDir: string | null,
): (model: ModelConfig) => Promise<ModelSize> {
  const files = createModelFiles(modelFilesOptions(platform, { cacheDir: config.drivers.docker.cacheDir, stateDir }));
  return ({ repo, quantization, dtype, extraArgs }) =>
    files.size(repo, { quantization, dtype, revision: revisionOf(extraArgs) });
}

/** As vLLM's parser sees it: the last one counts. */
function revisionOf(words: readonly string[]): string | null {
  let revision: string | null = null;
  words.forEach((word, index) => {
    if (!word.startsWith('--') || flagName(word) !== '--revision') return;
    const equals = word.indexOf('=');
    revision = (equals < 0 ? words[index + 1] : word.slice(equals + 1)) ?? null;
  });
  return revision;
}
