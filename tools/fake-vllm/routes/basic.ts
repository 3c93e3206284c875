import { shortId, sleepFor, scaled, VERSION, type App } from '../app.ts';
import type { Exchange } from '../exchange.ts';
import { DOCUMENTS } from './documents.ts';
import { type Route, route } from './route.ts';

/** Routes every server has, whatever its model. */
export function basicRoutes(app: App): Route[] {
  const documents = app.options.on('disable-fastapi-docs') ? [] : DOCUMENTS;
  return [
    ...documents.map(({ path, type, text }) =>
      route('HEAD GET', path, (x) => x.send(200, type, Buffer.from(text), [])),
    ),
    route('GET', '/load', (x) => x.json(200, { server_load: serverLoad(x) })),
    route('GET', '/version', (x) => x.json(200, { version: VERSION })),
    route('GET', '/kv_event_sources', (x) => x.json(200, {})),
    route('GET', '/health', health),
    route('GET', '/metrics', metrics),
    route('GET', '/v1/models', models),
    route('GET', '/ping', health),
    route('POST', '/ping', health),
  ];
}

function serverLoad(x: Exchange): number {
  const { options, engine } = x.app;
  return options.on('enable-server-load-tracking') ? engine.runningCount + engine.waitingCount : 0;
}

async function health(x: Exchange): Promise<void> {
  const { app } = x;
  const slow = app.faults.number('health_slow', 5000);
  if (slow !== undefined) await sleepFor(scaled(app, slow));
  if (app.faults.has('health_hang')) return;
  x.empty(app.engine.dead || app.faults.has('health_503') ? 503 : 200);
}

function metrics(x: Exchange): void {
  const { app } = x;
  if (app.faults.has('refuse_metrics')) {
    if (app.faults.text('refuse_metrics') === 'reset') x.cut(false);
    else x.detail(404, 'Not Found');
    return;
  }
  const counters = !app.faults.has('no_counters') && !app.options.on('disable-log-stats');
  const { runningCount: running, waitingCount: waiting, kvUsage } = app.engine;
  const text = app.metrics.render({ running, waiting, kvUsage, sleepLevel: app.sleepLevel }, counters);
  x.send(200, 'text/plain; version=1.0.0; charset=utf-8', Buffer.from(text), []);
}

function models(x: Exchange): void {
  const { options, knobs } = x.app;
  const created = Math.floor(Date.now() / 1000);
  const cards = [
    ...options.servedNames.map((id) => ({ id, root: options.repo, parent: null as string | null })),
    ...[...x.app.loras].map(([id, root]) => ({ id, root, parent: options.servedNames[0] ?? null })),
  ];
  const data = cards.map(({ id, root, parent }) => ({
    id,
    object: 'model',
    created,
    owned_by: knobs.label === '' ? 'vllm' : knobs.label,
    root,
    parent,
    max_model_len: options.maxModelLen,
    permission: [
      {
        id: `modelperm-${shortId()}`,
        object: 'model_permission',
        created,
        allow_create_engine: false,
        allow_sampling: true,
        allow_logprobs: true,
        allow_search_indices: false,
        allow_view: true,
        allow_fine_tuning: false,
        organization: '*',
        group: null,
        is_blocking: false,
      },
    ],
  }));
  x.json(200, { object: 'list', data });
}
