/** Clients that leave, at every point of a request: nothing is started, asked or held for them. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DeafServer } from '../support/deaf-server.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { engineStats, simulatedYaml, statusOf, untilRunning, untilWaiting } from '../support/simulated-fleet.ts';
import { chat, endless, hanging, startClientBench, type ClientBench } from './client-bench.ts';

/** `left` and `right` do not fit on the device together. */
const MODELS = [
  { name: 'one', keys: ['memory: 1GiB', 'max_concurrent: 1'] },
  { name: 'slow', knobs: { START_MS: 1_500 }, keys: ['memory: 1GiB'] },
  { name: 'left', keys: ['memory: 12GiB'] },
  { name: 'right', keys: ['memory: 12GiB'] },
];

let bench: ClientBench;

beforeAll(async () => {
  const devices = 'devices: { probe: static, list: [{ id: gpu-0, memory: 24GiB }] }\nlimits: { min_residency: 0s }';
  bench = await startClientBench({ yaml: simulatedYaml(MODELS, devices) });
  await bench.recovered(['one']);
});

afterEach(() => bench.recovered(['one']));

afterAll(async () => {
  await bench[Symbol.asyncDispose]();
  await noEngineLeft(bench.gateway.gateway.id);
});

it('[F23] one that leaves the queue is out of it at once, and its request is never run', async () => {
  const working = bench.client(hanging('one'));
  await untilRunning(bench.gateway, 'one', 1);
  const before = (await engineStats(bench.gateway, 'one')).inference_requests;
  const waiting = Array.from({ length: 5 }, () => bench.client(chat('one')));
  await untilWaiting(bench.gateway, 'one', 5);
  const [leaves, ...stay] = waiting;
  const began = performance.now();
  leaves?.socket.destroy();
  await untilWaiting(bench.gateway, 'one', 4);
  expect(performance.now() - began).toBeLessThan(500);
  working.socket.destroy();
  for (const client of stay) await client.hears('chat.completion');
  expect((await engineStats(bench.gateway, 'one')).inference_requests).toBe(before + 4);
  expect(leaves?.heard).toBe('');
});

it('[F23] one that waits for memory and leaves has nothing started, and nobody evicted', async () => {
  const left = bench.client(endless('left'));
  await left.hears('data: ');
  const [replica] = (await statusOf(bench.gateway)).models['left']?.replicas ?? [];
  const leaves = bench.client(chat('right'));
  await untilWaiting(bench.gateway, 'right', 1);
  leaves.socket.destroy();
  await untilWaiting(bench.gateway, 'right', 0);
  left.socket.destroy();
  await untilRunning(bench.gateway, 'left', 0);
  // Whatever was to follow from it has followed when these are answered.
  await bench.recovered(['one', 'left']);
  const { models } = await statusOf(bench.gateway);
  expect(models['left']?.replicas).toEqual([replica]);
  expect(models['right']?.replicas).toEqual([]);
  expect(await bench.metric('starts_total', { model: 'right' })).toBe(0);
});

it('[F24] the last one to leave a start lets it go on: the engine serves who comes next, and nothing is held meanwhile', async () => {
  const clients = [bench.client(chat('slow')), bench.client(endless('slow'))];
  await eventually('it starts', async () => (await statusOf(bench.gateway)).models['slow']?.state === 'starting');
  const [replica] = (await statusOf(bench.gateway)).models['slow']?.replicas ?? [];
  for (const { socket } of clients) socket.destroy();
  await untilWaiting(bench.gateway, 'slow', 0);
  const next = bench.client(chat('slow'));
  await next.hears('chat.completion');
  expect(next.heard).toContain(`x-vgw-replica: ${replica}`);
  expect(await bench.metric('starts_total', { model: 'slow' })).toBe(1);
  expect(await engineStats(bench.gateway, 'slow')).toMatchObject({ inference_requests: 1, running: 0 });
});

