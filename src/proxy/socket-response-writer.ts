/**
 * Writes answers straight to the client's socket, head and framing included: Node's server parses what strangers send and
 * keeps their requests in order, and its response object is told of nothing but the end. What it must be told is not part
 * of Node's public interface; `response-writer-check.ts` proves at start-up that it works, or another writer is taken.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { ResponseWriter } from './response-writer.ts';
import { responseHead, type Framing } from './response-head.ts';
import type { WriteGatherer } from './write-gatherer.ts';

/**
 * Pieces up to this size go out as one string with what frames them, which V8 keeps where it costs least; a buffer is memory
 * outside of its heap, that the collector has to look after. The bytes of larger ones are not copied.
 */
const ONE_STRING = 4_096;
const LAST_CHUNK = '0\r\n\r\n';
const CRLF = '\r\n';
const HEX = 16;

/** What Node's server looks at when a response ends, or its connection breaks. */
interface ResponseState extends ServerResponse {
  /** Not null: nobody else may write a head any more. */
  _header: string | null;
  _headerSent: boolean;
  /** The connection ends with this response. */
  _last: boolean;
  finished: boolean;
  /** The connection has carried as many requests as it may. */
  maxRequestsOnConnectionReached?: boolean;
}

export interface SocketWriterOptions {
  readonly response: ServerResponse;
  readonly socket: Socket;
  readonly gatherer: WriteGatherer;
  /** The value of the `date` field. */
  readonly date: () => string;
}

export class SocketResponseWriter implements ResponseWriter {
  private readonly response: ResponseState;
  private readonly socket: Socket;
  private readonly options: SocketWriterOptions;
  /** The head, until the first bytes of the body go with it. */
  private pending = '';
  private framing: Framing = 'none';
  private begun = false;
  private done = false;
  private waitsForDrain = false;

  constructor(options: SocketWriterOptions) {
    this.options = options;
    this.response = options.response as ResponseState;
    this.socket = options.socket;
  }

  get headSent(): boolean {
    return this.begun;
  }

  get open(): boolean {
    return !this.done && !this.socket.destroyed && this.socket.writable;
  }

  head(status: number, headers: readonly string[]): void {
    const { response } = this;
    const old = response.req.httpVersionMinor === 0;
    const spent = response.maxRequestsOnConnectionReached === true;
    const head = responseHead({
      status,
      headers,
      old,
      last: spent || !response.shouldKeepAlive,
      date: this.options.date(),
    });
    this.begun = true;
    this.framing = head.framing;
    this.pending = head.text;
    // From now on a parse error behind this request must not write an answer of Node's into ours.
    response._header = head.text;
    response._headerSent = true;
    if (head.last) response._last = true;
  }

  write(piece: Buffer, onDrain: () => void): boolean {
    if (!this.open) return true;
    if (this.send(piece, '')) return true;
    if (this.waitsForDrain) return false;
    this.waitsForDrain = true;
    this.socket.once('drain', () => {
      this.waitsForDrain = false;
      onDrain();
    });
    return false;
  }

  end(last?: Buffer | string): void {
    if (this.done) return;
    const piece = last === undefined ? undefined : typeof last === 'string' ? Buffer.from(last) : last;
    const tail = this.framing === 'chunked' ? LAST_CHUNK : '';
    if (this.open && (piece !== undefined || tail !== '' || this.pending !== '')) this.send(piece, tail);
    this.done = true;
    this.finish();
  }

  breakOff(last: Buffer): void {
    if (this.open) this.send(last, '');
    this.done = true;
    // A FIN behind the last bytes, and no closing chunk: a reset could overtake them.
    if (this.socket.writable) this.socket.end();
    else this.socket.destroy();
  }

  destroy(): void {
    this.done = true;
    // Where the end of the connection is the end of the answer, only a reset tells that it is not.
    if (this.begun && this.framing === 'close') this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  /** Head if it is due, piece with its framing, tail; false: the client is slower than we are. */
  private send(piece: Buffer | undefined, tail: string): boolean {
    const { socket } = this;
    const chunked = this.framing === 'chunked' && piece !== undefined && piece.length > 0;
    const before = chunked ? `${this.pending}${piece.length.toString(HEX)}${CRLF}` : this.pending;
    const after = chunked ? `${CRLF}${tail}` : tail;
    this.pending = '';
    this.options.gatherer.hold(socket);
    if (piece === undefined || piece.length === 0) return socket.write(`${before}${after}`, 'latin1');
    if (before === '' && after === '') return socket.write(piece);
    if (piece.length <= ONE_STRING) return socket.write(before + piece.toString('latin1') + after, 'latin1');
    if (before !== '') socket.write(before, 'latin1');
    const ready = socket.write(piece);
    return after === '' ? ready : socket.write(after, 'latin1');
  }

  /** Node's server takes the next request of the connection, or ends it; who does not read is waited for first. */
  private finish(): void {
    if (this.socket.writableNeedDrain) this.socket.once('drain', this.finished);
    else this.finished();
  }

  private readonly finished = (): void => {
    const { response, socket } = this;
    if (socket.destroyed || response.socket === null) return;
    response.finished = true;
    response.emit('finish');
  };
}
