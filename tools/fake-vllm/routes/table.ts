import type { App } from '../app.ts';
import { audioRoutes } from './audio.ts';
import { basicRoutes } from './basic.ts';
import { batchRoutes } from './batch.ts';
import { chatRoutes } from './chat.ts';
import { completionRoutes } from './completions.ts';
import { controlRoutes } from './control.ts';
import { devRoutes } from './dev.ts';
import { invocationRoutes } from './invocations.ts';
import { messagesRoutes } from './messages.ts';
import { poolingRoutes } from './pooling.ts';
import { responsesRoutes } from './responses.ts';
import type { Route } from './route.ts';
import { tokenRoutes } from './tokens.ts';

/** The routes a server has depend on what its model can do: the others are 404, as in vLLM. */
export function routesOf(app: App): Route[] {
  const { options, knobs } = app;
  const routes = [...basicRoutes(app)];
  if (options.task === 'generate') {
    routes.push(
      ...invocationRoutes(),
      ...chatRoutes(),
      ...batchRoutes(),
      ...responsesRoutes(),
      ...completionRoutes(),
      ...messagesRoutes(),
    );
  } else if (options.task === 'transcription' || options.task === 'speech') routes.push(...audioRoutes(options.task));
  else routes.push(...poolingRoutes(options.task));
  routes.push(...tokenRoutes(options.task));
  if (options.devMode) routes.push(...devRoutes());
  if (knobs.control) routes.push(...controlRoutes());
  return routes;
}
