/** The way to an engine fails: before the connection stands, before an answer, in its head, in its body. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DeafServer } from '../support/deaf-server.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { chunk, LAST_CHUNK } from '../support/rude-upstream.ts';
import { statusOf } from '../support/simulated-fleet.ts';
import { codeOf, HOPS, startTwoHops, type HopName, type Seen, type TwoHops } from './two-hops.ts';

const CONNECT_MS = 300;
const ATTEMPTS = 3;

let both: TwoHops;

beforeAll(async () => {
  both = await startTwoHops({
    more: `retry: { attempts: ${ATTEMPTS}, delay: 20ms, factor: 1.5 }\ntimeouts: { connect: ${CONNECT_MS}ms, request: 20s }`,
  });
});

afterEach(() => both.recovered());

afterAll(async () => {
  await both[Symbol.asyncDispose]();
  await noEngineLeft(both.gateway.gateway.id);
});

/** What became of one request, what it cost in retries, and how often the engine was asked for it. */
async function told(hop: HopName, asking = {}): Promise<{ seen: Seen; retries: number; served: number }> {
  const before = await both.figures();
  const servedBefore = await both.served(hop);
  const seen = await both.ask(hop, asking);
  const after = await both.figures();
  const grown = (name: string, labels = {}): number =>
    after(name, { model: hop, ...labels }) - before(name, { model: hop, ...labels });
  const failed = grown('requests_total', { outcome: 'upstream_failed' });
  expect(failed).toBe(seen.status === 200 && seen.whole ? 0 : 1);
  return { seen, retries: grown('retries_total'), served: (await both.served(hop)) - servedBefore };
}

const facts = (seen: Seen): readonly unknown[] => [seen.status, codeOf(seen), seen.headers['x-vgw-attempts']];

it.each(HOPS)(
  '[F1] %s refuses connections though it is ready: as many attempts as configured, then 503',
  async (hop) => {
    await both.manyGoodRequests(hop);
    const replica = await both.replicaOf(hop);
    await both.hops[hop].proxy.refuse();
    await both.fresh(hop);
    const { seen, retries, served } = await told(hop);
    expect(facts(seen)).toEqual([503, 'upstream_unreachable', String(ATTEMPTS)]);
    expect([retries, served]).toEqual([ATTEMPTS - 1, 0]);
    expect(seen.headers['retry-after']).toMatch(/^\d+$/);
    expect(seen.text).not.toMatch(/127\.0\.0\.1|ECONNREFUSED/);
    expect(await both.replicaOf(hop)).toBe(replica);
  },
);

it('[F1] an engine that is gone is started again for those who ask meanwhile, and none of them notices', async () => {
  const replica = await both.replicaOf('near');
  const pid = (await statusOf(both.gateway)).replicas[replica]?.pid ?? 0;
  expect(pid).toBeGreaterThan(1);
  const starts = await both.metric('starts_total', { model: 'near' });
  process.kill(pid, 'SIGKILL');
  const answers = await Promise.all(Array.from({ length: 5 }, () => both.ask('near')));
  for (const { status, whole, headers } of answers) {
    expect([status, whole]).toEqual([200, true]);
    expect(headers['x-vgw-replica']).not.toBe(replica);
  }
  expect((await both.metric('starts_total', { model: 'near' })) - starts).toBe(1);
});

it('[F2] near does not take part in connecting at all: each attempt ends at its limit, and a later one may succeed', async () => {
  await using deaf = await DeafServer.start();
  await both.manyGoodRequests('near');
  await both.fresh('near');
  both.detour = Number(new URL(deaf.url).port);
  const { seen, retries, served } = await told('near');
  expect(facts(seen)).toEqual([503, 'upstream_unreachable', String(ATTEMPTS)]);
  expect([retries, served]).toEqual([ATTEMPTS - 1, 0]);
  expect(seen.tookMs).toBeGreaterThan(ATTEMPTS * CONNECT_MS);
  expect(seen.tookMs).toBeLessThan(ATTEMPTS * CONNECT_MS + 2_000);
  const before = both.dialled.length;
  const asked = both.ask('near');
  await eventually('it connects', () => both.dialled.length > before);
  both.detour = null;
  const later = await asked;
  expect([later.status, later.headers['x-vgw-attempts']]).toEqual([200, '2']);
});

