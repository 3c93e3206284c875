/**
 * The hop to an engine of our own: HTTP/1.1 on a plain socket, made for small JSON and event streams. What the engine
 * writes is read strictly (answer-reader.ts); external servers, which may be anything, are reached through undici.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../platform/platform.ts';
import { SECOND, type Milliseconds } from '../units.ts';
import { AnswerReader, type AnswerSink } from './answer-reader.ts';
import { readThroughInbox } from './inbox.ts';
import { requestHead } from './request-head.ts';
import type { UpstreamCall, UpstreamFailure, UpstreamListener, UpstreamRequest } from './upstream-client.ts';
import { unlessConnected, type ConnectionOptions, type UpstreamConnection } from './upstream-connection.ts';

/** Head and body up to this size go out as one string (as answers do); the bytes of larger ones are not copied. */
const ONE_STRING = 4_096;
/** Closed this long before the engine says that it would be. */
const HINT_MARGIN: Milliseconds = SECOND;

export class EngineConnection implements UpstreamConnection, AnswerSink {
  idleSince: Milliseconds = 0;
  readonly connectTimeout: Milliseconds;
  private readonly options: ConnectionOptions;
  private readonly clock: Clock;
  private readonly socket: Socket;
  private readonly reader: AnswerReader;
  private readonly host: string;
  private idleLimit: Milliseconds;
  private connecting: Disposable | null;
  private idleTimer: Disposable | null = null;
  private connected = false;
  private served = 0;
  private call: Call | null = null;
  private error: Error | null = null;
  private ended = false;
  /** The engine has ended the connection, and with it, rightly, its answer. */
  private endsWhenRead = false;
  private toldGone = false;

