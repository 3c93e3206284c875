/** A client that writes exactly the bytes it is given, piece by piece, and reads what comes back strictly. */
import { connect } from 'node:net';

export interface Answer {
  readonly status: number;
  /** In order, names lower-cased. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
}

export interface Conversation {
  /** Interim ones (1xx) included. */
  readonly answers: readonly Answer[];
  /** Bytes behind the last whole answer. */
  readonly rest: Buffer;
  readonly end: 'open' | 'closed';
}

export interface Talk {
  readonly port: number;
  readonly pieces: readonly Buffer[];
  /** Looked at after every piece read, and when everything is written: what to write next, or that it is enough. */
  readonly next: (answers: readonly Answer[], rest: Buffer) => Buffer | 'enough' | 'wait';
}

/** Nothing takes this long: a case that does is stuck. */
const STUCK_MS = 15_000;

/** Each piece goes out in a turn of the loop of its own, so that the gateway, which may share it, reads it alone. */
export function talk({ port, pieces, next }: Talk): Promise<Conversation> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let received: Buffer = Buffer.alloc(0);
    let at = 0;
    let over = false;
    const finish = (end: Conversation['end']): void => {
      if (over) return;
      over = true;
      socket.destroy();
      resolve({ ...readAnswers(received), end });
    };
    const look = (): void => {
      if (over || at < pieces.length) return;
      const { answers, rest } = readAnswers(received);
      const wanted = next(answers, rest);
      if (wanted === 'enough') finish('open');
      else if (wanted !== 'wait') socket.write(wanted);
    };
    const write = (): void => {
      if (over) return;
      const piece = pieces[at++];
      if (piece === undefined) return;
      socket.write(piece);
      if (at < pieces.length) setImmediate(write);
      else look();
    };
    socket.setTimeout(STUCK_MS, () => {
      over = true;
      socket.destroy();
      const sent = JSON.stringify(Buffer.concat(pieces).toString('latin1').slice(0, 300));
      reject(
        new Error(`nothing happened for ${STUCK_MS} ms after ${sent}: ${JSON.stringify(received.toString('latin1'))}`),
      );
    });
    socket.on('connect', write);
    socket.on('data', (data: Buffer) => {
      received = Buffer.concat([received, data]);
      look();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => finish('closed'));
  });
}

/** Throws on an answer whose end could be elsewhere for somebody else. */
export function readAnswers(data: Buffer): { answers: Answer[]; rest: Buffer } {
  const answers: Answer[] = [];
  let rest = data;
  for (;;) {
    const end = rest.indexOf('\r\n\r\n');
    if (end === -1) return { answers, rest };
    const [first = '', ...lines] = rest.subarray(0, end).toString('latin1').split('\r\n');
    const status = /^HTTP\/1\.1 (\d{3}) [\x20-\x7e]+$/.exec(first)?.[1];
    if (status === undefined) throw new Error(`an answer begins with ${JSON.stringify(first)}`);
    const fields = lines.map((line): [string, string] => {
      const field = /^([\w-]+): ([\x20-\x7e\x80-\xff]*)$/.exec(line);
      if (field === null) throw new Error(`an answer has the line ${JSON.stringify(line)}`);
      return [(field[1] ?? '').toLowerCase(), field[2] ?? ''];
    });
    const read = bodyOf(rest.subarray(end + 4), Number(status), fields);
    if (read === null) return { answers, rest };
    answers.push({ status: Number(status), fields, body: read.body });
    rest = rest.subarray(end + 4 + read.bytes);
  }
}

export function fieldOf(answer: Pick<Answer, 'fields'> | undefined, name: string): string | undefined {
  return answer?.fields.find(([key]) => key === name)?.[1];
}

function bodyOf(data: Buffer, status: number, fields: Answer['fields']): { body: Buffer; bytes: number } | null {
  if (status < 200 || status === 204) return { body: Buffer.alloc(0), bytes: 0 };
  const lengths = fields.filter(([name]) => name === 'content-length');
  const chunked = fields.some(([name]) => name === 'transfer-encoding');
  if (lengths.length + (chunked ? 1 : 0) > 1) throw new Error('an answer is framed twice');
  if (!chunked) {
    const bytes = Number(lengths[0]?.[1] ?? Number.POSITIVE_INFINITY);
    return data.length < bytes ? null : { body: data.subarray(0, bytes), bytes };
  }
  const pieces: Buffer[] = [];
  for (let at = 0; ;) {
    const line = data.indexOf('\r\n', at);
    if (line === -1) return null;
    const size = Number.parseInt(data.toString('latin1', at, line), 16);
    const end = line + 2 + size;
    if (Number.isNaN(size)) throw new Error('an answer is chunked badly');
    if (data.length < end + 2) return null;
    if (size === 0) return { body: Buffer.concat(pieces), bytes: end + 2 };
    pieces.push(data.subarray(line + 2, end));
    at = end + 2;
  }
}
