/** An engine that answers with recorded bytes: which ones, a header of the request names. Raw sockets, no HTTP library. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { type RecordedAnswer } from './recorded.ts';

/** Reaches engines as every unknown header does. */
export const REPLAY_HEADER = 'x-replay';

/** A request as it arrived. */
export interface ReplayedRequest {
  readonly line: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface ReplayServer extends AsyncDisposable {
  readonly url: string;
  readonly requests: readonly ReplayedRequest[];
}

export async function startReplayServer(answerOf: (name: string) => RecordedAnswer): Promise<ReplayServer> {
  const requests: ReplayedRequest[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    let received: Buffer = Buffer.alloc(0);
    socket.on('data', (data: Buffer) => {
      received = Buffer.concat([received, data]);
      const request = whole(received);
      if (request === undefined) return;
      received = Buffer.alloc(0);
      const name = request.headers[REPLAY_HEADER];
      // Health checks name nothing.
      if (name === undefined) {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
        return;
      }
      requests.push(request);
      answer(socket, answerOf(name));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function whole(data: Buffer): ReplayedRequest | undefined {
  const end = data.indexOf('\r\n\r\n');
  if (end === -1) return undefined;
  const [line = '', ...lines] = data.subarray(0, end).toString('latin1').split('\r\n');
  const headers = Object.fromEntries(
    lines.map((field) => {
      const colon = field.indexOf(':');
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
    }),
  );
  const length = Number(headers['content-length'] ?? '0');
  const body = data.subarray(end + 4);
  return body.length < length ? undefined : { line, headers, body };
}

/** With the framing that the recording left out: one HTTP chunk per event. */
function answer(socket: Socket, { status, headers, body }: RecordedAnswer): void {
  const chunked = headers.some(([name, value]) => name === 'transfer-encoding' && value === 'chunked');
  const fields = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  socket.write(`HTTP/1.1 ${status} Recorded\r\n${fields}\r\n`);
  if (!chunked) {
    socket.write(body);
    return;
  }
  for (const event of body.toString('latin1').split(/(?<=\n\n|\r\n\r\n)/)) {
    if (event === '') continue;
    const bytes = Buffer.from(event, 'latin1');
    socket.write(Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]));
  }
  socket.write('0\r\n\r\n');
}
