import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { App } from './app.ts';
import { UndecodableBody } from './body.ts';
import { RequestError } from './errors.ts';
import { Exchange, type Header } from './exchange.ts';
import type { Route } from './routes/route.ts';
import { routesOf } from './routes/table.ts';

const GUARDED = /^\/(v1|v2|inference|cohere)(\/|$)/;
const LONGEST_URL = 65_536;
const INVALID = 'Invalid HTTP request received.';

/** The HTTP side: uvicorn's manners around vLLM's routes. Not listening until `listen` is called. */
export function makeServer(app: App): Server {
  const routes = routesOf(app);
  const server = createServer({ maxHeaderSize: 4 * 1024 * 1024, keepAliveTimeout: 0 }, (req, res) => {
    void serve(app, routes, req, res);
  });
  server.headersTimeout = 0;
  server.requestTimeout = 0;
  server.timeout = 0;
  server.on('connection', (socket: Socket) => {
    socket.setNoDelay(true);
    app.stats.connected(socket);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
    else refuse(socket);
  });
  return server;
}

function refuse(socket: Socket): void {
  const head = `HTTP/1.1 400 Bad Request\r\ndate: ${new Date().toUTCString()}\r\nserver: uvicorn\r\n`;
  const tail = `content-type: text/plain; charset=utf-8\r\ncontent-length: ${INVALID.length}\r\nconnection: close\r\n\r\n`;
  socket.end(`${head}${tail}${INVALID}`);
}

async function serve(app: App, routes: readonly Route[], req: IncomingMessage, res: ServerResponse): Promise<void> {
  const url = req.url ?? '/';
  app.stats.request(req.socket);
  keepAlive(app, req, res);
  if (url.length >= LONGEST_URL) {
    refuse(req.socket);
    return;
  }
  if (req.headers.upgrade?.toLowerCase() === 'websocket') {
    const date = new Date().toUTCString();
    const head = `HTTP/1.1 403 Forbidden\r\nDate: ${date}\r\nConnection: close\r\nContent-Length: 0\r\n`;
    req.socket.end(`${head}Content-Type: text/plain; charset=utf-8\r\n\r\n`);
    return;
  }
  const mark = url.indexOf('?');
  const path = decodePath(mark === -1 ? url : url.slice(0, mark));
  const x = new Exchange(app, req, res, path, new URLSearchParams(mark === -1 ? '' : url.slice(mark + 1)));
  try {
    x.body = await readBody(req);
    await answer(x, routes);
  } catch (error) {
    if (res.headersSent || res.destroyed) res.destroy();
    else if (error instanceof UndecodableBody) x.detail(400, 'There was an error parsing the body');
    else if (error instanceof RequestError) x.error(error);
    else {
      app.log.error(`fake-vllm: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      x.error(new RequestError(500, 'InternalServerError', 'Internal server error'));
    }
  }
}

const unanswered = new WeakMap<Socket, number>();

/** Node's own keep-alive adds a second of grace; uvicorn closes on the dot after the last response. */
function keepAlive(app: App, req: IncomingMessage, res: ServerResponse): void {
  const { socket } = req;
  unanswered.set(socket, (unanswered.get(socket) ?? 0) + 1);
  socket.setTimeout(0);
  res.once('finish', () => {
    const left = (unanswered.get(socket) ?? 1) - 1;
    unanswered.set(socket, left);
    if (left === 0 && !socket.destroyed) socket.setTimeout(app.options.keepAliveMs);
  });
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

async function readBody(req: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function answer(x: Exchange, routes: readonly Route[]): Promise<void> {
  const method = x.req.method ?? 'GET';
  if (method === 'OPTIONS' && preflight(x)) return;
  if (method !== 'OPTIONS' && GUARDED.test(x.path) && !hasKey(x)) {
    x.vary = false;
    x.json(401, { error: 'Unauthorized' });
    return;
  }
  const here = routes.filter((route) => route.pattern.test(x.path));
  const first = here[0];
  if (first === undefined) {
    notFound(x, routes);
    return;
  }
  x.handler = first.path;
  const route = here.find((one) => one.methods.includes(method));
  if (route === undefined) {
    x.detail(405, 'Method Not Allowed', [['allow', first.methods.join(', ')]]);
    return;
  }
  await route.run(x);
}

function notFound(x: Exchange, routes: readonly Route[]): void {
  const trimmed = x.path.replace(/\/$/, '');
  const match = trimmed === x.path ? undefined : routes.find((route) => route.pattern.test(trimmed));
  if (match === undefined) {
    x.detail(404, 'Not Found');
    return;
  }
  const location: Header = ['location', `http://${x.header('host') ?? ''}${trimmed}`];
  x.head(307, [['content-length', '0'], location], undefined, 'none');
  x.res.end();
}

function hasKey(x: Exchange): boolean {
  const { apiKeys } = x.app.options;
  if (apiKeys.length === 0) return true;
  const match = /^bearer (.*)$/i.exec(x.header('authorization') ?? '');
  return match !== null && apiKeys.includes(match[1] ?? '');
}

/** A browser's question before a cross-origin request; true when this was one. */
function preflight(x: Exchange): boolean {
  const origin = x.header('origin');
  const asked = x.header('access-control-request-method');
  if (origin === undefined || asked === undefined) return false;
  const allowed = x.app.options.allowedOrigins.includes(origin) || x.app.options.allowedOrigins.includes('*');
  const headers: Header[] = [
    [
      'vary',
      'Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network',
    ],
    ['access-control-allow-methods', 'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY'],
    ['access-control-max-age', '600'],
  ];
  if (allowed) headers.push(['access-control-allow-origin', origin]);
  const wanted = x.header('access-control-request-headers');
  if (wanted !== undefined) headers.push(['access-control-allow-headers', wanted]);
  x.vary = false;
  const text = allowed ? 'OK' : 'Disallowed CORS origin';
  x.send(allowed ? 200 : 400, 'text/plain; charset=utf-8', Buffer.from(text), headers);
  return true;
}