it('[F25] one that leaves between grant and dispatch gives its slot back, and the engine is never asked', async () => {
  await using deaf = await DeafServer.start();
  for (const socket of bench.dialled) socket.destroy();
  bench.detour = Number(new URL(deaf.url).port);
  const before = (await engineStats(bench.gateway, 'one')).inference_requests;
  const client = bench.client(chat('one'));
  await untilRunning(bench.gateway, 'one', 1);
  expect(bench.dialled.at(-1)?.connecting).toBe(true);
  client.socket.destroy();
  await untilRunning(bench.gateway, 'one', 0);
  expect(bench.dialled.at(-1)?.destroyed).toBe(true);
  expect((await engineStats(bench.gateway, 'one')).inference_requests).toBe(before);
  expect(bench.lines('one').at(-1)).toMatchObject({ outcome: 'client_closed' });
});

const ROUNDS = 5;
const LET_GO_MS = 100;

it('[F26] one that leaves in the middle of a stream: the engine is let go within a tenth of a second, then the slot is free', async () => {
  const aborted = (await engineStats(bench.gateway, 'one')).aborted;
  const took: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const client = bench.client(endless('one'));
    await client.hears('data: ');
    const upstream = bench.dialled.find((socket) => !socket.destroyed);
    const closed = new Promise<number>((resolve) => upstream?.once('close', () => resolve(performance.now())));
    const began = performance.now();
    client.socket.destroy();
    took.push((await closed) - began);
    // It has one slot: the next round would wait for ever if it were not given back.
    await untilRunning(bench.gateway, 'one', 0);
  }
  await eventually('the engine knows', async () => {
    return (await engineStats(bench.gateway, 'one')).aborted === aborted + ROUNDS;
  });
  // The machine may be busy with other things now and then.
  expect(took.toSorted((one, other) => one - other)[Math.floor(ROUNDS / 2)]).toBeLessThan(LET_GO_MS);
});

it('[F27] one that leaves at the very last byte is counted once, as served or as gone', async () => {
  const ends = ['"finish_reason":"stop"', '[DONE]', '\r\n0\r\n\r\n'];
  const linesBefore = bench.lines('one').length;
  const requestsBefore = await bench.metric('requests_total', { model: 'one' });
  const count = 60;
  for (let round = 0; round < count; round += 1) {
    const client = bench.client(chat('one', { stream: true }));
    const end = ends[round % ends.length] ?? '';
    await new Promise<void>((resolve) => {
      client.socket.on('data', () => {
        if (!client.heard.includes(end)) return;
        if (round % 2 === 0) client.socket.destroy();
        else client.socket.resetAndDestroy();
        resolve();
      });
    });
  }
  await eventually('all of them have ended', () => bench.lines('one').length >= linesBefore + count);
  const outcomes = bench.lines('one').slice(linesBefore);
  expect(outcomes).toHaveLength(count);
  for (const { outcome } of outcomes) expect(outcome).toMatch(/^(completed|client_closed)$/);
  expect((await bench.metric('requests_total', { model: 'one' })) - requestsBefore).toBe(count);
});

it.each([
  ['in the queue', chat('one'), true],
  ['before its answer begins', hanging('one'), false],
  ['in the middle of a stream', endless('one'), false],
])('[F35] one that closes its sending side alone, %s, is gone', async (_when, bytes, behind) => {
  const first = behind ? bench.client(hanging('one')) : null;
  if (first !== null) await untilRunning(bench.gateway, 'one', 1);
  const before = bench.lines('one').length;
  const client = bench.client(bytes);
  if (first !== null) await untilWaiting(bench.gateway, 'one', 1);
  else if (bytes === endless('one')) await client.hears('data: ');
  else await untilRunning(bench.gateway, 'one', 1);
  client.socket.end();
  await client.end;
  await untilWaiting(bench.gateway, 'one', 0);
  if (first === null) await untilRunning(bench.gateway, 'one', 0);
  expect(client.heard).not.toContain('[DONE]');
  expect(bench.lines('one').slice(before)).toMatchObject([{ outcome: 'client_closed' }]);
});