  constructor(options: ConnectionOptions) {
    const { hostname, port, host } = new URL(options.origin);
    this.options = options;
    this.clock = options.clock;
    this.connectTimeout = options.connectTimeout;
    this.idleLimit = options.idleLimit;
    this.host = host;
    this.reader = new AnswerReader(this);
    const address = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || HTTP_PORT) };
    const onread = readThroughInbox((chunk) => this.onData(chunk));
    this.socket = options.network.connect({ ...address, noDelay: true, onread });
    this.socket
      .on('connect', () => this.onConnect())
      .on('error', (error: Error) => {
        this.error = error;
      })
      .on('end', () => this.onEnd())
      .on('close', () => this.onClose());
    this.connecting = unlessConnected(options, () => {
      this.error = new Error(`no connection within ${options.connectTimeout} ms`);
      this.socket.destroy();
    });
  }

  send(request: UpstreamRequest, listener: UpstreamListener): UpstreamCall {
    const call = new Call(this, request, listener);
    this.call = call;
    if (this.connected) this.write(call);
    return call;
  }

  close(): void {
    this.ended = true;
    this.endsWhenRead = false;
    this.socket.destroy();
    // An idle one is gone at once; with a call, when the socket is.
    if (this.call === null) this.tellGone();
  }

  /** Closes it for a call that is not wanted any more; it counts as in use until the engine cannot be working for it. */
  closeThen(closed: () => void): void {
    this.ended = true;
    this.call = null;
    this.reader.stop();
    if (this.socket.closed) {
      closed();
      return;
    }
    this.socket.once('close', closed);
    this.socket.destroy();
  }

  resume(): void {
    this.reader.go();
    if (this.call !== null && !this.reader.waiting) this.socket.resume();
  }

  interim(status: number): void {
    this.call?.listener.interim(status);
  }

  head(status: number, fields: readonly string[]): boolean {
    const { call } = this;
    if (call === null) return true;
    call.answered = true;
    this.readHint(fields);
    return this.orPause(call.listener.head(status, fields));
  }

  data(piece: Buffer): boolean {
    return this.call === null || this.orPause(this.call.listener.data(piece));
  }

  whole(reusable: boolean): void {
    const { call } = this;
    if (call === null) return;
    this.call = null;
    call.over = true;
    this.served++;
    // An engine that answers before it has read the whole request will not read the rest of it as the next one.
    const again = reusable && !this.ended && this.socket.writable && this.socket.writableLength === 0;
    // First: what the listener does next may want a connection.
    if (again) this.rest();
    else this.close();
    call.listener.end();
  }

  fault(detail: string): void {
    this.error = new Error(detail);
    this.fail('protocol');
    this.close();
  }

  private orPause(ready: boolean): boolean {
    if (!ready) this.socket.pause();
    return ready;
  }

  private onConnect(): void {
    this.connected = true;
    this.connecting?.[Symbol.dispose]();
    this.connecting = null;
    this.options.opened();
    if (this.call !== null) this.write(this.call);
  }

  private write(call: Call): void {
    const { request, listener } = call;
    const head = requestHead(request, this.host);
    if (head === null) {
      this.error = new Error('the request cannot be written as HTTP');
      this.fail('protocol');
      this.close();
      return;
    }
    call.reused = this.served > 0;
    call.wasSent = true;
    this.reader.expect();
    listener.sent(call.reused);
    if (this.call !== call) return;
    const { socket } = this;
    const pieces = Buffer.isBuffer(request.body) ? [request.body] : request.body;
    if (head.length + request.bodyBytes <= ONE_STRING) {
      let all = head;
      for (const piece of pieces) all += piece.toString('latin1');
      socket.write(all, 'latin1');
      return;
    }
    socket.cork();
    socket.write(head, 'latin1');
    for (const piece of pieces) socket.write(piece);
    socket.uncork();
  }

  private onData(chunk: Buffer): void {
    if (this.call === null) {
      // Nobody asked: what else may come on this connection is anybody's guess.
      this.close();
      return;
    }
    this.call.answered = true;
    this.reader.push(chunk);
  }

  private onEnd(): void {
    if (this.call === null) this.close();
    else this.endsWhenRead = this.reader.closed();
  }

  private onClose(): void {
    this.connecting?.[Symbol.dispose]();
    this.idleTimer?.[Symbol.dispose]();
    this.ended = true;
    const { call } = this;
    const whole = this.endsWhenRead || this.reader.complete;
    if (call !== null && !whole) this.fail(call.wasSent ? 'lost' : 'unreachable');
    this.tellGone();
  }

  private fail(kind: UpstreamFailure['kind']): void {
    const { call } = this;
    if (call === null) return;
    this.call = null;
    call.over = true;
    this.ended = true;
    // What was checked out counts as gone before the next attempt asks for a connection.
    this.tellGone();
    const code = this.error !== null && 'code' in this.error ? `${String(this.error.code)} ` : '';
    const detail = `${code}${this.error?.message ?? 'the engine closed the connection'}`;
    call.listener.failed({ kind, reused: call.reused, answered: call.answered, detail });
  }

  private tellGone(): void {
    if (this.toldGone) return;
    this.toldGone = true;
    this.options.gone(this);
  }

  /** Idle from now on. One timer at a time, which looks again when the socket was used meanwhile. */
  private rest(): void {
    this.socket.resume();
    this.options.freed(this);
    if (this.idleTimer === null && !this.ended) this.watchIdle(this.idleLimit);
  }

  private watchIdle(span: Milliseconds): void {
    this.idleTimer = this.clock.after(span, () => {
      this.idleTimer = null;
      if (this.ended) return;
      if (this.call !== null) this.watchIdle(this.idleLimit);
      else {
        const left = this.idleSince + this.idleLimit - this.clock.monotonic();
        if (left <= 0) this.close();
        else this.watchIdle(left);
      }
    });
  }

  /** `keep-alive: timeout=5`: a request that meets the engine's own close would be lost. */
  private readHint(fields: readonly string[]): void {
    if (this.served > 0) return;
    for (let index = 0; index + 1 < fields.length; index += 2) {
      if (fields[index]?.length !== KEEP_ALIVE.length || fields[index]?.toLowerCase() !== KEEP_ALIVE) continue;
      const seconds = /timeout=(\d{1,6})/.exec(fields[index + 1] ?? '')?.[1];
      if (seconds !== undefined) this.idleLimit = Math.min(this.idleLimit, Number(seconds) * SECOND - HINT_MARGIN);
    }
  }
}

const HTTP_PORT = 80;
const KEEP_ALIVE = 'keep-alive';

class Call implements UpstreamCall {
  readonly request: UpstreamRequest;
  readonly listener: UpstreamListener;
  reused = false;
  wasSent = false;
  answered = false;
  over = false;
  private readonly connection: EngineConnection;

  constructor(connection: EngineConnection, request: UpstreamRequest, listener: UpstreamListener) {
    this.connection = connection;
    this.request = request;
    this.listener = listener;
  }

  resume(): void {
    if (!this.over) this.connection.resume();
  }

  cancel(closed: () => void): void {
    if (this.over) {
      closed();
      return;
    }
    this.over = true;
    this.connection.closeThen(closed);
  }
}
