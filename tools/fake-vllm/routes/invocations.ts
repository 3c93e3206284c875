import { readJson } from '../body.ts';
import type { Exchange } from '../exchange.ts';
import { chat } from './chat.ts';
import { completions } from './completions.ts';
import { type Route, route } from './route.ts';

export function invocationRoutes(): Route[] {
  return [route('POST', '/invocations', invoke)];
}

/** The SageMaker route: whatever request it looks like. */
function invoke(x: Exchange): Promise<void> {
  const body = readJson(x);
  if (body['messages'] !== undefined) return chat(x);
  return completions(x);
}
