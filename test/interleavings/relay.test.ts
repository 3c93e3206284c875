import fc, { type Scheduler } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gatewayError } from '../../src/errors.ts';
import { KIB } from '../../src/units.ts';
import { readAnswer } from '../simulation/shell/answer-parser.ts';
import {
  chunk,
  DONE,
  EVENT,
  PLAIN,
  post,
  RelayBench,
  STREAM,
  STREAM_HEAD,
  whole,
  type End,
  type RelayOptions,
} from './relay-bench.ts';

const RUNS = { numRuns: 120 };
const STREAMED = STREAM_HEAD + chunk(EVENT) + chunk(EVENT + DONE) + '0\r\n\r\n';

type Act = readonly [label: string, act: (bench: RelayBench, client: End) => void];

const LEAVE: Act = ['the client leaves', (_bench, { far }) => far.end()];
const RESET: Act = ['the client resets', (_bench, { far }) => far.cut()];
const CUT: Act = ['the lease is cut', ({ gate }) => gate.cut(gatewayError('drain_timeout', 'told by the test'))];
const ENGINE_CUT: Act = ['the engine cuts', ({ engine }) => engine.at(-1)?.far.cut()];
const ENGINE_END: Act = ['the engine ends', ({ engine }) => engine.at(-1)?.far.end()];
const GRANT: Act = ['a slot is free', (bench) => bench.grantNext()];
const REFUSE: Act = ['the wait is over', (bench) => bench.refuseWaiting('queue_timeout')];
const SHUTDOWN: Act = ['no new requests', ({ proxy }) => proxy.refuseNew()];
const READ: Act = ['the client reads', (_bench, { far }) => far.resumeReading()];
const REST: Act = ['the client does not read', (_bench, { far }) => far.pauseReading()];
const DEAD: Act = ['the engine is known to be dead', ({ gate }) => void (gate.alive = false)];

/** What the engine sends, in pieces that are cut anywhere. */
const pieces = (text: string): fc.Arbitrary<readonly string[]> =>
  fc.array(fc.nat(text.length), { maxLength: 4 }).map((cuts) => {
    const at = [0, ...cuts.toSorted((one, other) => one - other), text.length];
    return at.slice(1).map((end, index) => text.slice(at[index], end));
  });

interface Case {
  readonly options?: RelayOptions;
  readonly request: string;
  readonly answer: string;
  readonly waits?: boolean;
  readonly acts: readonly Act[];
  readonly after?: (bench: RelayBench, client: End) => void;
}

async function play(
  scheduler: Scheduler,
  { options, waits, acts }: Case,
  sent: readonly string[],
  asked: readonly string[],
): Promise<{ bench: RelayBench; client: End }> {
  const bench = new RelayBench({ model: { keepalive: { after: 250, every: 250 } }, ...options });
  await bench.open();
  if (waits === true) bench.gate.decide = () => 'wait';
  const client = bench.client();
  const send = (text: string) => async () => {
    bench.engine.at(-1)?.far.send(text);
    await bench.rest();
  };
  scheduler.scheduleSequence(
    asked.map((text) => ({
      label: 'the client sends',
      builder: async () => {
        client.far.send(text);
        await bench.rest();
      },
    })),
  );
  let answering = false;
  bench.onRequest = () => {
    if (answering) return;
    answering = true;
    scheduler.scheduleSequence(sent.map((text) => ({ label: 'the engine sends', builder: send(text) })));
  };
  for (const [label, act] of acts) {
    void scheduler.schedule(Promise.resolve(), label).then(async () => {
      act(bench, client);
      await bench.rest();
    });
  }
  void scheduler.schedule(Promise.resolve(), 'time').then(() => bench.advance(300));
  void scheduler.schedule(Promise.resolve(), 'time').then(() => bench.advance(200));
  await scheduler.waitIdle();
  return { bench, client };
}

function property(one: Case): Promise<void> {
  const some = fc.subarray([...one.acts]);
  return fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      some,
      pieces(one.answer),
      pieces(one.request),
      async (scheduler, acts, sent, asked) => {
        const { bench, client } = await play(scheduler, { ...one, acts }, sent, asked);
        one.after?.(bench, client);
        expect(await bench.held()).toEqual([]);
        soundAnswer(bench, client, one.answer);
      },
    ),
    RUNS,
  );
}

