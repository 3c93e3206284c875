/** What a parsed request is: for the control plane, for us, or for nobody. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Need, Principal } from '../auth/auth.ts';
import { gatewayError, type GatewayError, type Outcome } from '../errors.ts';
import type { ClientConnection } from './client-connection.ts';
import { preflightHeaders } from './cors.ts';
import { allowedMethods, errorShapeOf, findRoute, type ErrorShape, type Route } from './endpoints.ts';
import { Exchange } from './exchange.ts';
import { checkHead, readTarget, type Target } from './head-rules.ts';
import { bodyFor, checkBodyHead } from './intake.ts';
import { LINGER_BYTES } from './limits.ts';
import { describeModel, listModels } from './models-route.ts';
import { commonHeaders } from './reply-headers.ts';
import { errorBody, errorHeaders, rowOf, statusOf } from './reply.ts';
import { RequestLedger } from './request-ledger.ts';
import type { ProxySettings } from './settings.ts';
import type { ControlPaths, World } from './world.ts';

export interface Incoming {
  readonly connection: ClientConnection;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expects: 'nothing' | 'continue' | 'unknown';
}

const SAFE_ID = /^[A-Za-z0-9._-]{1,128}$/;

export class Front {
  private readonly world: World;
  private readonly loopback: boolean;
  private readonly control: ControlPaths | undefined;

  constructor(world: World, loopback: boolean, control: ControlPaths | undefined) {
    this.world = world;
    this.loopback = loopback;
    this.control = control;
  }

  serve(incoming: Incoming): void {
    const { request, response, connection } = incoming;
    const target = readTarget(request.method ?? '', request.url ?? '');
    const broken = checkHead(request) ?? this.checkTarget(target);
    if (broken !== null || target === null) {
      this.visit(incoming, '').refuse(broken ?? gatewayError('invalid_body', 'The request target is malformed.'), true);
      return;
    }
    if (this.control?.owns(target.path) === true) {
      if (incoming.expects === 'continue') response.writeContinue();
      if (this.world.draining) response.setHeader('connection', 'close');
      connection.occupy({ clientGone: () => undefined });
      response.once('close', () => connection.vacate());
      response.once('prefinish', () => endsBeforeBody(incoming));
      this.control.handle(request, response);
      return;
    }
    this.route(incoming, target, this.visit(incoming, target.path));
  }

  private visit(incoming: Incoming, path: string): Visit {
    return new Visit(this.world, incoming, path);
  }

  private checkTarget(target: Target | null): GatewayError | null {
    return target === null ? gatewayError('invalid_body', 'The request target is malformed.') : null;
  }

  private route(incoming: Incoming, target: Target, visit: Visit): void {
    const { request } = incoming;
    const { settings } = visit;
    const method = request.method ?? '';
    const route = findRoute(target.path, settings);
    if (incoming.expects === 'unknown') {
      visit.refuse(gatewayError('expectation_failed', '100-continue is the only expectation that can be met.'), true);
    } else if (method === 'OPTIONS' && (route !== undefined || target.path === '*')) {
      const allow = route === undefined ? 'GET, HEAD, POST' : allowedMethods(route);
      visit.answer(204, ['allow', `${allow}, OPTIONS`, ...preflightHeaders(request, settings.corsOrigins)], '');
    } else if (route === undefined) {
      visit.refuse(unknownRoute(method, target.path));
    } else if (!allowedMethods(route).split(', ').includes(method)) {
      const allow = allowedMethods(route);
      visit.refuse(gatewayError('method_not_allowed', `${method} is not possible here; use ${allow}.`, { allow }));
    } else {
      this.permitted(incoming, target, route, visit);
    }
  }

  private permitted(incoming: Incoming, target: Target, route: Route, visit: Visit): void {
    visit.route = route.kind === 'inference' ? route.endpoint.name : route.kind;
    visit.path = pathOf(route, target.path);
    if (route.kind === 'root') {
      visit.answer(200, ['content-type', 'text/plain; charset=utf-8'], 'vLLM Gateway\n');
      return;
    }
    const { request } = incoming;
    const need: Need = 'inference';
    const verdict = this.world.access.check(need, {
      method: request.method ?? '',
      headers: request.headers,
      rawHeaders: request.rawHeaders,
      remoteAddress: request.socket.remoteAddress,
      loopbackListener: this.loopback,
      mutating: route.kind === 'inference' || route.kind === 'realtime',
    });
    if ('error' in verdict) {
      visit.refuse(verdict.error);
      return;
    }
    visit.keyId = verdict.principal.keyId;
    if (route.kind === 'realtime') {
      visit.refuse(gatewayError('route_not_found', 'The realtime API is not supported in this version.'));
    } else if (route.kind === 'models') {
      this.models(route.id, verdict.principal, visit);
    } else {
      this.infer(incoming, target, route, verdict.principal, visit);
    }
  }

  private models(id: string | null, principal: Principal, visit: Visit): void {
    const { modelState } = this.world;
    const json = ['content-type', 'application/json'];
    if (id === null) {
      visit.answer(200, json, JSON.stringify(listModels(visit.settings, principal, modelState)));
      return;
    }
    const found = describeModel(id, visit.settings, principal, modelState);
    if ('code' in found) visit.refuse(found);
    else visit.answer(200, json, JSON.stringify(found));
  }

  private infer(
    incoming: Incoming,
    target: Target,
    route: Extract<Route, { kind: 'inference' }>,
    principal: Principal,
    visit: Visit,
  ): void {
    const { request, response, connection } = incoming;
    const problem = checkBodyHead(request, visit.settings.maxBodySize);
    if (problem !== null) {
      visit.refuse(problem);
      return;
    }
    const body = bodyFor(route.endpoint, request.headers['content-type'] ?? '');
    if ('code' in body) {
      visit.refuse(body);
      return;
    }
    if (incoming.expects === 'continue') response.writeContinue();
    const exchange = new Exchange({
      world: this.world,
      settings: visit.settings,
      request,
      writer: this.world.writers.for(response, request.socket),
      requestId: visit.requestId,
      endpoint: route.endpoint,
      ownRoute: route.own ? target.path : null,
      query: target.query,
      principal,
      body,
      ledger: visit.ledger(),
      ended: () => connection.vacate(),
      refusedEarly: (error, broken) => visit.endsEarly(error, broken),
    });
    connection.occupy(exchange);
  }
}

/** The control plane has answered: what is left of the body is read and thrown away for a moment, and the connection ends. */
function endsBeforeBody({ request, response, connection, expects }: Incoming): void {
  if (request.complete || isShort(request, expects)) return;
  connection.answeredEarly();
  response.once('finish', () => connection.socket.end());
}

