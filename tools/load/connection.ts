/** One client connection of the load, and the pool that keeps idle ones for a moment. */
import { connect, type Socket } from 'node:net';
import { ResponseReader } from './response-reader.ts';

/** When the client leaves: so long after its last byte went out, after so many events, or within its own body. */
export type Leave =
  | { readonly after: 'ms'; readonly ms: number }
  | { readonly after: 'events'; readonly events: number }
  | { readonly after: 'body'; readonly share: number };

export interface Sent {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body: Buffer;
  readonly leave: Leave | null;
  /** Called when it goes out on a new connection: until its first byte comes back nobody knows whether that was accepted. */
  readonly onFresh?: () => void;
  /** Called once, when the first byte of the answer is here. */
  readonly onFirst?: () => void;
}

export interface Received {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
  readonly whole: boolean;
  readonly broken: string | null;
  /** The client left before the answer was whole. */
  readonly left: boolean;
  /** Of `performance.now()`; `firstAt` null = nothing came. */
  readonly sentAt: number;
  readonly firstAt: number | null;
  readonly endAt: number;
}

/** Below what a server allows, so that none is used in the moment in which it closes. */
const IDLE_MS = 2_000;

class Connection {
  readonly socket: Socket;
  idleSince = 0;
  private sent: Sent | null = null;
  private reader = new ResponseReader();
  private done: ((received: Received) => void) | null = null;
  private sentAt = 0;
  private firstAt: number | null = null;
  private left = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (data: Buffer) => this.data(data));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.reader.end();
      this.finish();
    });
  }

  get usable(): boolean {
    return !this.socket.destroyed && this.socket.writable && performance.now() - this.idleSince < IDLE_MS;
  }

  ask(port: number, sent: Sent): Promise<Received> {
    this.sent = sent;
    this.reader = new ResponseReader();
    this.firstAt = null;
    const { method, path, body, leave } = sent;
    const head = `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
    return new Promise((resolve) => {
      this.done = resolve;
      this.sentAt = performance.now();
      this.socket.cork();
      this.socket.write(head, 'latin1');
      this.socket.write(leave?.after === 'body' ? body.subarray(0, Math.floor(leave.share * body.length)) : body);
      this.socket.uncork();
      if (leave?.after === 'ms') this.timer = setTimeout(() => this.leave(), leave.ms);
      if (leave?.after === 'body') this.timer = setTimeout(() => this.leave(), 1 + leave.share * 20);
    });
  }

  private leave(): void {
    this.left = true;
    this.socket.destroy();
    this.finish();
  }

  private data(data: Buffer): void {
    const { sent, reader } = this;
    if (sent === null || this.done === null) return;
    if (this.firstAt === null) {
      this.firstAt = performance.now();
      sent.onFirst?.();
    }
    reader.take(data);
    if (reader.broken !== null) this.socket.destroy();
    if (reader.whole || reader.broken !== null) this.finish();
    else if (sent.leave?.after === 'events' && eventsIn(reader.body) >= sent.leave.events) this.leave();
  }

  private finish(): void {
    const { done, reader } = this;
    if (done === null) return;
    this.done = null;
    clearTimeout(this.timer);
    const { status, headers, body, whole, broken } = reader;
    const moments = { sentAt: this.sentAt, firstAt: this.firstAt, endAt: performance.now() };
    done({ status, headers, body, whole, broken, left: this.left && !whole, ...moments });
  }
}

export function eventsIn(body: string): number {
  let count = 0;
  for (let at = body.indexOf('\n\n'); at !== -1; at = body.indexOf('\n\n', at + 2)) count += 1;
  return count;
}

export class ConnectionPool implements Disposable {
  port: number;
  private idle: Connection[] = [];
  private readonly all = new Set<Connection>();

  constructor(port: number) {
    this.port = port;
  }

  async ask(sent: Sent): Promise<Received> {
    let connection = this.idle.pop();
    while (connection !== undefined && !connection.usable) {
      this.drop(connection);
      connection = this.idle.pop();
    }
    if (connection === undefined) {
      connection = new Connection(this.port);
      this.all.add(connection);
      sent.onFresh?.();
    }
    const received = await connection.ask(this.port, sent);
    if (received.whole && received.headers.get('connection') !== 'close' && !connection.socket.destroyed) {
      connection.idleSince = performance.now();
      this.idle.push(connection);
    } else this.drop(connection);
    return received;
  }

  get(path: string): Promise<Received> {
    return this.ask({ method: 'GET', path, body: Buffer.alloc(0), leave: null });
  }

  post(path: string, body: unknown): Promise<Received> {
    return this.ask({ method: 'POST', path, body: Buffer.from(JSON.stringify(body)), leave: null });
  }

  /** Closes what is idle; what is under way stays. */
  closeIdle(): void {
    for (const connection of this.idle) this.drop(connection);
    this.idle = [];
  }

  [Symbol.dispose](): void {
    for (const connection of this.all) connection.socket.destroy();
    this.all.clear();
    this.idle = [];
  }

  private drop(connection: Connection): void {
    connection.socket.destroy();
    this.all.delete(connection);
  }
}
