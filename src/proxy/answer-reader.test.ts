import fc from 'fast-check';
import { Client } from 'undici';
import { describe, expect, it } from 'vitest';
import { RudeUpstream } from '../../test/support/rude-upstream.ts';
import { AnswerReader, type AnswerSink } from './answer-reader.ts';

interface Heard {
  status: number;
  fields: readonly string[];
  body: string;
  interims: number[];
  end: 'whole' | 'whole, last' | 'fault' | 'open';
}

class Listening implements AnswerSink {
  readonly heard: Heard = { status: 0, fields: [], body: '', interims: [], end: 'open' };
  /** Says "wait" to everything. */
  slow = false;

  interim(status: number): void {
    this.heard.interims.push(status);
  }
  head(status: number, fields: readonly string[]): boolean {
    this.heard.status = status;
    this.heard.fields = fields;
    return !this.slow;
  }
  data(piece: Buffer): boolean {
    expect(piece.length).toBeGreaterThan(0);
    this.heard.body += piece.toString('latin1');
    return !this.slow;
  }
  whole(reusable: boolean): void {
    this.heard.end = reusable ? 'whole' : 'whole, last';
  }
  fault(): void {
    this.heard.end = 'fault';
  }
}

/** Reads these bytes in these pieces; a slow sink is told to go on after each. */
function read(pieces: readonly Buffer[], { closed = false, slow = false } = {}): Heard {
  const sink = new Listening();
  sink.slow = slow;
  const reader = new AnswerReader(sink);
  reader.expect();
  for (const piece of pieces) {
    reader.push(piece);
    if (slow) reader.go();
  }
  if (closed) reader.closed();
  for (let turn = 0; slow && turn < pieces.length + 2; turn++) reader.go();
  return sink.heard;
}

function splitAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b);
  const pieces: Buffer[] = [];
  let from = 0;
  for (const place of [...places, bytes.length]) {
    if (place > from) pieces.push(bytes.subarray(from, place));
    from = Math.max(from, place);
  }
  return pieces;
}

const chunked = (...texts: readonly string[]): string =>
  `${texts.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join('')}0\r\n\r\n`;
const OK = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n';
const STREAM = `${OK}transfer-encoding: chunked\r\n\r\n`;

