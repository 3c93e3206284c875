/** The way to one client. An exchange knows nothing else of it, so that the writing can be done differently one day. */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface ResponseWriter {
  readonly headSent: boolean;
  /** False once nothing that is written can arrive. */
  readonly open: boolean;
  /** Name, value, name, value … A body follows by write() and end(). */
  head(status: number, headers: readonly string[]): void;
  /** False: the client is slower than we are; `onDrain` is called once when it has caught up. */
  write(piece: Buffer, onDrain: () => void): boolean;
  /** The answer is complete. */
  end(last?: Buffer | string): void;
  /** Ends after these bytes without the mark of a complete answer. */
  breakOff(last: Buffer): void;
  /** Cuts the connection: what was sent must not be taken for a whole answer. */
  destroy(): void;
}

export class NodeResponseWriter implements ResponseWriter {
  private readonly response: ServerResponse;
  private readonly socket: Socket;
  private waitsForDrain = false;

  constructor(response: ServerResponse, socket: Socket) {
    this.response = response;
    this.socket = socket;
  }

  get headSent(): boolean {
    return this.response.headersSent;
  }

  get open(): boolean {
    return !this.socket.destroyed && this.socket.writable && !this.response.writableEnded;
  }

  head(status: number, headers: readonly string[]): void {
    this.response.writeHead(status, headers as string[]);
  }

  write(piece: Buffer, onDrain: () => void): boolean {
    if (!this.open) return true;
    if (this.response.write(piece)) return true;
    if (this.waitsForDrain) return false;
    this.waitsForDrain = true;
    this.response.once('drain', () => {
      this.waitsForDrain = false;
      onDrain();
    });
    return false;
  }

  end(last?: Buffer | string): void {
    if (last === undefined) this.response.end();
    else this.response.end(last);
  }

  breakOff(last: Buffer): void {
    const { socket, response } = this;
    if (!this.open) {
      socket.destroy();
      return;
    }
    // A FIN behind the last bytes, and no closing chunk: a reset could overtake them.
    response.write(last);
    socket.end();
  }

  destroy(): void {
    // Without chunks (HTTP/1.0) the end of the connection is the end of the answer: only a reset tells them apart.
    if (this.response.headersSent && !this.response.useChunkedEncodingByDefault) this.socket.resetAndDestroy();
    else this.socket.destroy();
  }
}
