/** Reads one answer as a strict client would, from bytes that come in pieces. */

export interface ReadAnswer {
  readonly status: number;
  readonly fields: ReadonlyMap<string, string>;
  readonly body: string;
  /** Its end was seen where its framing says that it is. */
  readonly complete: boolean;
  /** Bytes behind its end. */
  readonly rest: number;
  readonly malformed: string | null;
}

const HEAD_END = '\r\n\r\n';

/** Null: its head has not come yet. `closed`: no more will come. */
export function readAnswer(bytes: Buffer, closed: boolean): ReadAnswer | null {
  const text = bytes.toString('latin1');
  const end = text.indexOf(HEAD_END);
  if (end === -1) return null;
  const [first = '', ...lines] = text.slice(0, end).split('\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3})(?: |$)/.exec(first)?.[1] ?? 0);
  const fields = new Map(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
  const bad = (malformed: string): ReadAnswer => ({ status, fields, body: '', complete: false, rest: 0, malformed });
  if (status === 0) return bad(`no status line: ${first}`);
  if (fields.size < lines.length) return bad('a field twice');
  const from = end + HEAD_END.length;
  const length = fields.get('content-length');
  const chunked = fields.get('transfer-encoding') === 'chunked';
  if (chunked && length !== undefined) return bad('two framings');
  if (chunked) return { status, fields, ...dechunk(text, from) };
  if (length === undefined) {
    const body = text.slice(from);
    // HTTP/1.1 has better ends than this one.
    return { status, fields, body, complete: closed, rest: 0, malformed: null };
  }
  const body = text.slice(from, from + Number(length));
  const rest = text.length - from - body.length;
  return { status, fields, body, complete: body.length === Number(length), rest, malformed: null };
}

function dechunk(text: string, from: number): Pick<ReadAnswer, 'body' | 'complete' | 'rest' | 'malformed'> {
  let body = '';
  let at = from;
  for (;;) {
    const line = text.indexOf('\r\n', at);
    if (line === -1) return { body, complete: false, rest: 0, malformed: null };
    const size = text.slice(at, line);
    if (!/^[0-9a-f]+$/.test(size)) return { body, complete: false, rest: 0, malformed: `a chunk of size ${size}` };
    const length = Number.parseInt(size, 16);
    const start = line + 2;
    if (length === 0) {
      const complete = text.length >= start + 2;
      return { body, complete, rest: Math.max(0, text.length - start - 2), malformed: null };
    }
    body += text.slice(start, start + length);
    at = start + length + 2;
    if (text.length < at) return { body, complete: false, rest: 0, malformed: null };
  }
}
