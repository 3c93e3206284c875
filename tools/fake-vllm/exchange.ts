import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { App } from './app.ts';
import { crash } from './death.ts';
import { anthropicError, openaiError, type RequestError } from './errors.ts';
import type { Faults } from './faults.ts';

export type Header = readonly [string, string];

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  307: 'Temporary Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
};

/** One request and its answer, with the header names, order and quirks of uvicorn. */
export class Exchange {
  readonly app: App;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly started = performance.now();
  /** The process's faults, with those of the body on top once it was read. */
  faults: Faults;
  /** Route template for `http_requests_total`. */
  handler = 'none';
  body: Buffer = Buffer.alloc(0);
  /** Everything but 401 and unhandled errors passes the CORS layer, which adds `vary`. */
  vary = true;
  /** Set by generation: what to do when the client goes away. */
  onAbort: (() => void) | undefined;
  private readonly echoedId: string | undefined;

  constructor(app: App, req: IncomingMessage, res: ServerResponse, path: string, query: URLSearchParams) {
    this.app = app;
    this.req = req;
    this.res = res;
    this.path = path;
    this.query = query;
    this.faults = app.faults;
    if (app.options.on('enable-request-id-headers')) {
      this.echoedId = this.header('x-request-id') ?? randomBytes(16).toString('hex');
    }
    res.once('close', () => {
      if (res.writableFinished || this.onAbort === undefined) return;
      this.onAbort();
      if (this.faults.has('crash_on_abort')) crash(app, 1);
    });
  }

  header(name: string): string | undefined {
    const value = this.req.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }

  /** True once nothing more can be sent. */
  get gone(): boolean {
    return this.res.destroyed || this.res.writableEnded;
  }

  head(
    status: number,
    before: readonly Header[],
    type: string | undefined,
    length: number | 'chunked' | 'none',
    after: readonly Header[] = [],
  ): void {
    const headers: string[] = ['date', new Date().toUTCString(), 'server', 'uvicorn'];
    const add = (name: string, value: string): void => {
      headers.push(name, value);
    };
    for (const [name, value] of before) add(name, value);
    if (typeof length === 'number') add('content-length', String(length));
    if (type !== undefined) add('content-type', type);
    for (const [name, value] of after) add(name, value);
    const origin = this.header('origin');
    if (this.vary && origin !== undefined && this.app.options.allowedOrigins.includes(origin)) {
      add('access-control-allow-origin', origin);
    }
    if (this.vary) add('vary', 'Origin');
    if (this.echoedId !== undefined) add('x-request-id', this.echoedId);
    if (!this.res.shouldKeepAlive) add('connection', 'close');
    if (length === 'chunked') add('transfer-encoding', 'chunked');
    this.res.sendDate = false;
    // Without this Node adds `Connection` and `Keep-Alive`, which uvicorn does not send.
    this.res.removeHeader('connection');
    this.res.writeHead(status, REASONS[status] ?? 'Unknown', headers);
    this.accessLog(status);
  }

  json(status: number, value: unknown, before: readonly Header[] = []): void {
    this.send(status, 'application/json', Buffer.from(JSON.stringify(value)), before);
  }

  empty(status: number): void {
    this.send(status, undefined, Buffer.alloc(0), []);
  }

  send(status: number, type: string | undefined, data: Buffer, before: readonly Header[]): void {
    if (this.gone) return;
    const cut = this.faults.has('cut_after');
    this.head(status, before, type, data.length);
    this.count(status, data.length);
    if (status === 200 && this.onAbort !== undefined && (cut || this.faults.has('rst_after'))) {
      this.res.write(data.subarray(0, Math.floor(data.length / 2)));
      this.cut(cut);
      return;
    }
    this.res.end(this.req.method === 'HEAD' ? undefined : data);
  }

  error(error: RequestError, dialect: 'openai' | 'anthropic' = 'openai'): void {
    this.json(error.status, dialect === 'openai' ? openaiError(error) : anthropicError(error));
  }

  detail(status: number, text: string, before: readonly Header[] = []): void {
    this.json(status, { detail: text }, before);
  }

  /** Breaks the connection off: by FIN after what was written, or by RST. */
  cut(politely: boolean): void {
    const { socket } = this.res;
    if (socket === null) return;
    if (politely) socket.end();
    else socket.resetAndDestroy();
  }

  count(status: number, bytes: number): void {
    if (QUIET_HANDLERS.has(this.handler)) return;
    const seconds = (performance.now() - this.started) / 1000;
    this.app.metrics.http(this.handler, this.req.method ?? 'GET', status, this.body.length, bytes, seconds);
  }

  private accessLog(status: number): void {
    const { quietEndpoints } = this.app.options;
    if (quietEndpoints.has('*') || quietEndpoints.has(this.path)) return;
    const { remoteAddress = '', remotePort = 0 } = this.req.socket;
    const line = `"${this.req.method ?? ''} ${this.req.url ?? ''} HTTP/${this.req.httpVersion}"`;
    this.app.log.plain(
      `INFO:     ${remoteAddress.replace('::ffff:', '')}:${remotePort} - ${line} ${status} ${REASONS[status] ?? ''}`,
    );
  }
}

const QUIET_HANDLERS = new Set(['/metrics', '/health', '/load', '/ping', '/version', '/server_info']);
