/** Where an engine is, and whether it is still there: a network that is parted for a while, a new generation, a stranger. */
import { isIP } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { errorOf } from '../support/clients.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway } from '../support/in-process-gateway.ts';
import { decisionsOn, goneWithoutTrace } from '../support/open-stream.ts';
import { metric, ownPorts, statusOf, untilAtRest } from '../support/simulated-fleet.ts';
import { codeOf, startTwoHops, type TwoHops } from './two-hops.ts';

/** The gateway's clock: it looks at its engines once a second, and gives them four tenths of a second to answer. */
const SPEED = 5;
/** As many looks in a row without an answer end an engine. */
const STRIKES = 3;

let both: TwoHops;
/** Looks at `near` in a row that were not answered. */
let missed = 0;
/** Called after each. */
let onMissed: () => void = () => undefined;
/** Called after a look that was answered. */
let onAnswered: () => void = () => undefined;

beforeAll(async () => {
  both = await startTwoHops({
    more: 'timeouts: { connect: 20s, between_chunks: 4s }\nretry: { attempts: 3, delay: 200ms }',
    speed: SPEED,
    wholeNetwork: true,
    looked: (answered) => {
      missed = answered ? 0 : missed + 1;
      if (answered) onAnswered();
      else onMissed();
    },
  });
});

afterEach(() => {
  onMissed = () => undefined;
  onAnswered = () => undefined;
  return both.recovered();
});

afterAll(async () => {
  await both[Symbol.asyncDispose]();
  await noEngineLeft(both.gateway.gateway.id);
});

const ENDLESS = { stream: true, fake: { tokens: 10_000, token_ms: 10 } };

it('[F21] a network that is parted for two looks ends streams by their timers, and no engine', async () => {
  const replica = await both.replicaOf('near');
  const { proxy } = both.hops.near;
  const stream = both.ask('near', ENDLESS);
  await eventually('it streams', () => proxy.passed.down > 2_000);
  let healed = false;
  onMissed = () => {
    if (missed < STRIKES - 1) return;
    healed = true;
    proxy.heal();
  };
  // Right after a look: the stream has its time to end before two more have failed.
  onAnswered = () => {
    onAnswered = () => undefined;
    proxy.partition();
  };
  const cut = await stream;
  expect([cut.status, cut.whole, codeOf(cut)]).toEqual([200, false, 'upstream_timeout']);
  const waiting = both.ask('near');
  expect(await waiting).toMatchObject({ status: 200, whole: true, headers: { 'x-vgw-replica': replica } });
  expect(healed).toBe(true);
  await eventually('it is seen again', () => missed === 0);
  expect(decisionsOn(both.gateway, replica)).not.toContain('replica.unhealthy');
  expect(await both.replicaOf('near')).toBe(replica);
});

it('[F21] one that stays parted has its engine replaced, once, and never two of them', async () => {
  const replica = await both.replicaOf('near');
  const starts = await both.metric('starts_total', { model: 'near' });
  const { proxy } = both.hops.near;
  proxy.partition();
  await eventually('it is given up', () => decisionsOn(both.gateway, replica).includes('replica.unhealthy'));
  await goneWithoutTrace(both.gateway, replica);
  const waiting = Promise.all([both.ask('near'), both.ask('near')]);
  const next = await eventually('another one starts', async () => {
    const { replicas } = await statusOf(both.gateway);
    const ids = Object.entries(replicas).filter(([, { model }]) => model === 'near');
    expect(ids.length).toBeLessThanOrEqual(1);
    return ids[0]?.[0];
  });
  proxy.heal();
  for (const seen of await waiting) {
    expect(seen).toMatchObject({ status: 200, whole: true, headers: { 'x-vgw-replica': next } });
  }
  expect((await both.metric('starts_total', { model: 'near' })) - starts).toBe(1);
});

it('[F20] each generation is reached at an address of its own, never by a name that may change, on connections of its own', async () => {
  const replica = await both.replicaOf('near');
  await both.manyGoodRequests('near');
  const old = new Set(both.dialled.map(({ port }) => port));
  for (const { host } of both.dialled) expect(isIP(host ?? '')).not.toBe(0);
  const { proxy } = both.hops.near;
  const unloaded = await fetch(`${both.gateway.url}/gateway/models/near/unload?wait=true`, { method: 'POST' });
  expect(unloaded.status).toBe(200);
  await eventually('its connections are closed', () => proxy.open === 0);
  both.dialled.length = 0;
  const seen = await both.ask('near');
  expect(seen).toMatchObject({ status: 200, whole: true });
  expect(seen.headers['x-vgw-replica']).not.toBe(replica);
  const { active_containers: engines } = await statusOf(both.gateway);
  const { port } = Object.values(engines).find(({ model_id: model }) => model === 'near') ?? {};
  expect(both.dialled.map((to) => to.port)).toEqual([port]);
  expect([...old]).not.toContain(port);
});

const STRANGER = fileURLToPath(new URL('stranger-engine.mjs', import.meta.url));

it('[F22] a server that is well and lists another model is a stranger: never ready, never asked, and the start fails', async () => {
  await using gateway = await startTestGateway({
    yaml: [
      `drivers: { default: process, process: { port_range: ${ownPorts()} } }`,
      'models:',
      `  ours: { repo: org/ours, engine: vllm, command: [${process.execPath}, ${STRANGER}, "\${port}"], memory: 1GiB }`,
    ].join('\n'),
  });
  const answer = await gateway.post('/v1/chat/completions', { model: 'ours', messages: [] });
  const text = await answer.text();
  expect(text).not.toContain('stolen');
  expect(errorOf({ status: answer.status, text, headers: {}, tookMs: 0 })).toMatchObject({
    code: 'model_start_failed',
    cause: 'port_in_use',
  });
  expect(answer.status).toBe(503);
  const decisions = gateway.lines.map((line) => (JSON.parse(line) as { readonly event?: string }).event);
  expect(decisions).not.toContain('replica.ready');
  // On the next port it is told again that it is not ours; ports that others of this machine hold are passed over.
  expect(decisions.filter((event) => event === 'replica.starting').length).toBeGreaterThanOrEqual(2);
  expect(await metric(gateway, 'upstream_requests_total')).toBe(0);
  await untilAtRest(gateway);
});