/** One answer at most; what looks whole is whole; an error of ours is the last thing on a stream. */
function soundAnswer({ telemetry }: RelayBench, { text, gone }: End, sent: string): void {
  expect(telemetry.records.length).toBeLessThanOrEqual(1);
  const answer = readAnswer(Buffer.from(text), gone !== null);
  if (answer === null) return;
  expect(answer.malformed).toBeNull();
  expect(answer.rest).toBe(0);
  const [record] = telemetry.records;
  expect(record?.status).toBe(answer.status);
  if (answer.status !== 200) return;
  const told = answer.body.replace(/^(?:: waiting\n\n)*/, '');
  const engine = readAnswer(Buffer.from(sent), true)?.body ?? '';
  const error = told.indexOf('data: {"error"');
  const relayed = (error === -1 ? told : told.slice(0, error)).replace(/\n\n$/, '');
  expect(engine.startsWith(relayed)).toBe(true);
  if (answer.complete) expect(told).toBe(engine);
  if (record?.outcome === 'completed') expect(answer.complete || record.bytesOut > 0).toBe(true);
}

describe('in every order of what client, engine and gate do', () => {
  it(
    '[I-57] [I-58] [I-62] a stream ends once, and never looks whole when it is not',
    () => property({ request: post(STREAM), answer: STREAMED, acts: [LEAVE, CUT, ENGINE_CUT, ENGINE_END, SHUTDOWN] }),
    60_000,
  );

  it(
    '[I-57] [I-58] a plain answer ends once, and never looks whole when it is not',
    () =>
      property({
        request: post(PLAIN),
        answer: whole(200, '{"id":"one"}'),
        acts: [RESET, CUT, ENGINE_CUT, ENGINE_END, SHUTDOWN],
      }),
    60_000,
  );

  it(
    '[I-81] a waiting request is granted, refused or left, and its lease ends with it',
    () =>
      property({
        request: post(PLAIN),
        answer: whole(200, '{"id":"one"}'),
        waits: true,
        acts: [GRANT, REFUSE, LEAVE, CUT, SHUTDOWN],
      }),
    60_000,
  );

  it(
    '[I-9] a waiting stream with heartbeats is told its error in the way that is still possible',
    () =>
      property({ request: post(STREAM), answer: STREAMED, waits: true, acts: [GRANT, REFUSE, RESET, CUT, ENGINE_CUT] }),
    60_000,
  );

  it(
    '[I-20] [I-71] a request whose engine goes down is at one engine at a time',
    () =>
      property({
        request: post(PLAIN),
        answer: whole(500, '{"error":{"message":"EngineCore encountered an issue"}}'),
        acts: [GRANT, REFUSE, LEAVE, CUT, DEAD, ENGINE_CUT],
        after: ({ gate }) => expect(gate.openLeases).toBeLessThanOrEqual(1),
      }),
    60_000,
  );

  it(
    '[I-61] a client that reads and rests gets the same, and holds nothing when it goes',
    () =>
      property({
        options: { windowBytes: 32, pieceBytes: 8_192 },
        request: post(STREAM),
        answer: STREAM_HEAD + chunk(`data: ${'x'.repeat(4_000)}\n\n`).repeat(60) + chunk(DONE) + '0\r\n\r\n',
        acts: [REST, READ, REST, READ, LEAVE, CUT, ENGINE_CUT],
        after: ({ engine }, client) => {
          const held = (engine[0]?.far.taken ?? 0) - client.text.length;
          if (client.gone === null && engine[0]?.gone === null) expect(held).toBeLessThan(96 * KIB);
        },
      }),
    60_000,
  );

  it(
    'an error of the engine is told once, whatever happens meanwhile',
    () =>
      property({
        request: post(STREAM),
        answer: whole(400, '{"error":{"message":"no"}}'),
        acts: [LEAVE, CUT, ENGINE_CUT, ENGINE_END, SHUTDOWN],
      }),
    60_000,
  );
});