// Whether a reset meets a request that was just written or one that was not yet, nobody can tell from outside: what may have
// been sent is not sent again, what was not is an attempt to connect that failed.
it.each(HOPS)('[F3] %s resets each connection as soon as it is made: told once, and never asked twice', async (hop) => {
  await both.fresh(hop);
  both.hops[hop].proxy.accepting = 'reset';
  const { seen, retries, served } = await told(hop);
  if (seen.status === 502) expect([...facts(seen), retries]).toEqual([502, 'upstream_lost', '1', 0]);
  else expect([...facts(seen).slice(0, 2)]).toEqual([503, 'upstream_unreachable']);
  expect(served).toBe(0);
});

const BREAKS = HOPS.flatMap((hop) => (['cut', 'reset'] as const).map((does) => [hop, does] as const));

it.each(BREAKS)(
  '[F4] %s: a new connection is %s after the request and before an answer: not repeated, for the engine may have worked',
  async (hop, does) => {
    await both.fresh(hop);
    both.hops[hop].proxy.toxics = { down: { at: { byte: 0, does } } };
    const { seen, retries, served } = await told(hop);
    expect(facts(seen)).toEqual([502, 'upstream_lost', '1']);
    expect([retries, served]).toEqual([0, 1]);
  },
);

it.each(BREAKS)(
  '[F5] %s: a connection that had served is %s without an answer: replayed once, not twice',
  async (hop, does) => {
    const { proxy } = both.hops[hop];
    await both.manyGoodRequests(hop);
    proxy.toxics = { down: { at: { byte: 0, does, once: true } } };
    const once = await told(hop);
    expect([once.seen.status, once.seen.whole, once.seen.headers['x-vgw-attempts']]).toEqual([200, true, '2']);
    expect(once.retries).toBe(1);
    proxy.toxics = { down: { at: { byte: 0, does } } };
    const twice = await told(hop);
    expect(facts(twice.seen)).toEqual([502, 'upstream_lost', '2']);
    expect([twice.retries, twice.served]).toEqual([1, 2]);
  },
);

it.each(HOPS)('[F5] %s closes idle connections: the next request opens one, and no attempt is lost', async (hop) => {
  // Longer than an engine is silent before it answers, on a busy machine too.
  both.hops[hop].proxy.toxics = { closeIdle: 500 };
  for (let round = 0; round < 3; round += 1) {
    await eventually('it was closed', async () => {
      return (await both.metric('upstream_connections', { model: hop, state: 'idle' })) === 0;
    });
    const { seen, retries } = await told(hop);
    expect([seen.status, seen.headers['x-vgw-attempts'], retries]).toEqual([200, '1', 0]);
  }
});

it.each(BREAKS)(
  '[F6] %s: a connection is %s in the head of an answer: 502, and no repetition, new or not',
  async (hop, does) => {
    both.hops[hop].proxy.toxics = { down: { at: { byte: 20, does } } };
    for (const reused of [true, false]) {
      const { seen, retries, served } = await told(hop);
      expect([reused, ...facts(seen)]).toEqual([reused, 502, 'upstream_lost', '1']);
      expect([retries, served]).toEqual([0, 1]);
    }
  },
);

/** Within the body of a long answer, whatever its head. */
const WITHIN = 1_200;
const LONG = { tokens: 400, token_ms: 0 };

it.each(BREAKS)(
  '[F7] %s: a stream is %s in its middle: one error event, and no end of a whole answer',
  async (hop, does) => {
    both.hops[hop].proxy.toxics = { down: { at: { byte: WITHIN, does } } };
    const { seen, retries, served } = await told(hop, { stream: true, fake: { ...LONG, token_ms: 2 } });
    expect([seen.status, seen.whole, codeOf(seen)]).toEqual([200, false, 'upstream_lost']);
    expect(seen.text.match(/"code":"upstream_lost"/g)).toHaveLength(1);
    expect(seen.text).not.toContain('[DONE]');
    expect([retries, served]).toEqual([0, 1]);
  },
);

