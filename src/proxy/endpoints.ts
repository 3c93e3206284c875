/** The table of inference routes. What is not in it does not exist: paths towards engines come from here, never from a client. */
import type { ProxySettings } from './settings.ts';

/** How a stream of the route is framed, and with it how heartbeats, errors and the end look. */
export type StreamDialect = 'chat' | 'completions' | 'responses' | 'messages';

export type ErrorShape = 'openai' | 'anthropic';

export interface Endpoint {
  /** Label of metrics and access lines: a fixed set. */
  readonly name: string;
  readonly upstreamPath: string;
  readonly body: 'json' | 'multipart';
  /** Null: the route has no server-sent events that we could add to. */
  readonly dialect: StreamDialect | null;
  readonly errors: ErrorShape;
}

const json = (name: string, upstreamPath: string, dialect: StreamDialect | null = null): Endpoint => ({
  name,
  upstreamPath,
  body: 'json',
  dialect,
  errors: upstreamPath.startsWith('/v1/messages') ? 'anthropic' : 'openai',
});

const form = (name: string, upstreamPath: string): Endpoint => ({ ...json(name, upstreamPath), body: 'multipart' });

const ENDPOINTS: readonly Endpoint[] = [
  json('chat_completions', '/v1/chat/completions', 'chat'),
  json('completions', '/v1/completions', 'completions'),
  json('responses', '/v1/responses', 'responses'),
  json('messages', '/v1/messages', 'messages'),
  json('count_tokens', '/v1/messages/count_tokens'),
  json('embeddings', '/v1/embeddings'),
  json('rerank', '/v1/rerank'),
  json('rerank', '/v2/rerank'),
  json('score', '/v1/score'),
  json('pooling', '/pooling'),
  json('classify', '/classify'),
  json('tokenize', '/tokenize'),
  json('detokenize', '/detokenize'),
  json('audio_speech', '/v1/audio/speech'),
  form('audio_transcriptions', '/v1/audio/transcriptions'),
  form('audio_translations', '/v1/audio/translations'),
];

const BY_PATH: ReadonlyMap<string, Endpoint> = new Map(
  ENDPOINTS.flatMap((endpoint): [string, Endpoint][] => {
    const short = endpoint.upstreamPath.startsWith('/v1/') ? endpoint.upstreamPath.slice(3) : endpoint.upstreamPath;
    return [
      [short, endpoint],
      [endpoint.upstreamPath, endpoint],
    ];
  }),
);

export type Route =
  | { readonly kind: 'inference'; readonly endpoint: Endpoint; readonly own: boolean }
  | { readonly kind: 'models'; /** Raw, perhaps percent-encoded; null = the list. */ readonly id: string | null }
  | { readonly kind: 'realtime' }
  | { readonly kind: 'root' };

const extraRoutes = new WeakMap<ProxySettings, ReadonlyMap<string, Endpoint>>();

/** The models' own `routes`, all together. */
function extraEndpoints(settings: ProxySettings): ReadonlyMap<string, Endpoint> {
  const known = extraRoutes.get(settings);
  if (known !== undefined) return known;
  const found = new Map<string, Endpoint>();
  for (const model of settings.models.values()) {
    for (const path of model.routes) if (!BY_PATH.has(path)) found.set(path, json('custom', path));
  }
  extraRoutes.set(settings, found);
  return found;
}

/** Exact match on the raw path, no normalisation. */
export function findRoute(path: string, settings: ProxySettings): Route | undefined {
  const endpoint = BY_PATH.get(path);
  if (endpoint !== undefined) return { kind: 'inference', endpoint, own: false };
  if (path === '/v1/models' || path === '/models') return { kind: 'models', id: null };
  const id = path.startsWith('/v1/models/') ? path.slice(11) : path.startsWith('/models/') ? path.slice(8) : '';
  if (id !== '') return { kind: 'models', id };
  if (path === '/') return { kind: 'root' };
  if (path === '/v1/realtime' || path === '/realtime') return { kind: 'realtime' };
  const extra = extraEndpoints(settings).get(path);
  return extra && { kind: 'inference', endpoint: extra, own: true };
}

export function allowedMethods(route: Route): string {
  return route.kind === 'inference' ? 'POST' : 'GET, HEAD';
}

/** Errors on unknown paths below the messages route are answered in its shape too. */
export function errorShapeOf(path: string): ErrorShape {
  return /^(?:\/v1)?\/messages(?:\/|$)/.test(path) ? 'anthropic' : 'openai';
}
