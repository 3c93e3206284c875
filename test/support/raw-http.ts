import { connect, type Socket } from 'node:net';

/** An HTTP/1.1 answer as it stood on the wire. */
export interface RawAnswer {
  readonly status: number;
  /** In order, names lower-cased. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
  /** Payloads of the HTTP chunks, when the body was chunked. */
  readonly chunks: readonly Buffer[];
  /** How the answer ended: whole, the connection closed before, or reset. */
  readonly end: 'whole' | 'closed' | 'reset';
}

export interface RawOptions {
  /** Shuts the write side down after the request. */
  readonly halfClose?: boolean;
  /** Looks at the bytes so far; true ends the reading. */
  readonly enough?: (received: Buffer, socket: Socket) => boolean;
}

/** Sends bytes and reads one answer, without any HTTP client in between. */
export function rawRequest(port: number, bytes: string | Buffer, options: RawOptions = {}): Promise<RawAnswer> {
  return new Promise((done) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: options.halfClose === true });
    let received: Buffer = Buffer.alloc(0);
    let finished = false;
    const finish = (end: RawAnswer['end']): void => {
      if (finished) return;
      finished = true;
      socket.destroy();
      done(parse(received, end));
    };
    socket.once('connect', () => {
      if (options.halfClose === true) socket.end(bytes);
      else socket.write(bytes);
    });
    socket.on('data', (data: Buffer) => {
      received = Buffer.concat([received, data]);
      if (isWhole(received)) finish('whole');
      else if (options.enough?.(received, socket) === true) finish('closed');
    });
    socket.on('end', () => finish('closed'));
    socket.on('error', () => finish('reset'));
    socket.on('close', () => finish('closed'));
  });
}

function headOf(data: Buffer): { status: number; headers: [string, string][]; at: number } | undefined {
  const at = data.indexOf('\r\n\r\n');
  if (at === -1) return undefined;
  const [first = '', ...lines] = data.subarray(0, at).toString('latin1').split('\r\n');
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { status: Number(first.split(' ')[1] ?? '0'), headers, at: at + 4 };
}

function isWhole(data: Buffer): boolean {
  const head = headOf(data);
  if (head === undefined) return false;
  const value = (name: string): string | undefined => head.headers.find(([key]) => key === name)?.[1];
  if (value('transfer-encoding') === 'chunked') return dechunk(data.subarray(head.at)).complete;
  const length = Number(value('content-length') ?? '-1');
  return length >= 0 && data.length - head.at >= length;
}

function dechunk(data: Buffer): { chunks: Buffer[]; complete: boolean } {
  const chunks: Buffer[] = [];
  let at = 0;
  for (;;) {
    const line = data.indexOf('\r\n', at);
    if (line === -1) return { chunks, complete: false };
    const size = Number.parseInt(data.subarray(at, line).toString('latin1'), 16);
    if (size === 0) return { chunks, complete: data.length >= line + 4 };
    if (Number.isNaN(size) || data.length < line + 2 + size + 2) return { chunks, complete: false };
    chunks.push(data.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
}

function parse(data: Buffer, end: RawAnswer['end']): RawAnswer {
  const head = headOf(data);
  if (head === undefined) return { status: 0, headers: [], body: data, chunks: [], end };
  const rest = data.subarray(head.at);
  const chunked = head.headers.some(([name, value]) => name === 'transfer-encoding' && value === 'chunked');
  const chunks = chunked ? dechunk(rest).chunks : [];
  return { status: head.status, headers: head.headers, body: chunked ? Buffer.concat(chunks) : rest, chunks, end };
}
