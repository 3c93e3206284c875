/** More bodies than memory, more connections than descriptors: what is too much is turned away, and everything else goes on. */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'undici';
import { afterEach, expect, it } from 'vitest';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { atRest, factsOf, faultGateway, nothingLeftOf, type FaultGateway } from '../support/fault-gateway.ts';
import type { GatewayProcess, GatewayProcessOptions } from '../support/gateway-process.ts';
import { ENDLESS, openStream } from '../support/open-stream.ts';
import { samplesOf } from '../support/prometheus-text.ts';
import { simulatedYaml } from '../support/simulated-fleet.ts';

const MIB = 1_024 * 1_024;
const HEAP_MIB = 96;
const BODY_BYTES = 10 * MIB;
const BUFFERED_MIB = 32;
/** Ten times what may be held. */
const LOAD = 30;
/** What Node and our code take without any body, and each body once on its way in and once on its way out. */
const MOST_RSS_MIB = 200 + 3 * BUFFERED_MIB;

const DESCRIPTORS = 256;
const CROWD = 400;
const PLACES = 5;

const gatewayIds = new Set<string>();

afterEach(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
  gatewayIds.clear();
});

async function started(options: GatewayProcessOptions): Promise<FaultGateway> {
  const fault = await faultGateway(options);
  gatewayIds.add(fault.gateway.gatewayId ?? '');
  return fault;
}

function residentMib({ pid }: GatewayProcess): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) / 1_024;
}

/** Null: the connection was lost. Anything else is thrown. */
function brokenOff(error: unknown): null {
  if (['EPIPE', 'ECONNRESET', 'UND_ERR_SOCKET'].includes((error as { readonly code?: string }).code ?? '')) return null;
  throw error;
}

it('[F95] ten times the bodies that fit are held up to max_buffered_bytes; the rest is told to come again, and the heap is never full', async () => {
  const yaml = simulatedYaml(
    [{ name: 'reader', keys: ['max_concurrent: 2'] }, { name: 'small' }],
    `limits: { max_buffered_bytes: ${BUFFERED_MIB}MiB }`,
  );
  await using fault = await started({
    yaml,
    server: '  max_body_size: 16MiB\n',
    node: [`--max-old-space-size=${HEAP_MIB}`],
  });
  const { gateway, clients } = fault;
  expect((await clients.chat('reader')).status).toBe(200);
  expect((await clients.chat('small')).status).toBe(200);
  const filling = 'x'.repeat(BODY_BYTES);
  const fake = { ttft_ms: 50 };
  const body = Buffer.from(
    JSON.stringify({ model: 'reader', messages: [{ role: 'user', content: 'Hi' }], fake, filling }),
  );
  const agent = new Agent({ connections: LOAD, pipelining: 1, headersTimeout: 0, bodyTimeout: 0 });
  const one = async (): Promise<string> => {
    const asked = request(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      dispatcher: agent,
      headers: { 'content-type': 'application/json' },
      body,
    });
    // Who still writes when the gateway has waited long enough loses the connection, and the answer with it.
    const answer = await asked.catch(brokenOff);
    if (answer === null) return 'broken off';
    const text = await answer.body.text();
    const { error } = JSON.parse(text) as { readonly error?: { readonly code: string } };
    return error?.code ?? String(answer.statusCode);
  };
  let over = false;
  const load = Promise.all(Array.from({ length: LOAD }, one)).finally(() => {
    over = true;
  });
  let beside = 0;
  await eventually('the load is over', async () => {
    expect((await clients.chat('small')).status).toBe(200);
    expect((await factsOf(gateway)).limits.buffered_bytes).toBeLessThanOrEqual(BUFFERED_MIB * MIB);
    beside += 1;
    return over;
  });
  const ends = await load;
  await agent.destroy();
  const told = ends.filter((end) => end === 'server_busy').length;
  const served = ends.filter((end) => end === '200').length;
  expect(ends.filter((end) => !['200', 'server_busy', 'broken off'].includes(end))).toEqual([]);
  expect(told).toBeGreaterThan(0);
  const samples = samplesOf((await clients.get('/metrics')).text).filter(
    ({ labels }) => labels['code'] === 'server_busy',
  );
  const refused = samples.find(({ name }) => name === 'vllm_gateway_requests_total')?.value;
  expect(refused).toBe(LOAD - served);
  expect(served).toBeGreaterThanOrEqual(Math.floor((BUFFERED_MIB * MIB) / BODY_BYTES) - 1);
  expect(beside).toBeGreaterThan(2);
  expect(residentMib(gateway)).toBeLessThan(MOST_RSS_MIB);
  expect((await factsOf(gateway)).limits.buffered_bytes).toBe(0);
  await atRest(gateway);
});

const canLimit = spawnSync('prlimit', ['--nofile=64:64', 'true']).status === 0;

/** Resolves when it is connected or was turned away. */
async function knock(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
  return socket;
}

it.runIf(canLimit)(
  '[F97] connections beyond what the descriptors allow are closed; streams live, and engines start, are probed and end',
  async () => {
    const yaml = simulatedYaml([{ name: 'streaming' }, { name: 'cold' }]);
    await using fault = await started({ yaml, through: ['prlimit', `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`] });
    const { gateway, clients } = fault;
    const stream = await openStream(clients, 'streaming', ENDLESS);
    expect((await clients.get('/healthz')).status).toBe(200);
    const crowd = await Promise.all(Array.from({ length: CROWD }, () => knock(gateway.url)));
    try {
      await eventually(
        'those that are too many are closed',
        () => crowd.filter(({ closed }) => closed).length > CROWD / 2,
      );
      expect(crowd.filter(({ closed }) => !closed).length).toBeGreaterThan(10);
      // A few leave; the places of all others stay taken.
      for (const socket of crowd.filter(({ closed }) => !closed).slice(0, PLACES)) socket.destroy();
      await eventually('there is a place', async () => (await clients.get('/healthz')).status === 200);
      expect((await clients.chat('cold')).status).toBe(200);
      const unloaded = await clients.post('/gateway/models/cold/unload?wait=true', {});
      expect(unloaded.status).toBe(200);
      await nothingLeftOf(gateway, 'cold');
      const health = await clients.get('/gateway/status');
      expect(health.status).toBe(200);
    } finally {
      for (const socket of crowd) socket.destroy();
    }
    await eventually('a new connection is accepted', async () => {
      const socket = await knock(gateway.url);
      const answer = once(socket, 'data').then(() => true);
      socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
      const closed = once(socket, 'close').then(() => false);
      const served = await Promise.race([answer, closed]);
      socket.destroy();
      return served;
    });
    expect(gateway.stdout).not.toMatch(/EMFILE/);
    expect((await factsOf(gateway)).models['streaming']?.in_flight).toBe(1);
    await gateway.kill();
    expect((await stream.end).frames.length).toBeGreaterThan(20);
  },
);
