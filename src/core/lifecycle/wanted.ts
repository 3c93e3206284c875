/** Does anybody ask for a model? */
import { isPinned } from '../memory/eviction.ts';
import type { Model } from '../state.ts';

/** A waiting ticket, an operator, or its own always_on. */
export function isWanted(model: Model): boolean {
  return model.queue.size > 0 || model.loadRequested || isPinned(model);
}
