/** An engine that keeps every byte it is sent, and answers each request with a digest of that request's body. */
import { createHash } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { readStrictly } from './strict-request.ts';

export interface Recorded {
  readonly raw: Buffer;
  readonly socket: Socket;
}

export type Script = (request: Recorded) => void;

export function digestOf(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex').slice(0, 16);
}

/** The answer of an engine that works. */
function echo({ raw, socket }: Recorded): void {
  const read = readStrictly(raw);
  const body = read === 'incomplete' || 'fault' in read ? Buffer.from('?') : read.body;
  const answer = JSON.stringify({ echo: digestOf(body) });
  socket.write(
    `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${answer.length}\r\n\r\n${answer}`,
  );
}

export class Recorder implements AsyncDisposable {
  /** Everything since the last `take`, one entry per request; bytes that are no request are an entry too. */
  #requests: Recorded[] = [];
  /** Answers until told otherwise. */
  script: Script = echo;
  /** Bytes of requests that have not ended, all connections together. */
  pending = 0;
  #port = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer((socket) => this.#serve(socket));

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : 0;
    return this.#port;
  }

  /** What came since it was asked last. */
  take(): readonly Recorded[] {
    const taken = this.#requests;
    this.#requests = [];
    return taken;
  }

  /** The request with this id; those of one client may share it. */
  find(id: string): Buffer {
    const field = `\r\nx-request-id: ${id}\r\n`;
    const found = this.#requests.find(({ raw }) => raw.includes(field));
    if (found === undefined) throw new Error(`no request has the id ${id}`);
    return found.raw;
  }

  readonly echo: Script = echo;

  /** Answers as an engine does, again. */
  behave(): void {
    this.script = echo;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    let pieces: Buffer[] = [];
    let held = 0;
    let wanted = 0;
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.pending -= held;
    });
    const keep = (bytes: Buffer): void => {
      pieces = [bytes];
      this.pending += bytes.length - held;
      held = bytes.length;
    };
    socket.on('data', (piece: Buffer) => {
      pieces.push(piece);
      held += piece.length;
      this.pending += piece.length;
      if (held < wanted) return;
      let data = Buffer.concat(pieces);
      for (;;) {
        const read = data.length === 0 ? 'incomplete' : readStrictly(data);
        if (read === 'incomplete') break;
        const bytes = 'fault' in read ? data.length : read.bytes;
        const raw = data.subarray(0, bytes);
        data = data.subarray(bytes);
        const request = { raw, socket };
        if (isOwnQuestion(raw)) {
          echo(request);
          continue;
        }
        this.#requests.push(request);
        this.script(request);
      }
      keep(data);
      wanted = lengthToWaitFor(data);
    });
  }
}

/** The gateway asks after an engine's health by itself, now and then; such a question has nothing of a client in it. */
function isOwnQuestion(raw: Buffer): boolean {
  return /^GET \/(?:health|metrics) HTTP\/1\.1\r\nhost: [\d.:]+\r\nconnection: [\w-]+\r\n(?:authorization: Bearer vgw-\w+\r\n)?\r\n$/.test(
    raw.toString('latin1'),
  );
}

/** Of a large body, so that it is not read anew with every piece. */
function lengthToWaitFor(data: Buffer): number {
  const end = data.indexOf('\r\n\r\n');
  if (end === -1) return 0;
  const length = /\r\ncontent-length: (\d+)/i.exec(data.toString('latin1', 0, end))?.[1];
  return length === undefined ? 0 : end + 4 + Number(length);
}
