/** A TCP server that answers by script, byte for byte: everything an engine should not do, and what it should. */
import { createServer, type Server, type Socket } from 'node:net';

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  /** In order, names lower-cased. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
  /** Counts connections from 1; `nth` counts requests on it from 1. */
  readonly connection: number;
  readonly nth: number;
  readonly socket: Socket;
}

export type Script = (request: SeenRequest, socket: Socket) => void;

export class RudeUpstream {
  readonly requests: SeenRequest[] = [];
  readonly sockets = new Set<Socket>();
  /** Connections accepted so far. */
  accepted = 0;
  script: Script;
  /** Called for each connection, before any byte. */
  onConnection: (socket: Socket) => void = () => undefined;
  readonly #server: Server;
  #port = 0;
  #watchers: (() => void)[] = [];

  constructor(script: Script) {
    this.script = script;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : 0;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get last(): SeenRequest {
    const request = this.requests[this.requests.length - 1];
    if (request === undefined) throw new Error('no request came');
    return request;
  }

  /** Resolves when the condition holds; looked at on every request, byte and close. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        this.#watchers = this.#watchers.filter((watcher) => watcher !== look);
        resolve();
      };
      this.#watchers.push(look);
    });
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #changed(): void {
    for (const watcher of this.#watchers) watcher();
  }

  #serve(socket: Socket): void {
    const connection = ++this.accepted;
    let nth = 0;
    let received: Buffer = Buffer.alloc(0);
    this.sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.sockets.delete(socket);
      this.#changed();
    });
    this.onConnection(socket);
    socket.on('data', (data: Buffer) => {
      received = Buffer.concat([received, data]);
      for (;;) {
        const parsed = takeRequest(received);
        if (parsed === undefined) break;
        received = parsed.rest;
        const request: SeenRequest = { ...parsed.request, connection, nth: ++nth, socket };
        this.requests.push(request);
        this.script(request, socket);
        this.#changed();
      }
    });
  }
}

type Parsed = Pick<SeenRequest, 'method' | 'path' | 'headers' | 'body'>;

function takeRequest(data: Buffer): { request: Parsed; rest: Buffer } | undefined {
  const end = data.indexOf('\r\n\r\n');
  if (end === -1) return undefined;
  const [first = '', ...lines] = data.subarray(0, end).toString('latin1').split('\r\n');
  const [method = '', path = ''] = first.split(' ');
  const headers = lines.map((line): readonly [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  const length = Number(headers.find(([name]) => name === 'content-length')?.[1] ?? '0');
  const from = end + 4;
  if (data.length < from + length) return undefined;
  return {
    request: { method, path, headers, body: data.subarray(from, from + length) },
    rest: data.subarray(from + length),
  };
}

/** A complete answer with a length. */
export function plain(status: number, body: string | Buffer, headers: readonly string[] = []): Buffer {
  const bytes = Buffer.from(body);
  const lines = ['content-type: application/json', ...headers, `content-length: ${bytes.length}`];
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status} Text\r\n${lines.join('\r\n')}\r\n\r\n`), bytes]);
}

/** The head of a chunked stream. */
export const STREAM_HEAD =
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n';

export function chunk(text: string | Buffer): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
}

export const LAST_CHUNK = '0\r\n\r\n';

/** A whole stream, each event its own chunk. */
export function stream(...events: readonly string[]): Buffer {
  return Buffer.concat([Buffer.from(STREAM_HEAD), ...events.map((event) => chunk(event)), Buffer.from(LAST_CHUNK)]);
}
