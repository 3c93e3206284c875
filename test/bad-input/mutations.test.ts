/** Sound requests with a few bytes changed at random: refused, or one request that can be read in one way only. */
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeOf, MODELS, startBench, type Bench } from './bench.ts';
import { readAnswers, type Answer } from './client.ts';
import { digestOf } from './recorder.ts';
import { isJson } from './json-documents.ts';
import { othersAgree } from './others-agree.ts';
import { readStrictly } from './strict-request.ts';
import { readUnambiguous, shown } from './unambiguous.ts';
import { BODY, chunked, ONE_CHUNK, sized, withLength } from './write-bytes.ts';

let bench: Bench;
beforeAll(async () => {
  bench = await startBench();
});
afterAll(() => bench[Symbol.asyncDispose]());

const SMUGGLED = withLength('X-Smuggled: 1');
const SEEDS: readonly Buffer[] = [
  Buffer.from(withLength()),
  Buffer.from(withLength('Connection: keep-alive', 'X-Request-Id: abc', 'Accept: */*')),
  Buffer.from(chunked(`${ONE_CHUNK}0\r\n\r\n`)),
  Buffer.from(chunked(`8;a=b\r\n${BODY.slice(0, 8)}\r\n8\r\n${BODY.slice(8)}\r\n0\r\nX: y\r\n\r\n`)),
  // What is behind a wrong end must not be taken for a request of somebody else.
  sized(`{"model":"near","x":${JSON.stringify(SMUGGLED)}}`),
  Buffer.from(chunked(`${(BODY.length + SMUGGLED.length).toString(16)}\r\n${BODY}${SMUGGLED}\r\n0\r\n\r\n`)),
  sized('{"model":"afar","messages":[{"role":"user","content":"h\\u00e9 é😀"}],"stream":false}'),
];

/** What parsers trip over. */
const TOKENS = [
  ...[
    '\r\n',
    '\n',
    '\r',
    '\r\n\r\n',
    ' ',
    '\t',
    ':',
    ',',
    ';',
    '0',
    '\u0000',
    '\u000b',
    '"',
    '{',
    '}',
    '\\',
    '%',
    '#',
    '?',
  ],
  ...[
    'Content-Length: 5\r\n',
    'Content-Length: 0\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Transfer-Encoding: x\r\n',
    ' chunked',
  ],
  ...[
    '0\r\n\r\n',
    '1\r\nx\r\n',
    'Host: localhost\r\n',
    'Connection: close\r\n',
    'Expect: 100-continue\r\n',
    'HTTP/1.0',
    '_',
    '+',
  ],
  ...['Upgrade: h2c\r\n', 'GET / HTTP/1.1\r\n', '"model":"near",', '\u00ff', '\u0080'],
].map((token) => Buffer.from(token, 'latin1'));

interface Change {
  readonly at: number;
  readonly taken: number;
  readonly put: Buffer;
}

const change: fc.Arbitrary<Change> = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  taken: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.integer({ min: 1, max: 3 }) }),
  put: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...TOKENS) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 2 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 1, arbitrary: fc.constant(Buffer.alloc(0)) },
  ),
});

const mutant: fc.Arbitrary<Buffer> = fc
  .tuple(fc.constantFrom(...SEEDS), fc.array(change, { minLength: 1, maxLength: 3 }))
  .map(([seed, changes]) =>
    changes.reduce<Buffer>((bytes, { at, taken, put }) => {
      const from = Math.floor(at * bytes.length);
      return Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + taken)]);
    }, seed),
  );

interface Sent {
  /** Everything that was answered so far. */
  readonly received: () => Buffer;
  readonly close: () => Promise<void>;
}