describe('an answer that is framed as it must be', () => {
  const sound: readonly (readonly [string, string, Partial<Heard>])[] = [
    ['chunked', `${STREAM}${chunked('hello', ' world')}`, { body: 'hello world', end: 'whole' }],
    ['of a length', `${OK}content-length: 5\r\n\r\nhello`, { body: 'hello', end: 'whole' }],
    ['empty', `${OK}content-length: 0\r\n\r\n`, { body: '', end: 'whole' }],
    ['without content', 'HTTP/1.1 204 No Content\r\n\r\n', { status: 204, end: 'whole' }],
    [
      'after interim ones',
      `HTTP/1.1 103 Early\r\nlink: x\r\n\r\n${STREAM}${chunked('a')}`,
      { interims: [103], body: 'a' },
    ],
    ['the last on its connection', `${OK}connection: close\r\ncontent-length: 1\r\n\r\nx`, { end: 'whole, last' }],
    ['of HTTP/1.0', 'HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx', { body: 'x', end: 'whole, last' }],
    ['ended by the connection', `${OK}\r\nhello`, { body: 'hello', end: 'whole, last' }],
    ['with more behind it', `${OK}content-length: 5\r\n\r\nhelloEVIL`, { body: 'hello', end: 'whole, last' }],
    ['chunked, with more behind it', `${STREAM}${chunked('hello')}EVIL`, { body: 'hello', end: 'whole, last' }],
  ];

  it.each(sound)('%s is read the same in any pieces, by a quick and by a slow reader', (_name, text, expected) => {
    const bytes = Buffer.from(text, 'latin1');
    const whole = read([bytes], { closed: true });
    expect(whole).toMatchObject(expected);
    fc.assert(
      fc.property(fc.array(fc.nat(500), { maxLength: 12 }), fc.boolean(), (cuts, slow) => {
        const inPieces = read(splitAt(bytes, cuts), { closed: true, slow });
        // What lies behind the end may come in a read of its own, which is not this answer's business.
        expect({ ...inPieces, end: whole.end }).toEqual(whole);
        expect(inPieces.end.startsWith('whole')).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it('is not whole before its end is there', () => {
    const bytes = Buffer.from(`${STREAM}${chunked('hello')}`);
    for (let length = 1; length < bytes.length; length++) {
      expect(read([bytes.subarray(0, length)], { closed: true }).end).toBe('open');
    }
  });
});

const HOSTILE: readonly (readonly [string, string])[] = [
  ['a chunk with an extension', `${STREAM}5;x=1\r\nEVIL!\r\n0\r\n\r\n`],
  ['a chunk size with nothing in it', `${STREAM}\r\nEVIL`],
  ['a chunk size with a sign', `${STREAM}+5\r\nEVIL!\r\n0\r\n\r\n`],
  ['a chunk size with 0x', `${STREAM}0x5\r\nEVIL!\r\n0\r\n\r\n`],
  ['a chunk size with white space', `${STREAM}5 \r\nEVIL!\r\n0\r\n\r\n`],
  ['a chunk size beyond all measure', `${STREAM}fffffffffffffffff\r\nEVIL`],
  ['a chunk without its CRLF', `${STREAM}4\r\nEVIL4\r\nEVIL\r\n0\r\n\r\n`],
  ['bare LF in the framing', `${STREAM}4\nEVIL\n0\n\n`],
  ['a trailer', `${STREAM}4\r\nEVIL\r\n0\r\nx: EVIL\r\n\r\n`],
  ['a length and chunks', `${OK}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n`],
  ['two lengths', `${OK}content-length: 4\r\ncontent-length: 4\r\n\r\nEVIL`],
  ['a list of lengths', `${OK}content-length: 4, 4\r\n\r\nEVIL`],
  ['a negative length', `${OK}content-length: -4\r\n\r\nEVIL`],
  ['a length with a plus', `${OK}content-length: +4\r\n\r\nEVIL`],
  ['a length beyond all measure', `${OK}content-length: 99999999999999999999\r\n\r\nEVIL`],
  ['another transfer coding', `${OK}transfer-encoding: gzip, chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n`],
  ['a tab behind the transfer coding', `${OK}transfer-encoding: chunked\t\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n`],
  ['a tab before a length', `${OK}content-length:\t4\r\n\r\nEVIL`],
  ['chunks in HTTP/1.0', 'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n'],
  ['a folded field', `${OK}x: a\r\n EVIL: b\r\ncontent-length: 4\r\n\r\nEVIL`],
  ['a field without a name', `${OK}: EVIL\r\ncontent-length: 4\r\n\r\nEVIL`],
  ['white space before the colon', `${OK}content-length : 4\r\n\r\nEVIL`],
  ['a field without a colon', `${OK}EVIL\r\ncontent-length: 4\r\n\r\nEVIL`],
  ['NUL in a value', `${OK}x: a\0b\r\ncontent-length: 4\r\n\r\nEVIL`],
  ['bare CR in a value', `${OK}x: a\rb\r\ncontent-length: 4\r\n\r\nEVIL`],
  ['bare LF in a value', `${OK}x: a\nEVIL: b\r\ncontent-length: 4\r\n\r\nEVIL`],
  ['another protocol', 'SSH-2.0-OpenSSH_9.2\r\n\r\nEVIL'],
  ['HTTP/2', 'HTTP/2 200\r\ncontent-length: 4\r\n\r\nEVIL'],
  ['a status of two digits', 'HTTP/1.1 20 OK\r\ncontent-length: 4\r\n\r\nEVIL'],
  ['a status of four digits', 'HTTP/1.1 2000 OK\r\ncontent-length: 4\r\n\r\nEVIL'],
  ['an upgrade nobody asked for', 'HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\nEVIL'],
  ['a 100 nobody asked for', `HTTP/1.1 100 Continue\r\n\r\n${OK}content-length: 4\r\n\r\nEVIL`],
  ['a head that is too long', `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(17_000)}\r\ncontent-length: 4\r\n\r\nEVIL`],
];

describe('an answer that could be read in two ways', () => {
  it.each(HOSTILE)('%s is a fault, and nothing of it is passed on', (_name, text) => {
    const bytes = Buffer.from(text, 'latin1');
    const heard = read([bytes], { closed: true });
    expect(heard).toMatchObject({ end: 'fault', status: 0, body: '' });
    fc.assert(
      fc.property(fc.array(fc.nat(600), { maxLength: 8 }), (cuts) => {
        expect(read(splitAt(bytes, cuts), { closed: true }).end).toBe('fault');
      }),
      { numRuns: 50 },
    );
  });

  it('never ends as whole where the parser of others finds nothing whole, and never with another body', async () => {
    const upstream = new RudeUpstream(() => undefined);
    await upstream.listen();
    const seeds = [
      `${STREAM}${chunked('hello', ' world')}`,
      `${OK}content-length: 11\r\n\r\nhello world`,
      `${OK}\r\nhello world`,
    ];
    const byte = fc.constantFrom(...'\r\n :;,0159afAx+-\0\t"'.split(''));
    const change = fc.record({ at: fc.nat(150), remove: fc.nat(2), insert: fc.array(byte, { maxLength: 3 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...seeds),
        fc.array(change, { minLength: 1, maxLength: 3 }),
        async (seed, changes) => {
          let text = seed;
          for (const { at, remove, insert } of changes) {
            const place = at % (text.length + 1);
            text = text.slice(0, place) + insert.join('') + text.slice(place + remove);
          }
          const ours = read([Buffer.from(text, 'latin1')], { closed: true });
          if (!ours.end.startsWith('whole')) return;
          upstream.script = (_request, socket) => void socket.end(Buffer.from(text, 'latin1'));
          const theirs = await readWithUndici(upstream.origin);
          expect({ text, ...theirs }).toEqual({ text, status: ours.status, body: ours.body });
        },
      ),
      { numRuns: 1_000 },
    );
    await upstream.close();
  });
});

async function readWithUndici(origin: string): Promise<{ status: number; body: string }> {
  const client = new Client(origin);
  try {
    const answer = await client.request({ method: 'POST', path: '/', body: '{}' });
    return { status: answer.statusCode, body: Buffer.from(await answer.body.arrayBuffer()).toString('latin1') };
  } catch (error) {
    return { status: -1, body: String(error) };
  } finally {
    await client.destroy();
  }
}
