/** Answers that go on until somebody ends them: how to end each, and whether its caller may still have it. */
import type { Need } from '../auth/auth.ts';
import { factsOf } from './app.ts';
import type { AdminOptions } from './options.ts';
import type { AdminContext } from './routing.ts';

export type OpenAnswers = Map<() => void, () => boolean>;

/** Asked again as at its beginning: the keys may be others by now. */
export function stillAllowed(context: AdminContext, { access }: AdminOptions, need: Need): () => boolean {
  return () => 'principal' in access().check(need, factsOf(context, false));
}
