/** One socket to a server that others run: an undici client that carries one request at a time and tells what it did. */
import { Client } from 'undici';
import type { Dispatcher } from 'undici';
import type { Milliseconds } from '../units.ts';
import { MAX_HEADER_BYTES } from './limits.ts';
import type { UpstreamCall, UpstreamFailure, UpstreamListener, UpstreamRequest } from './upstream-client.ts';
import { unlessConnected, type ConnectionOptions, type UpstreamConnection } from './upstream-connection.ts';

const CLOSED = 'closed by the gateway';

export class ExternalConnection implements UpstreamConnection {
  /** Requests served on the present socket. */
  served = 0;
  /** Monotonic; when it became idle. */
  idleSince: Milliseconds = 0;
  readonly connectTimeout: Milliseconds;
  private readonly options: ConnectionOptions;
  private readonly client: Client;
  private call: Call | null = null;
  private connected = false;
  private connecting: Disposable | null = null;
  private ended = false;

  constructor(options: ConnectionOptions) {
    this.options = options;
    this.connectTimeout = options.connectTimeout;
    this.client = new Client(options.origin, {
      pipelining: 1,
      keepAliveTimeout: Math.max(1, options.idleLimit),
      keepAliveMaxTimeout: Math.max(1, options.idleLimit),
      // All other deadlines are the exchange's.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: MAX_HEADER_BYTES,
      // Looked at about once a second only: it cleans up after ours, which is exact.
      connect: { timeout: options.connectTimeout },
    });
    this.client.on('connect', () => {
      this.connected = true;
      this.stopWaiting();
      this.served = 0;
      options.opened();
    });
    this.client.on('disconnect', () => {
      this.connected = false;
      this.served = 0;
      // With a request that was not written yet the client connects anew; an idle one is of no use.
      if (this.call === null) this.close();
      else this.waitForConnection(this.call);
    });
  }

  send(request: UpstreamRequest, listener: UpstreamListener): UpstreamCall {
    const call = new Call(this, listener);
    this.call = call;
    if (!this.connected) this.waitForConnection(call);
    this.client.dispatch(
      {
        method: 'POST',
        path: request.path,
        headers: [...request.headers, 'content-length', String(request.bodyBytes)],
        body: request.body as Buffer,
        blocking: false,
        idempotent: false,
      },
      call,
    );
    return call;
  }

  /** The call is over and left the connection in a clean state. */
  release(): void {
    this.call = null;
    this.served++;
    if (!this.ended) this.options.freed(this);
  }

  /** Closes the socket now; a running call hears of it. */
  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.stopWaiting();
    this.options.gone(this);
    this.client.destroy(new Error(CLOSED), () => undefined);
  }

  /** Like close(), but it counts as in use until the engine cannot be working for it any more. */
  closeThen(closed: () => void): void {
    const first = !this.ended;
    this.ended = true;
    this.stopWaiting();
    this.client.destroy(new Error(CLOSED), () => {
      if (first) this.options.gone(this);
      closed();
    });
  }

  private waitForConnection(call: Call): void {
    if (this.connecting !== null || this.ended) return;
    this.connecting = unlessConnected(this.options, () => {
      this.connecting = null;
      const error = new Error(`no connection within ${this.connectTimeout} ms`);
      call.onError(Object.assign(error, { code: NOT_CONNECTED }));
    });
  }

  private stopWaiting(): void {
    this.connecting?.[Symbol.dispose]();
    this.connecting = null;
  }
}

const NOT_CONNECTED = 'NOT_CONNECTED';

/** undici's callbacks, as our own; one per request. */
class Call implements UpstreamCall, Dispatcher.DispatchHandler {
  private readonly connection: ExternalConnection;
  private readonly listener: UpstreamListener;
  private over = false;
  private wasSent = false;
  private reused = false;
  private answered = false;
  private headSeen = false;
  private resumeReading: (() => void) | null = null;

  constructor(connection: ExternalConnection, listener: UpstreamListener) {
    this.connection = connection;
    this.listener = listener;
  }

  resume(): void {
    if (!this.over) this.resumeReading?.();
  }

  cancel(closed: () => void): void {
    if (this.over) {
      closed();
      return;
    }
    this.over = true;
    this.connection.closeThen(closed);
  }

  onConnect(): void {
    if (this.over) return;
    this.wasSent = true;
    this.reused = this.connection.served > 0;
    this.listener.sent(this.reused);
  }

  onResponseStarted(): void {
    this.answered = true;
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void): boolean {
    if (this.over) return true;
    if (status < 200) {
      this.listener.interim(status);
      return true;
    }
    this.headSeen = true;
    this.resumeReading = resume;
    return this.listener.head(
      status,
      raw.map((text) => text.toString('latin1')),
    );
  }

  onData(chunk: Buffer): boolean {
    return this.over || this.listener.data(chunk);
  }

  onComplete(): void {
    if (this.over) return;
    this.over = true;
    // First: what the listener does next may want a connection.
    this.connection.release();
    this.listener.end();
  }

  onError(error: Error): void {
    if (this.over) return;
    this.over = true;
    const failure = this.classify(error);
    this.connection.close();
    this.listener.failed(failure);
  }

  private classify(error: Error): UpstreamFailure {
    const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
    // A length that does not fit, told before the head was read, is a head that contradicts itself.
    const contradiction = !this.headSeen && code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH';
    const kind = contradiction || isProtocolError(error, code) ? 'protocol' : this.wasSent ? 'lost' : 'unreachable';
    return { kind, reused: this.reused, answered: this.answered, detail: `${code} ${error.message}`.trim() };
  }
}

/** undici reports some answers that are not HTTP (an interim 100, an upgrade nobody asked for) as socket errors with these texts. */
function isProtocolError({ name, message }: Error, code: string): boolean {
  // The end of the connection in the middle of an answer is a loss, whatever the parser calls it.
  if (name === 'HTTPParserError') return !message.includes('EOF');
  if (code === 'UND_ERR_SOCKET') return message === 'bad response' || message === 'bad upgrade';
  return code === 'UND_ERR_HEADERS_OVERFLOW' || code === 'ERR_ASSERTION' || code === 'UND_ERR_INVALID_ARG';
}
