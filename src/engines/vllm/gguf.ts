/** What a repo key means to vLLM. */
import type { ModelConfig } from '../../config/config.ts';
import { ggufProblem, imageVersion } from '../../config/vllm-versions.ts';
import type { StartRefusal } from '../engine.ts';
import { ggufOf } from '../model-files/gguf-reference.ts';

/** A path of this machine or an address of another store: nothing that the hub has. */
export function isElsewhere(repo: string): boolean {
  return /^(?:[/~]|\.{1,2}(?:\/|$))/.test(repo) || /^[a-z][a-z0-9+.-]*:\/\//i.test(repo);
}

/** GGUF that no vLLM can load, or not this one; null = it can, or nobody knows what is in the image. */
export function ggufRefusal({ repo }: ModelConfig, image: string | null): StartRefusal | null {
  const gguf = ggufOf(repo);
  if (gguf === null) return null;
  if (gguf.kind === 'repo' && gguf.quant === null && gguf.file === null) {
    const message = `vLLM loads one quantisation of a GGUF repository; name it in repo, as in ${repo}:Q4_K_M`;
    return { cause: 'model_files', message };
  }
  const version = image === null ? null : imageVersion(image);
  const byName = gguf.kind === 'repo' && gguf.file === null;
  const message = version === null ? null : ggufProblem(version, !byName);
  return message === null ? null : { cause: 'unsupported', message };
}
