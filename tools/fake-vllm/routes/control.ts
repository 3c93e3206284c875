import { readJson } from '../body.ts';
import { badRequest } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { type Route, route } from './route.ts';

/** Live control for tests; there only with `FAKE_VLLM_CONTROL=1`. */
export function controlRoutes(): Route[] {
  return [route('POST', '/__fake/config', configure), route('GET', '/__fake/stats', stats)];
}

/** `{fault?, ttft_ms?, token_ms?, tokens?}`; a `fault` replaces the whole list and wakes a hung engine. */
function configure(x: Exchange): void {
  const { app } = x;
  const body = readJson(x);
  const number = (name: string, apply: (value: number) => void): void => {
    const value = body[name];
    if (typeof value === 'number' && value >= 0) apply(value);
  };
  number('ttft_ms', (value) => (app.knobs.ttftMs = value));
  number('token_ms', (value) => (app.knobs.tokenMs = value));
  number('tokens', (value) => (app.knobs.tokens = value));
  const fault = body['fault'];
  if (typeof fault === 'string') {
    try {
      app.faults.replace(fault);
    } catch (error) {
      throw badRequest(error instanceof Error ? error.message : String(error), 'fault');
    }
    app.taken = 0;
    if (app.sleepLevel === 0 && !app.faults.has('hang_after')) app.engine.thaw();
  }
  const { ttftMs, tokenMs, tokens } = app.knobs;
  x.json(200, { fault: app.faults.toString(), ttft_ms: ttftMs, token_ms: tokenMs, tokens });
}

function stats(x: Exchange): void {
  const { engine, taken } = x.app;
  x.json(200, {
    running: engine.runningCount,
    waiting: engine.waitingCount,
    max_running: engine.maxRunning,
    served: engine.served,
    aborted: engine.aborted,
    taken,
    ...x.app.stats.report(),
  });
}
