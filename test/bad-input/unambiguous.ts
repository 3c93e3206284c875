/** What the gateway sends to an engine can be read in one way only, by whatever server stands there. */
import { createServer, type IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import { readStrictly, type StrictRequest } from './strict-request.ts';

/** Hop-by-hop (RFC 9110 §7.6.1) or a second way to frame a body; `connection` is there, with one fixed value. */
const NEVER = [
  ...['keep-alive', 'proxy-connection', 'proxy-authorization', 'proxy-authenticate', 'te', 'trailer', 'upgrade'],
  ...['transfer-encoding', 'expect', 'http2-settings', 'content-encoding', 'accept-encoding', 'cookie', 'forwarded'],
  ...['x-api-key', 'api-key', 'range', 'if-none-match', 'last-event-id', 'origin', 'referer', 'max-forwards'],
];
const NEVER_BEGINNING = ['x-forwarded-', 'x-vgw-', 'sec-', 'proxy-'];

/** Reads one forwarded request; throws when anything about it could be read in two ways. */
export function readUnambiguous(raw: Buffer): StrictRequest {
  const read = readStrictly(raw);
  if (read === 'incomplete') throw new Error(`an incomplete request reached the engine: ${shown(raw)}`);
  if ('fault' in read) throw new Error(`the engine was sent ${read.fault}: ${shown(raw)}`);
  if (read.bytes !== raw.length) throw new Error(`bytes behind the request: ${shown(raw)}`);
  if (read.method !== 'POST' || read.framing !== 'length') {
    throw new Error(`not a POST with one content-length: ${shown(raw)}`);
  }
  for (const [name, value] of read.fields) {
    if (NEVER.includes(name) || NEVER_BEGINNING.some((start) => name.startsWith(start)) || name.includes('_')) {
      throw new Error(`${name} reached the engine: ${shown(raw)}`);
    }
    if (name === 'connection' && value !== 'keep-alive') throw new Error(`connection: ${value} reached the engine`);
  }
  return read;
}

export interface OtherReading {
  readonly method: string;
  readonly target: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
}

/** How Node's own server reads these bytes: every request that it finds in them, and whether it found a fault. */
export async function readByNode(raw: Buffer): Promise<{ requests: OtherReading[]; faults: number }> {
  const requests: OtherReading[] = [];
  let faults = 0;
  const server = createServer({ requireHostHeader: true }, (request, response) => {
    bodyOf(request, (body) => {
      const { rawHeaders } = request;
      const fields = rawHeaders.flatMap((name, index): [string, string][] =>
        index % 2 === 0 ? [[name.toLowerCase(), rawHeaders[index + 1] ?? '']] : [],
      );
      requests.push({ method: request.method ?? '', target: request.url ?? '', fields, body });
      response.end('ok');
    });
  });
  server.on('clientError', (_error, socket) => {
    faults++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => {
    const wire = new Duplex({ read: () => undefined, write: (_piece, _encoding, done) => done() });
    wire.once('close', resolve);
    server.emit('connection', wire);
    wire.push(raw);
    wire.push(null);
  });
  return { requests, faults };
}

function bodyOf(request: IncomingMessage, done: (body: Buffer) => void): void {
  const pieces: Buffer[] = [];
  request.on('data', (piece: Buffer) => pieces.push(piece));
  request.on('end', () => done(Buffer.concat(pieces)));
}

export function shown(bytes: Buffer): string {
  const text = JSON.stringify(bytes.toString('latin1'));
  return text.length > 600 ? `${text.slice(0, 600)}… (${bytes.length} bytes)` : text;
}
