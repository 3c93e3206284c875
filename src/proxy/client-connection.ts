/** One client's connection: one request at a time, in order, and an orderly end. */
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { GatewayError } from '../errors.ts';
import type { Clock } from '../platform/platform.ts';
import type { Bytes, Milliseconds } from '../units.ts';
import { CLIENT_STALL, HEADERS_TIMEOUT, KEEP_ALIVE, LINGER_BYTES, LINGER_TIME, MAX_PIPELINED } from './limits.ts';
import { errorBody, errorHeaders, statusOf } from './reply.ts';

/** Who has the connection now. */
export interface Occupant {
  clientGone(): void;
  /** The rest of its request is not HTTP. True when it takes the blame, because it was still being read. */
  requestBroken?(error: GatewayError): boolean;
}

/** A request behind the running one. */
interface Waiting {
  readonly run: () => void;
  /** Its last byte is here. */
  readonly isWhole: () => boolean;
}

const LINGER_CHECK: Milliseconds = 50;

export class ClientConnection {
  readonly socket: Socket;
  private readonly clock: Clock;
  private occupant: Occupant | null = null;
  private waiting: Waiting[] = [];
  /** The first of them runs in a moment, or when what was answered is read. */
  private nextIsDue = false;
  private idleSince: Milliseconds;
  /** Bytes of its last answers that it had not taken at the last look. */
  private unread: Bytes = 0;
  /** What is wrong with what follows the running request. */
  private broken: { readonly error: GatewayError; readonly told: () => void } | null = null;
  private lingering = false;

  constructor(socket: Socket, clock: Clock) {
    this.socket = socket;
    this.clock = clock;
    this.idleSince = clock.monotonic();
    socket.on('close', this.gone);
    // Half a connection is no connection: who ends the request side is taken to be gone.
    socket.on('end', this.gone);
    // Node takes its own listener off a connection that asks for a tunnel: a reset of that one must not end the process.
    socket.on('error', () => undefined);
  }

  /** Runs now, or when those before it are done. False when as many wait as may: the caller says what is wrong with that. */
  take(run: () => void, isWhole: () => boolean): boolean {
    if (this.broken !== null || this.isEnding) return true;
    if (this.occupant === null && this.waiting.length === 0 && !this.socket.writableNeedDrain) {
      run();
    } else if (this.waiting.length < MAX_PIPELINED) {
      this.waiting.push({ run, isWhole });
      this.next();
    } else {
      return false;
    }
    return true;
  }

  occupy(occupant: Occupant): void {
    this.occupant = occupant;
  }

  /** The answer is written, whole or not. */
  vacate(): void {
    this.occupant = null;
    this.idleSince = this.clock.monotonic();
    if (this.waiting.length > 0) this.next();
    else if (this.broken !== null) this.tellBroken(this.broken);
  }

  /** The running request has its answer, though its body is not here, or is what is broken: no other answer follows. */
  answeredEarly(): void {
    this.broken?.told();
    this.lingerAfterEnd();
  }

  /** Whoever pipelines and does not read waits for the answers already written. */
  private next(): void {
    if (this.nextIsDue || this.occupant !== null || this.isEnding) return;
    this.nextIsDue = true;
    if (this.socket.writableNeedDrain) this.socket.once('drain', this.startNext);
    else queueMicrotask(this.startNext);
  }

  private readonly startNext = (): void => {
    this.nextIsDue = false;
    const mayRun = this.occupant === null && !this.isEnding && !this.socket.writableNeedDrain;
    if (mayRun) this.waiting.shift()?.run();
    if (this.occupant === null && this.waiting.length > 0) this.next();
  };

  /**
   * Bytes came that are not HTTP or not for us, or none came in time. The whole requests before them are answered first, in
   * their order. `told` runs when it was answered here.
   */
  protocolError(error: GatewayError, told: () => void): void {
    if (this.broken !== null || this.lingering) return;
    // Only the last one can be what is broken.
    this.waiting = this.waiting.filter(({ isWhole }) => isWhole());
    if (this.occupant?.requestBroken?.(error) === true) return;
    this.broken = { error, told };
    if (this.idle) this.tellBroken(this.broken);
  }

  /**
   * More requests were sent ahead of their answers than may wait. Those that wait are dropped: kept until a long answer is
   * written, what was parsed of them would be memory without bound. Whoever is being answered is cut off with them.
   */
  tooManyWait(error: GatewayError, told: () => void): void {
    this.waiting = [];
    if (this.idle) this.protocolError(error, told);
    else this.socket.destroy();
  }

  private tellBroken({ error, told }: { error: GatewayError; told: () => void }): void {
    if (this.lingering) return;
    told();
    this.refuseRaw(error);
  }

  /** Answers where no response object exists, and ends the connection. */
  refuseRaw(error: GatewayError): void {
    if (!this.socket.writable) {
      this.socket.destroy();
      return;
    }
    const status = statusOf(error, 'openai');
    const body = errorBody(error, 'openai', '');
    const pairs = [
      ...errorHeaders(error, status),
      'content-length',
      String(Buffer.byteLength(body)),
      'connection',
      'close',
    ];
    let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}\r\n`;
    for (let index = 0; index < pairs.length; index += 2) head += `${pairs[index]}: ${pairs[index + 1]}\r\n`;
    this.socket.write(`${head}\r\n${body}`);
    this.lingerAfterEnd();
    this.socket.end();
  }

  /**
   * RFC 9112 §9.6: closing while the client still sends would reset the connection under our last answer. Node closes a
   * finished connection with destroySoon(); here the write side ends first, and the rest is read for a moment.
   */
  lingerAfterEnd(): void {
    if (this.lingering) return;
    this.lingering = true;
    const { socket } = this;
    socket.destroySoon = () => {
      socket.end();
    };
    const limit = socket.bytesRead + LINGER_BYTES;
    let left = Math.ceil(LINGER_TIME / LINGER_CHECK);
    const look = (): void => {
      if (socket.destroyed) return;
      if (--left <= 0 || socket.bytesRead > limit) socket.destroy();
      else timer = this.clock.after(LINGER_CHECK, look);
    };
    let timer = this.clock.after(LINGER_CHECK, look);
    socket.once('close', () => timer[Symbol.dispose]());
  }

  /** Its last answer is written: what the client sent behind that request is nobody's work any more. */
  private get isEnding(): boolean {
    return this.lingering || !this.socket.writable;
  }

  get idle(): boolean {
    return this.occupant === null && this.waiting.length === 0;
  }

  /** Node's own limit starts anew with every byte: an empty line now and then would hold a connection for ever. */
  isOverdue(now: Milliseconds): boolean {
    // Requests that wait while none runs wait for their client to read.
    if (this.occupant !== null) return false;
    // What is written and not read yet is owed to the client, however slowly it reads.
    const { writableLength } = this.socket;
    if (writableLength !== this.unread) {
      this.unread = writableLength;
      this.idleSince = now;
    }
    return now - this.idleSince > (writableLength > 0 ? CLIENT_STALL : KEEP_ALIVE + HEADERS_TIMEOUT);
  }

  private readonly gone = (): void => {
    this.waiting.length = 0;
    this.occupant?.clientGone();
    this.occupant = null;
  };
}