it.each(BREAKS)(
  '[F7] %s: a plain answer is %s in its middle, with a length or in chunks: it never looks whole',
  async (hop, does) => {
    const { proxy } = both.hops[hop];
    proxy.toxics = { down: { at: { byte: WITHIN, does } } };
    const { seen, served } = await told(hop, { fake: LONG });
    expect([seen.status, seen.whole, served]).toEqual([200, false, 1]);
    const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n';
    const body = chunk(JSON.stringify({ text: 'x'.repeat(2 * WITHIN) }));
    const rude = await both.script(hop, (_request, socket) =>
      socket.write(Buffer.concat([Buffer.from(head), body, Buffer.from(LAST_CHUNK)])),
    );
    proxy.toxics = { down: { at: { byte: WITHIN, does } } };
    const inChunks = await both.ask(hop);
    expect([inChunks.status, inChunks.whole, rude.requests.length]).toEqual([200, false, 1]);
    proxy.toxics = {};
    expect(await both.ask(hop)).toMatchObject({ status: 200, whole: true });
  },
);

it.each(HOPS)('[F8] %s: a stream that ends with its connection is whole with its last event alone', async (hop) => {
  const events = ['data: {"choices":[]}\n\n', 'data: {"choices":[],"n":2}\n\n'];
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n';
  await both.script(hop, (_request, socket) => socket.end(head + events.join('')));
  const without = await both.ask(hop, { stream: true });
  expect([without.status, without.whole, codeOf(without)]).toEqual([200, false, 'upstream_lost']);
  expect(without.text.startsWith(events.join(''))).toBe(true);
  await both.script(hop, (_request, socket) => socket.end(`${head}${events.join('')}data: [DONE]\n\n`));
  const complete = await both.ask(hop, { stream: true });
  expect(complete).toMatchObject({ status: 200, whole: true, text: `${events.join('')}data: [DONE]\n\n` });
});

it.each(HOPS)('%s: bytes that come late, slowly and in pieces are the same answer', async (hop) => {
  const straight = await both.ask(hop, { stream: true, nonce: 'same' });
  const { proxy } = both.hops[hop];
  proxy.toxics = { up: { slice: 100, latency: 1 }, down: { slice: 37, latency: 1, jitter: 3, bandwidth: 50_000 } };
  const bent = await both.ask(hop, { stream: true, nonce: 'same' });
  const events = (text: string): string => text.replaceAll(/"(?:id|created)":[^,]+,/g, '');
  expect([bent.status, bent.whole, events(bent.text)]).toEqual([200, true, events(straight.text)]);
});

const MANY = 60;
/** Of all requests of the last ten seconds, and so many in any case. */
const RETRY_SHARE = 0.2;
const RETRY_FLOOR = 3;

// Last, for they leave nothing to retry with for ten seconds.
it.each(HOPS)(
  '[F1] %s refuses the connections of a crowd: retries stay a fifth of what is asked, and no engine is ended',
  async (hop) => {
    const replica = await both.replicaOf(hop);
    const before = await both.metric('retries_total');
    const asked = await both.metric('requests_total');
    await both.hops[hop].proxy.refuse();
    await both.fresh(hop);
    const crowd = await Promise.all(Array.from({ length: MANY }, () => both.ask(hop)));
    for (const seen of crowd) expect([seen.status, codeOf(seen)]).toEqual([503, 'upstream_unreachable']);
    // Nothing older than this file counts, and each hop has its floor.
    const allowed = (asked + MANY) * RETRY_SHARE + RETRY_FLOOR + ATTEMPTS - 1;
    // Without a bound the crowd would retry twice as often as it asks.
    expect(allowed).toBeLessThan(MANY * (ATTEMPTS - 1));
    expect((await both.metric('retries_total')) - before).toBeLessThanOrEqual(allowed);
    expect(await both.replicaOf(hop)).toBe(replica);
  },
);
