/** Starts that fail: whoever waits is told once, soon and why; the model rests and is tried again; its neighbours notice nothing. */
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Clients, errorOf, type ClientAnswer } from '../support/clients.ts';
import { enginesOf, isAlive, noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { fakeVllmPath } from '../support/fake-vllm.ts';
import type { TestGateway } from '../support/in-process-gateway.ts';
import { startFleet, statusOf, type SimulatedModel } from '../support/simulated-fleet.ts';
import { collectFrames } from '../support/sse-frames.ts';

interface Fault {
  readonly name: string;
  readonly fault: string;
  readonly cause: string;
  readonly says: RegExp;
  readonly keys?: readonly string[];
}

const FAULTS: readonly Fault[] = [
  { name: 'oom', fault: 'oom_at_start', cause: 'out_of_memory', says: /GPU ran out of memory/ },
  { name: 'kv', fault: 'kv_too_small', cause: 'out_of_memory', says: /max_model_len/ },
  { name: 'config', fault: 'bad_model_files', cause: 'model_files', says: /not on this machine/ },
  { name: 'weights', fault: 'bad_model_files:weights', cause: 'model_files', says: /weights/ },
  { name: 'arguments', fault: 'bad_arguments', cause: 'bad_arguments', says: /--max-num-seqs/ },
  { name: 'port', fault: 'port_in_use', cause: 'port_in_use', says: /port/ },
  { name: 'crash', fault: 'crash_at:load', cause: 'crashed', says: /exit code 1/ },
  { name: 'segfault', fault: 'crash_at:engine:SIGSEGV', cause: 'crashed', says: /SIGSEGV/ },
  { name: 'exit-zero', fault: 'exit0_at:load', cause: 'crashed', says: /exit code 0/ },
  // No exit to wait for: the limits end these, and the process with them.
  {
    name: 'hang',
    fault: 'hang_at:load',
    cause: 'start_timeout',
    says: /start_stall_timeout/,
    keys: ['start_stall_timeout: 1s'],
  },
  {
    name: 'slow',
    fault: 'slow_load:60000',
    cause: 'start_timeout',
    says: /start_timeout/,
    keys: ['start_timeout: 2s'],
  },
];

interface Dialect {
  readonly name: string;
  readonly fault: string;
  readonly cause: string;
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
}

const MESSAGES = [{ role: 'user', content: 'Hello' }];
const DIALECTS: readonly Dialect[] = [
  {
    name: 'chat',
    fault: 'crash_at:load',
    cause: 'crashed',
    path: '/v1/chat/completions',
    body: { messages: MESSAGES },
  },
  {
    name: 'completions',
    fault: 'oom_at_start',
    cause: 'out_of_memory',
    path: '/v1/completions',
    body: { prompt: 'Hi' },
  },
  { name: 'responses', fault: 'exit0_at:load', cause: 'crashed', path: '/v1/responses', body: { input: 'Hi' } },
  {
    name: 'messages',
    fault: 'bad_model_files:weights',
    cause: 'model_files',
    path: '/v1/messages',
    body: { max_tokens: 8, messages: MESSAGES },
  },
];

/** What the promise allows between the end of the engine and the answer. */
const TOLD_WITHIN_MS = 1_000;
const MENDED_FAULT = join(tmpdir(), `vgw-fault-${process.pid}`);

const MODELS: readonly SimulatedModel[] = [
  { name: 'healthy', keys: ['preload: true'] },
  { name: 'missing', keys: ['engine: vllm', 'command: [no-such-engine-here]'] },
  {
    name: 'mended',
    keys: [
      'engine: vllm',
      `command: [sh, -c, 'FAKE_VLLM_FAULT="$(cat ${MENDED_FAULT})" exec "$0" "$@"', ${process.execPath}, ${fakeVllmPath()}]`,
    ],
  },
  { name: 'unwanted', knobs: { START_MS: 5_000, PROCESSES: 2 } },
  ...DIALECTS.map(({ name, fault }) => ({
    name: `in-${name}`,
    knobs: { START_MS: 1_200, FAULT: fault },
    keys: ['keepalive: { after: 50ms, every: 100ms }'],
  })),
  ...FAULTS.map(({ name, fault, keys = [] }) => ({
    name,
    knobs: { START_MS: 300, FAULT: fault },
    keys,
  })),
];

let gateway: TestGateway;
let clients: Clients;
let gatewayId: string;

beforeAll(async () => {
  await writeFile(MENDED_FAULT, 'crash_at:config');
  gateway = await startFleet(MODELS);
  clients = new Clients(gateway.url);
  gatewayId = gateway.gateway.id;
});

afterAll(async () => {
  await clients[Symbol.asyncDispose]();
  await gateway[Symbol.asyncDispose]();
  await rm(MENDED_FAULT, { force: true });
  await noEngineLeft(gatewayId);
});

interface Ended {
  readonly answer: ClientAnswer;
  readonly at: number;
}

async function ended(asked: Promise<ClientAnswer>): Promise<Ended> {
  const answer = await asked;
  return { answer, at: performance.now() };
}

/** When the last engine process of the model was seen to be gone. */
async function lastExitOf(model: string): Promise<number> {
  const pid = await eventually(`an engine of ${model} runs`, async () => {
    const replicas = Object.values((await statusOf(gateway)).replicas);
    return replicas.find((replica) => replica.model === model)?.pid;
  });
  await eventually(`the engine of ${model} ends`, async () => !(await isAlive(pid)), 30_000);
  return performance.now();
}

describe('a start that fails', () => {
  it.each(FAULTS)(
    'with $fault is told to all who wait, within a second, as $cause [items 66, 67, 69, 70]',
    async ({ name, cause, says }) => {
      const waiting = [
        ended(clients.chat(name)),
        ended(clients.chat(name, { stream: true })),
        ended(clients.post('/v1/messages', { model: name, max_tokens: 8, messages: MESSAGES })),
      ];
      // Its first exit is followed by one more start, on another port.
      const exit = name === 'port' ? null : lastExitOf(name);
      const answers = await Promise.all(waiting);
      const after = await clients.chat(name);
      const exitAt = await exit;
      for (const { answer, at } of answers) {
        const error = errorOf(answer);
        expect(answer.status).toBe(503);
        expect(error).toMatchObject({ code: 'model_start_failed', cause });
        expect(error['message']).toMatch(says);
        expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
        if (exitAt !== null) expect(at - exitAt).toBeLessThan(TOLD_WITHIN_MS);
      }
      expect(after.status).toBe(503);
      expect(errorOf(after)).toMatchObject({ code: 'model_backing_off', cause });
      expect(Number(after.headers['retry-after'])).toBeGreaterThanOrEqual(1);
      expect((await clients.chat('healthy')).status).toBe(200);
      await eventually(
        `nothing of ${name} is left`,
        async () => !(await enginesOf(gatewayId)).some((one) => one.replica.startsWith(`${name}-`)),
      );
    },
  );

  it('for want of its program is told at once, without a process', async () => {
    const answer = await clients.chat('missing');
    expect(answer.status).toBe(503);
    expect(answer.tookMs).toBeLessThan(TOLD_WITHIN_MS);
    expect(errorOf(answer)).toMatchObject({ code: 'model_start_failed', cause: 'bad_arguments' });
    expect(errorOf(answer)['message']).toMatch(/no-such-engine-here.*not installed/);
  });

  it.each(DIALECTS)(
    'reaches a $name stream in keep-alive as one framed error of its dialect',
    async ({ name, cause, path, body }) => {
      const answer = await clients.open(`in-${name}`, { path, body: { ...body, stream: true } });
      expect(answer.status).toBe(200);
      expect(answer.headers['content-type']).toMatch(/text\/event-stream/);
      const { frames, broken } = await collectFrames(answer.body);
      const beats = frames.filter((frame) => frame.comment !== null || frame.event === 'ping');
      expect(beats.length).toBeGreaterThan(0);
      expect(frames.length).toBe(beats.length + 1);
      // A client that reads no frames sees a broken answer, never a complete one.
      expect(broken).toBe(true);
      const last = frames.at(-1);
      const told = JSON.parse(last?.data ?? '') as Record<string, unknown>;
      expect(told['error'] ?? told).toMatchObject({ code: 'model_start_failed', message: expect.any(String) });
      expect(JSON.stringify(told)).toContain(cause);
      if (name === 'messages' || name === 'responses') expect([last?.event, told['type']]).toEqual(['error', 'error']);
    },
  );

  it('is tried again after the rest and works once the fault is gone [items 66, 68]', async () => {
    expect(errorOf(await clients.chat('mended'))).toMatchObject({ code: 'model_start_failed', cause: 'crashed' });
    const resting = (await statusOf(gateway)).models['mended'];
    expect(resting?.state).toBe('failed');
    expect(resting?.last_failure).toMatchObject({ cause: 'crashed' });
    await writeFile(MENDED_FAULT, '');
    const answer = await eventually('the rest is over', async () => {
      const tried = await clients.chat('mended');
      return tried.status === 200 || errorOf(tried)['code'] !== 'model_backing_off' ? tried : null;
    });
    expect([answer.status, answer.text]).toEqual([200, expect.stringContaining('chat.completion')]);
    const mended = (await statusOf(gateway)).models['mended'];
    expect(mended?.state).toBe('ready');
  });

  it('takes its engine with it when an operator unloads it half way [item 65]', async () => {
    await fetch(`${gateway.url}/gateway/models/unwanted/load`, { method: 'POST' });
    await eventually(
      'both its processes run',
      async () => (await enginesOf(gatewayId)).filter((one) => one.replica.startsWith('unwanted-')).length === 2,
    );
    const answer = await fetch(`${gateway.url}/gateway/models/unwanted/unload?wait=true`, { method: 'POST' });
    expect(answer.status).toBe(200);
    expect((await enginesOf(gatewayId)).filter((one) => one.replica.startsWith('unwanted-'))).toEqual([]);
    expect((await statusOf(gateway)).models['unwanted']).toMatchObject({ state: 'cold', replicas: [] });
  });
});
