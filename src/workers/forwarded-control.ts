/**
 * Requests that the controller's process answers, whichever process has the connection: of the control plane, and for
 * the list of models, which says what state each is in. A worker sends each on over a connection of its own, whose first
 * line says who sent it; what follows is the request as it came.
 */
import { request as sendRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import type { Platform } from '../platform/platform.ts';
import type { HandedConnections } from '../proxy/handed-connections.ts';
import type { ControlPaths } from '../proxy/proxy.ts';
import { SECOND, type Bytes, type Milliseconds } from '../units.ts';

/** Of one connection alone (RFC 9110 section 7.6.1), and what trailers there will be, of which none are sent on. */
const HOP_FIELDS: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'te', 'trailer', 'upgrade']);
const ANSWER_HOP_FIELDS: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'trailer', 'transfer-encoding']);
/** A request of HTTP/1.0 may name none, but what is sent on is HTTP/1.1. The control plane takes the same for granted. */
const NO_HOST = ['host', 'localhost'];

const FIRST_LINE_TIME: Milliseconds = 5 * SECOND;
const MAX_FIRST_LINE: Bytes = 256;
const LINE_FEED = 10;

export interface ControlAddress {
  readonly path: string;
  readonly token: string;
}

/** The list of models, and each of them, in both ways to write it: only the first process knows what state they are in. */
const MODELS = /^(?:\/v1)?\/models(?:\/|$)/;

/** `owns`: the paths of the control plane on this listener. */
export function forwardControl(address: ControlAddress, owns: (path: string) => boolean): ControlPaths {
  return {
    owns: (path) => MODELS.test(path) || owns(path),
    handle: (request, response) => forward(address, request, response),
  };
}

function forward({ path, token }: ControlAddress, request: IncomingMessage, response: ServerResponse): void {
  const socket = connect(path);
  socket.write(`${token} ${request.socket.remoteAddress ?? ''}\n`);
  const sent = sendRequest({
    createConnection: () => socket,
    method: request.method ?? 'GET',
    path: request.url ?? '/',
    headers: fieldsOf(request),
    setHost: false,
  });
  let answered = false;
  sent.once('response', (answer) => {
    answered = true;
    response.writeHead(answer.statusCode ?? 500, answer.statusMessage, without(answer.rawHeaders, ANSWER_HOP_FIELDS));
    // Whoever follows events waits for the head alone.
    response.flushHeaders();
    // The client left, or the gateway ends: either side is told by its connection.
    pipeline(answer, response, () => answer.destroy());
  });
  sent.on('error', () => {
    // The answer came before the body was read: what is left of that is nobody's, and the answer has an end of its own.
    if (!answered) response.destroy();
  });
  response.once('close', () => sent.destroy());
  // Whoever answers need not wait for a body, which may never come.
  sent.flushHeaders();
  // Not as a pipeline, which would take the connection away from the answer with the one that wants no more of the body.
  request.pipe(sent);
  request.on('error', () => sent.destroy());
  sent.once('close', () => request.resume());
}

function fieldsOf({ rawHeaders, headers }: IncomingMessage): string[] {
  const fields = without(rawHeaders, HOP_FIELDS);
  if (headers.host === undefined) fields.push(...NO_HOST);
  // That one was met already; any other is refused, or not looked at, as in one process.
  return headers.expect?.trim().toLowerCase() === '100-continue' ? without(fields, new Set(['expect'])) : fields;
}

function without(fields: readonly string[], left: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? '';
    if (!left.has(name.toLowerCase())) kept.push(name, fields[at + 1] ?? '');
  }
  return kept;
}

export interface ControlDoor extends AsyncDisposable {
  readonly address: ControlAddress;
}

/**
 * The other end. Connections that come with the token are given to `connections`, as from the peer that they name; those
 * beyond `limit` are closed at once, and the clients' with them.
 */
export async function openControlDoor(
  platform: Platform,
  connections: HandedConnections,
  limit: number,
): Promise<ControlDoor> {
  const { random, sha256 } = platform;
  // An abstract name: no file that could be left, no folder that has to be writable. Whoever can reach it needs the token.
  const address = { path: `\0vllm-gateway-${random.hex(32)}`, token: random.hex(64) };
  const expected = sha256(address.token);
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    // Digests are compared: how long that takes tells nothing of the token.
    readFirstLine(platform, socket, (line) => {
      const [token = '', peer = ''] = line.split(' ');
      if (sha256(token) !== expected) {
        socket.destroy();
        return;
      }
      Object.defineProperty(socket, 'remoteAddress', { value: peer === '' ? undefined : peer });
      // A body that breaks off is told of by the worker, whose client it was; here nothing came of it.
      socket.once('end', () => socket.destroy());
      connections.give(socket);
    });
  });
  server.maxConnections = limit;
  await listening(server, address.path);
  return {
    address,
    [Symbol.asyncDispose]: async () => {
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      // One connection could not be accepted: its request fails, the others do not.
      server.on('error', () => undefined);
      resolve();
    });
  });
}

function readFirstLine({ clock }: Pick<Platform, 'clock'>, socket: Socket, read: (line: string) => void): void {
  const late = clock.after(FIRST_LINE_TIME, () => socket.destroy());
  let got = Buffer.alloc(0);
  const onReadable = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    got = Buffer.concat([got, chunk]);
    const end = got.indexOf(LINE_FEED);
    if (end === -1 && got.length <= MAX_FIRST_LINE) return;
    late[Symbol.dispose]();
    socket.off('readable', onReadable);
    if (end === -1) {
      socket.destroy();
      return;
    }
    const rest = got.subarray(end + 1);
    if (rest.length > 0) socket.unshift(rest);
    read(got.toString('latin1', 0, end));
  };
  socket.on('readable', onReadable);
  socket.on('error', () => undefined);
  socket.once('close', () => late[Symbol.dispose]());
}