/** What is left of such a body is sooner read than its connection replaced. */
function isShort(request: IncomingMessage, expects: Incoming['expects']): boolean {
  const length = request.headers['content-length'];
  // A client that waits for the word may never send what it has announced.
  return length !== undefined && Number(length) <= LINGER_BYTES && expects === 'nothing';
}

/** As a table of routes has it: what clients fill in is left out. */
function pathOf(route: Route, path: string): string {
  return route.kind === 'models' && route.id !== null ? '/v1/models/{model}' : path;
}

function unknownRoute(method: string, path: string): GatewayError {
  if (method === 'TRACE' || method === 'TRACK') {
    return gatewayError('method_not_allowed', `${method} is not possible here.`, { allow: 'GET, HEAD, POST, OPTIONS' });
  }
  const shown = path.length > 128 ? `${path.slice(0, 128)}…` : path;
  return gatewayError('route_not_found', `There is no route ${method} ${shown}.`);
}

/** A request that is answered here, without an engine; or the beginning of one that is not. */
class Visit {
  readonly settings: ProxySettings;
  readonly requestId: string;
  route = 'unknown';
  /** Path of the route; '' while it is not known to be one. */
  path = '';
  keyId = 'anonymous';
  private readonly world: World;
  private readonly incoming: Incoming;
  private readonly shape: ErrorShape;
  private noted: RequestLedger | null = null;

  constructor(world: World, incoming: Incoming, path: string) {
    this.world = world;
    this.incoming = incoming;
    this.settings = world.settings();
    this.shape = errorShapeOf(path);
    const given = incoming.request.headers['x-request-id'];
    this.requestId = typeof given === 'string' && SAFE_ID.test(given) ? given : world.nextId();
  }

  ledger(): RequestLedger {
    this.noted ??= new RequestLedger({
      platform: this.world.platform,
      telemetry: this.world.telemetry,
      id: this.requestId,
      method: this.incoming.request.method ?? 'unknown',
      route: this.route,
      path: this.path,
      rawHeaders: this.incoming.request.rawHeaders,
    });
    this.noted.keyId = this.keyId;
    return this.noted;
  }

  refuse(error: GatewayError, close = false): void {
    const status = statusOf(error, this.shape);
    const text = errorBody(error, this.shape, this.requestId);
    this.reply(status, errorHeaders(error, status), text, { close, outcome: rowOf(error).outcome, code: error.code });
  }

  answer(status: number, headers: readonly string[], body: string): void {
    this.reply(status, headers, body, { close: false, outcome: 'completed', code: '' });
  }

  /** What is left of the body is read and thrown away, or the connection ends: true. */
  endsEarly(error: GatewayError | null = null, broken = false): boolean {
    const { request, connection, expects } = this.incoming;
    // A client that was too slow is not waited for once more, and of a broken request nothing more can come.
    const mayWait = error?.code !== 'request_timeout' && !broken;
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
    const hasBody = length !== undefined || encoding !== undefined;
    if (!hasBody || (mayWait && isShort(request, expects))) return false;
    connection.lingerAfterEnd();
    return true;
  }

  private reply(
    status: number,
    headers: readonly string[],
    body: string,
    how: { readonly close: boolean; readonly outcome: Outcome; readonly code: string },
  ): void {
    const { request, response, connection } = this.incoming;
    const ledger = this.ledger();
    let last = how.close;
    if (last) connection.lingerAfterEnd();
    else last = !request.complete && this.endsEarly();
    const common = commonHeaders(this.world, this.settings, request, this.requestId, this.shape);
    const length = Buffer.byteLength(body);
    const all = [...headers, ...common];
    if (status !== 204) all.push('content-length', String(length));
    if (last && !this.world.draining) all.push('connection', 'close');
    ledger.status = status;
    const writer = this.world.writers.for(response, request.socket);
    writer.head(status, all);
    ledger.sent(length);
    writer.end(request.method === 'HEAD' ? undefined : body);
    ledger.end(how.outcome, how.code, 0, 0, null);
    connection.vacate();
  }
}
