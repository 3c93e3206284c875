import type { App } from '../app.ts';
import type { Exchange } from '../exchange.ts';
import { audioRoutes } from './audio.ts';
import { basicRoutes } from './basic.ts';
import { batchRoutes } from './batch.ts';
import { chatRoutes } from './chat.ts';
import { completionRoutes } from './completions.ts';
import { controlRoutes } from './control.ts';
import { devRoutes } from './dev.ts';
import { messagesRoutes } from './messages.ts';
import { poolingRoutes } from './pooling.ts';
import { responsesRoutes } from './responses.ts';
import { tokenRoutes } from './tokens.ts';

export interface Route {
  /** As the log and `http_requests_total` show it. */
  readonly path: string;
  readonly pattern: RegExp;
  readonly methods: readonly string[];
  readonly run: (x: Exchange) => void | Promise<void>;
}

/** `{name}` in a path stands for one segment. */
export function route(methods: string, path: string, run: Route['run']): Route {
  const source = path.replaceAll(/\{[^}]+\}/g, '([^/]+)').replaceAll('.', '\\.');
  return { path, pattern: new RegExp(`^${source}$`), methods: methods.split(' '), run };
}

/** The routes a server has depend on what its model can do: the others are 404, as in vLLM. */
export function routesOf(app: App): Route[] {
  const { options, knobs } = app;
  const routes = [...basicRoutes(app)];
  if (options.task === 'generate') {
    routes.push(...chatRoutes(), ...batchRoutes(), ...responsesRoutes(), ...completionRoutes(), ...messagesRoutes());
  } else if (options.task === 'transcription' || options.task === 'speech') routes.push(...audioRoutes(options.task));
  else routes.push(...poolingRoutes(options.task));
  routes.push(...tokenRoutes(options.task));
  if (options.devMode) routes.push(...devRoutes());
  if (knobs.control) routes.push(...controlRoutes());
  return routes;
}
