/**
 * The control plane as a Hono app. Ids of models may hold slashes, raw or encoded, so the raw path is matched against one
 * table; the access rules are asked before any route runs, and whatever is not in the table does not exist.
 */
import { Hono } from 'hono';
import { allows } from '../auth/access.ts';
import type { RequestFacts } from '../auth/auth.ts';
import { GatewayFailure, gatewayError } from '../errors.ts';
import { errorReply } from './reply.ts';
import { matchRoute } from './routing.ts';
import type { AdminContext, Environment, Route } from './routing.ts';
import type { AdminOptions } from './options.ts';

/** What a caller may choose as its own request id. */
const REQUEST_ID = /^[\w.:-]{1,128}$/;
const REQUEST_ID_LENGTH = 32;
const PREFLIGHT_MAX_AGE_S = 600;
const SENT_BY_PAGES = 'authorization, x-api-key, content-type, last-event-id, x-request-id';

export function createApp(options: AdminOptions, routes: readonly Route[]): Hono<Environment> {
  const app = new Hono<Environment>();
  app.use(async (context, next) => {
    const given = context.req.header('x-request-id');
    const id = given !== undefined && REQUEST_ID.test(given) ? given : options.random.hex(REQUEST_ID_LENGTH);
    context.set('requestId', id);
    await next();
    context.res.headers.set('x-request-id', id);
    allowOrigin(context, options.config().server.corsOrigins);
  });
  app.all('*', (context) => dispatch(context, options, routes));
  app.onError((error, context) => {
    if (error instanceof GatewayFailure) return errorReply(error.error);
    options.telemetry.log.error({ err: error, request: context.get('requestId') }, 'the control plane failed');
    return errorReply(gatewayError('internal_error', 'The gateway failed to answer. Its log says why.'));
  });
  return app;
}

async function dispatch(context: AdminContext, options: AdminOptions, routes: readonly Route[]): Promise<Response> {
  const path = rawPath(context.req.url);
  const matches = routes.flatMap((route) => {
    const parameters = matchRoute(route, path);
    return parameters ? [{ route, parameters }] : [];
  });
  const [first] = matches;
  if (!first) return errorReply(gatewayError('route_not_found', `There is no route ${shorten(path)}.`));
  const allow = allowedMethods(matches.map(({ route }) => route));
  const { method } = context.req;
  if (method === 'OPTIONS') return preflight(context, options, allow);
  const wanted = method === 'HEAD' ? 'GET' : method;
  const found = matches.find(({ route }) => route.method === wanted);
  if (!found) {
    return errorReply(
      gatewayError('method_not_allowed', `${shorten(path)} answers ${allow}, not ${method}.`, { allow }),
    );
  }
  const verdict = options.access().check(found.route.need, factsOf(context, found.route.mutating));
  if ('error' in verdict) return errorReply(verdict.error);
  context.set('principal', verdict.principal);
  const answer = await found.route.answer(context, found.parameters);
  if (found.route.mutating) logCommand(context, options, path, answer.status);
  return answer;
}

export function factsOf(context: AdminContext, mutating: boolean): RequestFacts {
  const { remoteAddress, headers, rawHeaders, loopbackListener } = context.env;
  return { method: context.req.method, headers, rawHeaders, remoteAddress, loopbackListener, mutating };
}

/** May this caller see and do what administrators may? */
export function isPrivileged(context: AdminContext, options: AdminOptions): boolean {
  if (allows(context.get('principal'), 'admin')) return true;
  const verdict = options.access().check('admin', factsOf(context, false));
  return 'principal' in verdict;
}

/** Every change that somebody asked for, with who and how it ended. */
function logCommand(context: AdminContext, { telemetry }: AdminOptions, path: string, status: number): void {
  const { keyId } = context.get('principal');
  const fields = { request: context.get('requestId'), key: keyId, peer: context.env.remoteAddress, path, status };
  telemetry.log.info(fields, 'control command');
}

function preflight(context: AdminContext, options: AdminOptions, allow: string): Response {
  const headers = new Headers({ allow });
  if (originOf(context, options.config().server.corsOrigins) !== undefined) {
    headers.set('access-control-allow-methods', allow);
    headers.set('access-control-allow-headers', SENT_BY_PAGES);
    headers.set('access-control-max-age', String(PREFLIGHT_MAX_AGE_S));
  }
  return new Response(null, { status: 204, headers });
}

function allowOrigin(context: AdminContext, corsOrigins: readonly string[]): void {
  if (corsOrigins.length === 0) return;
  context.res.headers.append('vary', 'origin');
  const origin = originOf(context, corsOrigins);
  if (origin === undefined) return;
  context.res.headers.set('access-control-allow-origin', origin);
  context.res.headers.set('access-control-expose-headers', 'x-request-id, retry-after, retry-after-ms, x-should-retry');
}

function originOf(context: AdminContext, corsOrigins: readonly string[]): string | undefined {
  const origin = context.req.header('origin');
  if (origin === undefined) return undefined;
  const allowed = corsOrigins.some((entry) => entry === '*' || entry.toLowerCase() === origin.toLowerCase());
  return allowed ? origin : undefined;
}

function allowedMethods(routes: readonly Route[]): string {
  const methods = routes.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
  return [...new Set(methods), 'OPTIONS'].join(', ');
}

/** The path as it was sent, but for the normalisation of `.` and `..` that a URL parser does. */
function rawPath(url: string): string {
  return new URL(url).pathname;
}

function shorten(path: string): string {
  return path.length > 120 ? `${path.slice(0, 120)}…` : path;
}