function send(bytes: Buffer): Promise<Sent> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    const socket = connect({ port: bench.port, host: '127.0.0.1', noDelay: true });
    const closed = new Promise<void>((done) => {
      socket.once('close', () => done());
    });
    socket.on('error', () => undefined);
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    socket.write(bytes, () =>
      resolve({
        received: () => Buffer.concat(pieces),
        close: () => {
          socket.destroy();
          return closed;
        },
      }),
    );
  });
}

/** What a request without any doubt is; undefined where there is doubt, or the gateway has a reason to refuse it. */
function soundBody(bytes: Buffer): Buffer | undefined {
  const read = readStrictly(bytes);
  if (read === 'incomplete' || 'fault' in read || read.bytes !== bytes.length) return undefined;
  if (read.method !== 'POST' || read.target !== '/v1/chat/completions' || !isJson(read.body)) return undefined;
  const plain = ['host', 'content-length', 'transfer-encoding', 'x-request-id', 'accept'];
  if (!read.fields.every(([name, value]) => plain.includes(name) && (name !== 'host' || value === 'localhost')))
    return undefined;
  const text = read.body.toString();
  const root = JSON.parse(text) as Record<string, unknown> | null;
  const isOurs = MODELS.some((model) => model === root?.['model']);
  return isOurs && text.match(/model/gi)?.length === 1 ? read.body : undefined;
}

/** Where the corpus asks for control or for the list, its answer is not an engine's. */
const isEcho = (answer: Answer): boolean => answer.status === 200 && answer.body.toString().startsWith('{"echo"');

async function holds(mutants: readonly Buffer[]): Promise<void> {
  bench.recorder.take();
  const sent = await Promise.all(mutants.map(send));
  // Whoever comes later and has an answer shows that what came before has been read.
  await bench.good();
  await bench.idle('bodies');
  await bench.good();
  const told = sent.map(({ received }) => readAnswers(received()));
  await Promise.all(sent.map(({ close }) => close()));
  await bench.idle();
  const forwarded = bench.recorder.take().map(({ raw }) => {
    bench.forwarded.push(raw);
    return readUnambiguous(raw);
  });
  const bodies = forwarded.map(({ body }) => digestOf(body));
  const echoes = told.flatMap(({ answers }) =>
    answers.filter(isEcho).map(({ body }) => (JSON.parse(body.toString()) as { echo: string }).echo),
  );
  // Each that reached an engine was answered to the one that sent it; the others are the two good ones.
  expect(bodies.length - echoes.length).toBe(2);
  for (const echo of echoes) expect(bodies).toContain(echo);
  for (const { fields } of forwarded) expect(fields.map(([name]) => name)).not.toContain('content_length');
  for (const [index, { answers, rest }] of told.entries()) {
    expect(rest.length).toBe(0);
    for (const answer of answers.filter((one) => one.status >= 400)) {
      expect([answer.status < 500, typeof codeOf(answer)], shown(mutants[index] as Buffer)).toEqual([true, 'string']);
    }
    const sound = soundBody(mutants[index] as Buffer);
    if (sound !== undefined)
      expect(answers.filter(isEcho).map(({ body }) => body.toString())).toEqual([`{"echo":"${digestOf(sound)}"}`]);
  }
}

const AT_ONCE = 16;
const BATCHES = 120;
const TIME_MS = 10_000;

describe('a request with changed bytes', () => {
  it('is sound before anything is changed', async () => {
    await holds(SEEDS.slice(0, 5));
    expect(SEEDS.filter((seed) => soundBody(seed) !== undefined).length).toBeGreaterThanOrEqual(3);
  });

  it('is refused, or reaches an engine as exactly one request that is read in one way', async () => {
    let batches = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(mutant, { minLength: AT_ONCE, maxLength: AT_ONCE }), async (mutants) => {
        await holds(mutants);
        batches++;
      }),
      { numRuns: BATCHES, interruptAfterTimeLimit: TIME_MS, markInterruptAsFailure: false },
    );
    expect(batches).toBeGreaterThan(5);
  });
});

othersAgree(() => bench, 5);
