/** Time that jumps, stands still or is lost: nobody is cut off for a second in which nobody could have done anything. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Clients, type ClientAnswer } from '../support/clients.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { atRest, factsOf, faultGateway, type FaultGateway } from '../support/fault-gateway.ts';
import { openStream, type OpenStream } from '../support/open-stream.ts';
import { simulatedYaml } from '../support/simulated-fleet.ts';

/** Of everything that waits for an engine; shorter than each trouble below. */
const PATIENCE_MS = 1_500;
const TROUBLE_MS = 3_000;
const ON_TIME_AGAIN_MS = 1_000;
const TOKEN_MS = 20;
/** How often the gateway looks at its deadlines. */
const TICK_MS = 250;
const HOUR_MS = 3_600_000;

/** SIGUSR2 makes it do, once more, what the file says. */
const hook = (file: string): string => `
import { readFileSync, writeFileSync } from 'node:fs';
const real = Date.now;
let shift = 0;
Date.now = () => real() + shift;
process.on('SIGUSR2', () => {
  const { shiftMs = 0, blockMs = 0 } = JSON.parse(readFileSync(${JSON.stringify(file)}, 'utf8'));
  shift = shiftMs;
  writeFileSync(${JSON.stringify(`${file}.obeyed`)}, '');
  for (const until = performance.now() + blockMs; performance.now() < until; );
});`;

let folder: string;
let fault: FaultGateway;
let gatewayId: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vgw-clock-'));
  writeFileSync(join(folder, 'hook.mjs'), hook(join(folder, 'order')));
  const timeouts = `timeouts: { first_byte: ${PATIENCE_MS / 1_000}s, between_chunks: ${PATIENCE_MS / 1_000}s }`;
  const yaml = simulatedYaml(
    [
      { name: 'talking', keys: [timeouts, 'max_concurrent: 2'] },
      { name: 'thinking', keys: [timeouts, 'preload: true'] },
      { name: 'dripping', keys: [timeouts, 'preload: true'] },
      { name: 'idle', keys: ['inactivity_timeout: 2s'] },
      { name: 'resting', keys: ['inactivity_timeout: 10m'] },
    ],
    'limits: { queue_timeout: 30s }',
  );
  fault = await faultGateway({ yaml, node: ['--import', join(folder, 'hook.mjs')] });
  gatewayId = fault.gateway.gatewayId ?? '';
});

afterAll(async () => {
  await fault[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
  await noEngineLeft(gatewayId);
});

async function order(what: Readonly<Record<string, number>>): Promise<void> {
  const path = join(folder, 'order');
  writeFileSync(path, JSON.stringify(what));
  fault.gateway.signal('SIGUSR2');
  await eventually('it is obeyed', () => existsSync(`${path}.obeyed`));
  rmSync(`${path}.obeyed`);
}

async function passes(ms: number): Promise<void> {
  const since = performance.now();
  await eventually(`${ms} ms have passed`, () => performance.now() - since > ms);
}

/** Long enough to go on for some time after what is done to the gateway. */
const talk = (): Promise<OpenStream> =>
  openStream(fault.clients, 'talking', { tokens: (2 * TROUBLE_MS) / TOKEN_MS, token_ms: TOKEN_MS });

/** Will be answered within the patience of the gateway, and long after it began to stand still. */
async function asked(): Promise<{ readonly end: Promise<ClientAnswer> }> {
  const end = fault.clients.chat('thinking', { fake: { ttft_ms: PATIENCE_MS / 3 } });
  await eventually('it is asked', async () => (await factsOf(fault.gateway)).models['thinking']?.in_flight === 1);
  return { end };
}

/** To their own ends, not to ours. */
async function unbroken(streams: readonly OpenStream[]): Promise<void> {
  for (const { end } of streams) {
    const { frames, broken } = await end;
    expect([frames.at(-1)?.data, broken]).toEqual(['[DONE]', false]);
  }
}

const decided = (event: string, model: string): number =>
  fault.gateway.decisions(event).filter((entry) => entry.model === model).length;

it('[F90] a wall clock that jumps an hour forward and two back changes no wait and no idle time', async () => {
  expect((await fault.clients.chat('resting')).status).toBe(200);
  const streams = [await talk(), await talk()];
  const waiting = fault.clients.chat('talking');
  await eventually('it waits', async () => (await factsOf(fault.gateway)).models['talking']?.queued === 1);
  for (const shiftMs of [HOUR_MS, -HOUR_MS, 0]) {
    await order({ shiftMs });
    expect((await fault.clients.chat('resting')).status).toBe(200);
  }
  await unbroken(streams);
  expect((await waiting).status).toBe(200);
  expect(decided('replica.starting', 'resting')).toBe(1);
  const hours = fault.gateway.log.map(({ time }) => Date.parse(time));
  expect(hours.some((at, index) => at < (hours[index - 1] ?? 0))).toBe(true);
  await atRest(fault.gateway);
});

it('[F91] a gateway that stood still goes on where it was: streams live, an idle engine that somebody waits for serves', async () => {
  const streams = [await talk(), await talk()];
  expect((await fault.clients.chat('idle')).status).toBe(200);
  const answering = await asked();
  fault.gateway.signal('SIGSTOP');
  await using late = new Clients(fault.gateway.url);
  const waiting = [late.chat('idle'), late.chat('idle', { stream: true }), late.chat('talking')];
  await passes(TROUBLE_MS);
  fault.gateway.signal('SIGCONT');
  for (const answer of await Promise.all([...waiting, answering.end])) expect(answer.status).toBe(200);
  await unbroken(streams);
  expect(decided('replica.starting', 'idle')).toBe(1);
  expect(decided('replica.starting', 'talking')).toBe(1);
  await atRest(fault.gateway);
});

it('[F96] an event loop that was blocked answers health checks on time again, and has cut nobody off', async () => {
  // Their next word comes while nobody listens, and a tick after the last one.
  const dripping = { tokens: 6, token_ms: PATIENCE_MS - 300 };
  const slow = await Promise.all([1, 2, 3, 4].map(() => openStream(fault.clients, 'dripping', dripping)));
  const streams = [await talk(), await talk()];
  const answering = await asked();
  await passes(2 * TICK_MS);
  await order({ blockMs: TROUBLE_MS });
  const first = await fault.clients.get('/healthz');
  expect(first.status).toBe(200);
  expect(first.tookMs).toBeGreaterThan(TROUBLE_MS / 2);
  expect(first.tookMs).toBeLessThan(TROUBLE_MS + ON_TIME_AGAIN_MS);
  expect((await fault.clients.get('/readyz')).tookMs).toBeLessThan(ON_TIME_AGAIN_MS);
  expect((await answering.end).status).toBe(200);
  await unbroken([...streams, ...slow]);
  expect((await fault.clients.chat('talking')).status).toBe(200);
  expect(fault.gateway.decisions('replica.crashed')).toEqual([]);
  await atRest(fault.gateway);
});
