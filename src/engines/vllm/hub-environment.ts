/** Access to the model hub. */
import type { ModelConfig } from '../../config/config.ts';
import { isElsewhere } from './gguf.ts';

type Variables = Readonly<Record<string, string>>;

const truthy = (text: string | undefined): boolean => /^(?:1|true|yes|on)$/i.test(text ?? '');

/** The hub is not asked for anything. */
export function isOffline(env: Variables): boolean {
  return truthy(env['HF_HUB_OFFLINE']) || truthy(env['TRANSFORMERS_OFFLINE']);
}

/**
 * The token, under both of its names, for an engine that gets its files from the hub; one that needs none sees none,
 * since whoever may inspect a container reads its environment.
 */
export function hubEnvironment(
  context: { readonly model: ModelConfig; readonly hubToken?: string | null },
  own: Variables,
): Variables {
  const token = own['HF_TOKEN'] ?? own['HUGGING_FACE_HUB_TOKEN'] ?? context.hubToken ?? '';
  if (token === '' || isOffline(own)) return {};
  if (isElsewhere(context.model.repo) && !namesOtherRepos(context.model.extraArgs)) return {};
  return { HF_TOKEN: token, HUGGING_FACE_HUB_TOKEN: token };
}

/** A local model may still name a tokenizer, a draft model or adapters of the hub. */
function namesOtherRepos(extra: readonly string[]): boolean {
  return extra.some((word) => /^--?(?:tok|hf|spec|lora|revision|code)/i.test(word));
}
