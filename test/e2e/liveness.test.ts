/** Engines that hang, say that they are not well, or only look dead. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Clients, errorOf } from '../support/clients.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { configureEngine } from '../support/engine-view.ts';
import { timed } from '../support/eventually.ts';
import type { TestGateway } from '../support/in-process-gateway.ts';
import { decisionsOn, errorsIn, goneWithoutTrace, openStream } from '../support/open-stream.ts';
import { startFleet, statusOf, untilAtRest, type SimulatedModel } from '../support/simulated-fleet.ts';
import { collectFrames } from '../support/sse-frames.ts';

/** The gateway's clock runs ten times faster: it looks at its engines twice a second. */
const SPEED = 10;
const STALL_MS = 2_000;
/** What a hang takes to be seen beyond the stall: counters are compared from one look to the next. */
const LOOKS_MS = 3 * 550;
/** Start and first answer of an engine, on a machine with other things to do. */
const LOAD_MS = 3_000;

/** Fills block after block of KV memory and shows no token until it is done. */
const LONG_PROMPT = {
  messages: [{ role: 'user', content: 'word '.repeat(4_000) }],
  max_tokens: 4,
  fake: { fault: `slow_prefill:${2 * STALL_MS + LOOKS_MS}` },
};

/** The head of an answer that begins before there is a replica does not name one. */
const keys = ['keepalive: { after: 0s }'];

const MODELS: readonly SimulatedModel[] = [
  { name: 'hanging', keys, knobs: { FAULT: 'hang_after:1', PROCESSES: 2 } },
  { name: 'uncounted', keys, knobs: { FAULT: 'hang_after:1,no_counters' } },
  { name: 'unavailable', keys },
  { name: 'slow-health', knobs: { FAULT: 'health_slow:2500' } },
  { name: 'slow-prefill' },
];

let gateway: TestGateway;
let clients: Clients;

beforeAll(async () => {
  gateway = await startFleet(MODELS, `timeouts: { stall: ${(STALL_MS * SPEED) / 1000}s }`, { speed: SPEED });
  clients = new Clients(gateway.url);
});

afterAll(async () => {
  await clients[Symbol.asyncDispose]();
  await gateway[Symbol.asyncDispose]();
  await noEngineLeft(gateway.gateway.id);
});

describe('an engine that serves no more', () => {
  it.each(['hanging', 'uncounted'])(
    'though its health is well (%s) is ended, and the next request served within stall and load [F9] [F10] [item 71]',
    async (model) => {
      const stream = await openStream(clients, model);
      const struck = clients.chat(model);
      const { value, ms } = await timed(async () => {
        const end = await stream.end;
        return { end, next: await clients.chat(model) };
      });
      expect(value.next.status).toBe(200);
      expect(ms).toBeLessThan(STALL_MS + LOOKS_MS + LOAD_MS);
      expect(value.next.headers['x-vgw-replica']).not.toBe(stream.replica);
      const { frames, broken } = value.end;
      expect([errorsIn(frames).map((error) => error['code']), broken]).toEqual([['upstream_timeout'], true]);
      expect(frames.some((frame) => frame.data === '[DONE]')).toBe(false);
      const plain = await struck;
      expect([plain.status, errorOf(plain)['code']]).toEqual([504, 'upstream_timeout']);
      expect(decisionsOn(gateway, stream.replica)).toContain('replica.stalled');
      await goneWithoutTrace(gateway, stream.replica);
      await untilAtRest(gateway);
    },
  );

  it('because it says so itself is ended after three looks [item 71]', async () => {
    const stream = await openStream(clients, 'unavailable');
    await configureEngine(gateway, 'unavailable', { fault: 'health_503' });
    const { frames, broken } = await stream.end;
    expect([errorsIn(frames).map((error) => error['code']), broken]).toEqual([['upstream_timeout'], true]);
    expect(decisionsOn(gateway, stream.replica)).toContain('replica.unhealthy');
    expect((await clients.chat('unavailable')).status).toBe(200);
    await goneWithoutTrace(gateway, stream.replica);
  });
});

describe('an engine that is only slow', () => {
  it('with its health is kept while tokens are counted, and in a long prefill while its memory fills [F11] [item 71]', async () => {
    const [slowHealth, slowPrefill] = await Promise.all([
      clients
        .open('slow-health', { stream: true, fake: { tokens: 400, token_ms: 20 } })
        .then((answer) => collectFrames(answer.body)),
      clients.chat('slow-prefill', { body: LONG_PROMPT }),
    ]);
    expect([slowHealth.broken, slowHealth.frames.at(-1)?.data]).toEqual([false, '[DONE]']);
    expect([slowPrefill.status, slowPrefill.text]).toEqual([200, expect.stringContaining('chat.completion')]);
    const status = await statusOf(gateway);
    for (const model of ['slow-health', 'slow-prefill']) {
      expect(status.models[model]).toMatchObject({ state: 'ready', last_failure: null });
      expect(status.models[model]?.replicas).toHaveLength(1);
    }
  });
});
