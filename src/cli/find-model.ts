/** A model in a status answer, by its name or an alias. */
import type { ModelStatus, StatusAnswer } from '../admin/contract.ts';

export function findModel(
  { models }: Pick<StatusAnswer, 'models'>,
  asked: string,
): { readonly name: string; readonly model: ModelStatus } | undefined {
  const own = models[asked];
  if (own) return { name: asked, model: own };
  const found = Object.entries(models).find(([, { aliases }]) => aliases.includes(asked));
  return found && { name: found[0], model: found[1] };
}
