/**
 * Reads one HTTP/1.1 request the strictest way there is (RFC 9112 §2 to §7): whatever two servers could read differently
 * is a fault. Written for these tests alone and sharing no code with the gateway, so that it is a second opinion.
 */

export interface StrictRequest {
  readonly method: string;
  readonly target: string;
  /** In order, names lower-cased. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  /** How the body's end is told. */
  readonly framing: 'none' | 'length' | 'chunked';
  /** Bytes of the whole request. */
  readonly bytes: number;
}

/** `incomplete`: more bytes are needed. A string otherwise says what is wrong. */
export type StrictReading = StrictRequest | 'incomplete' | { readonly fault: string };

const REQUEST_LINE = /^([A-Z]+) ([\x21-\x7e]+) HTTP\/1\.1$/;
const FIELD =
  /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*$/;
const LENGTH = /^(?:0|[1-9]\d{0,14})$/;
/** Said twice, each of these is two requests in one. */
const ONCE = new Set(['host', 'content-length', 'transfer-encoding', 'content-type', 'authorization', 'x-request-id']);

const fault = (what: string): { readonly fault: string } => ({ fault: what });

export function readStrictly(data: Buffer): StrictReading {
  const end = data.indexOf('\r\n\r\n');
  if (end === -1) return data.length > 64 * 1024 ? fault('a head without an end') : 'incomplete';
  const [first = '', ...lines] = data.subarray(0, end).toString('latin1').split('\r\n');
  const line = REQUEST_LINE.exec(first);
  if (line === null) return fault(`a request line of ${JSON.stringify(first)}`);
  const fields: [string, string][] = [];
  for (const text of lines) {
    const field = FIELD.exec(text);
    if (field === null) return fault(`a field of ${JSON.stringify(text)}`);
    fields.push([(field[1] ?? '').toLowerCase(), field[2] ?? '']);
  }
  const twice = fields.find(([name], index) => ONCE.has(name) && fields.findIndex(([other]) => other === name) < index);
  if (twice !== undefined) return fault(`${twice[0]} twice`);
  const value = (wanted: string): string | undefined => fields.find(([name]) => name === wanted)?.[1];
  if (value('host') === undefined) return fault('no host');
  const head = { method: line[1] ?? '', target: line[2] ?? '', fields };
  return withBody(data, end + 4, head, value('content-length'), value('transfer-encoding'));
}

function withBody(
  data: Buffer,
  from: number,
  head: Pick<StrictRequest, 'method' | 'target' | 'fields'>,
  length: string | undefined,
  coding: string | undefined,
): StrictReading {
  if (length !== undefined && coding !== undefined) return fault('content-length beside transfer-encoding');
  if (coding !== undefined) {
    if (coding !== 'chunked') return fault(`a transfer-encoding of ${coding}`);
    const read = readChunks(data, from);
    return 'body' in read ? { ...head, body: read.body, framing: 'chunked', bytes: read.end } : read.problem;
  }
  if (length === undefined) return { ...head, body: Buffer.alloc(0), framing: 'none', bytes: from };
  if (!LENGTH.test(length)) return fault(`a content-length of ${length}`);
  const end = from + Number(length);
  if (data.length < end) return 'incomplete';
  return { ...head, body: data.subarray(from, end), framing: 'length', bytes: end };
}

type Chunks = { readonly body: Buffer; readonly end: number } | { readonly problem: StrictReading };

function readChunks(data: Buffer, from: number): Chunks {
  const pieces: Buffer[] = [];
  let at = from;
  for (;;) {
    const line = data.indexOf('\r\n', at);
    if (line === -1) return { problem: data.length - at > 16 ? fault('a chunk size without an end') : 'incomplete' };
    const text = data.toString('latin1', at, line);
    if (!/^[0-9a-fA-F]{1,8}$/.test(text)) return { problem: fault(`a chunk size of ${JSON.stringify(text)}`) };
    const size = Number.parseInt(text, 16);
    const end = line + 2 + size;
    if (data.length < end + 2) return { problem: 'incomplete' };
    if (data.toString('latin1', end, end + 2) !== '\r\n')
      return { problem: fault('a chunk that goes on, or a trailer') };
    if (size === 0) return { body: Buffer.concat(pieces), end: end + 2 };
    pieces.push(data.subarray(line + 2, end));
    at = end + 2;
  }
}
