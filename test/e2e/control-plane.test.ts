/** The control plane of a running gateway with simulated engines: what operators and their scripts see. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  commandAnswer,
  decisionEvent,
  errorAnswer,
  healthAnswer,
  readyAnswer,
  requestAnswer,
  statusAnswer,
  type DecisionEvent,
  type StatusAnswer,
} from '../../src/admin/contract.ts';
import { eventually } from '../support/eventually.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { framesOf, type Frame } from '../support/sse-frames.ts';

const BIG = 'org/big-8b';
const FIXTURE = fileURLToPath(new URL('../fixtures/original/status.json', import.meta.url));
const messages = [{ role: 'user', content: 'Hello' }];
const devices = { probe: 'simulated', list: ['gpu-0', 'gpu-1'].map((id) => ({ id, memory: '24GiB' })) };

let gateway: TestGateway;

beforeAll(async () => {
  const env = QUICK;
  gateway = await startTestGateway({
    yaml: gatewayYaml(
      {
        [BIG]: {
          repo: 'org/big',
          memory: '15GiB',
          devices: ['gpu-0'],
          aliases: ['big'],
          env: { ...env, FAKE_VLLM_LOG_EVERY_MS: '20' },
        },
        other: { repo: 'org/other', memory: '15GiB', devices: ['gpu-0'], env: { ...env, FAKE_VLLM_START_MS: '800' } },
        broken: {
          repo: 'org/broken',
          memory: '1GiB',
          devices: ['gpu-0'],
          env: { ...env, FAKE_VLLM_FAULT: 'bad_model_files' },
        },
        stuck: {
          repo: 'org/stuck',
          memory: '1GiB',
          devices: ['gpu-1'],
          env: { ...env, FAKE_VLLM_FAULT: 'hang_at:load' },
        },
        stubborn: {
          repo: 'org/stubborn',
          devices: ['gpu-0'],
          memory: '1GiB',
          stop_timeout: '3s',
          env: { ...env, FAKE_VLLM_FAULT: 'sigterm_ignored' },
        },
        outside: {
          url: 'http://127.0.0.1:9',
          repo: 'there',
          api_key: 'sk-outside',
          headers: { 'x-token': 'sk-header' },
        },
      },
      { devices },
    ),
    env: { HF_TOKEN: 'hf_secret_of_the_hub' },
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

const get = (path: string, init?: RequestInit): Promise<Response> => fetch(gateway.url + path, init);

async function status(): Promise<StatusAnswer> {
  return statusAnswer.parse(await (await get('/gateway/status')).json());
}

async function command(name: string, verb: string, wait: boolean): Promise<Response> {
  return gateway.post(`/gateway/models/${name}/${verb}${wait ? '?wait=true' : ''}`, '');
}

async function chat(model: string, more: Readonly<Record<string, unknown>> = {}): Promise<Response> {
  return gateway.post('/v1/chat/completions', { model, messages, ...more });
}

describe('health', () => {
  it('tells that the process lives, and whether it can take work [item 137]', async () => {
    expect(healthAnswer.parse(await (await get('/healthz')).json())).toEqual({ status: 'ok' });
    expect(readyAnswer.parse(await (await get('/readyz')).json())).toEqual({ status: 'ready', reasons: [] });
    for (const path of ['/healthz', '/readyz', '/']) expect((await get(path, { method: 'HEAD' })).status).toBe(200);
  });
});

describe('status', () => {
  it('is told live through a cold start, a drain and the end [items 135, 136]', async () => {
    const seen = new Set<string>();
    const note = ({ models, replicas }: StatusAnswer): void => {
      const model = models['other'];
      const [replica] = model?.replicas ?? [];
      seen.add(`${model?.state}/${replica === undefined ? '-' : replicas[replica]?.state}`);
    };
    note(await status());
    const stream = chat('other', { stream: true, fake: { tokens: 400, token_ms: 20 } });
    const starting = await eventually('it starts', async () => {
      const now = await status();
      note(now);
      return now.models['other']?.state === 'starting' ? now : undefined;
    });
    const [id = ''] = starting.models['other']?.replicas ?? [];
    expect(starting.models['other']).toMatchObject({ queued: 1, in_flight: 0 });
    expect(starting.devices['gpu-0']).toMatchObject({ residents: [id], reserved_mib: 15 * 1024, budget_mib: 22118.4 });
    expect(starting.queue_status['other']).toMatchObject({ queue_depth: 1 });
    const response = await stream;
    const reader = response.body?.getReader();
    await reader?.read();
    const ready = await status();
    note(ready);
    expect(ready.models['other']).toMatchObject({ queued: 0, in_flight: 1, waiting_for: null });
    expect(ready.replicas[id]).toMatchObject({ model: 'other', leases: 1, progress: null });
    expect(ready.active_containers[id]).toMatchObject({ model_id: 'other', status: 'READY', active_requests: 1 });

    const unloading = command('other', 'unload', true);
    await eventually('it drains', async () => {
      const now = await status();
      note(now);
      return now.replicas[id]?.state === 'draining';
    });
    await reader?.cancel();
    expect(commandAnswer.parse(await (await unloading).json())).toMatchObject({ state: 'cold', done: true });
    note(await status());
    expect([...seen]).toEqual(['cold/-', 'starting/starting', 'ready/ready', 'draining/draining']);
  });

  it('has the fields of the original gateway [item 135]', async () => {
    await command('big', 'load', true);
    const original = JSON.parse(readFileSync(FIXTURE, 'utf8')) as Record<string, Record<string, object>>;
    const ours = (await status()) as unknown as Record<string, Record<string, object>>;
    expect(Object.keys(ours)).toEqual(expect.arrayContaining(Object.keys(original)));
    for (const section of ['gpus', 'active_containers', 'queue_status']) {
      const [theirs] = Object.values(original[section] ?? {});
      const [entry] = Object.values(ours[section] ?? {});
      expect(Object.keys(entry ?? {})).toEqual(expect.arrayContaining(Object.keys(theirs ?? {})));
    }
  });
});

/** Frames as they come, until one satisfies. */
async function readUntil(
  frames: AsyncIterator<Frame>,
  enough: (event: DecisionEvent) => boolean,
): Promise<DecisionEvent[]> {
  const events: DecisionEvent[] = [];
  for (;;) {
    const { value, done } = await frames.next();
    if (done === true || value === undefined) throw new Error('the stream ended');
    if (value.event !== 'decision') continue;
    const event = decisionEvent.parse(JSON.parse(value.data ?? ''));
    events.push(event);
    if (enough(event)) return events;
  }
}

/** What tells a browser when to come back is no event. */
async function firstEvent(frames: AsyncIterator<Frame, void>): Promise<Frame> {
  for (;;) {
    const { value, done } = await frames.next();
    if (done === true) throw new Error('the stream ended');
    if (value.event !== null) return value;
  }
}

describe('events', () => {
  it('begin with a snapshot, and tell a start, an eviction and a failure in order, with reasons and durations [item 140]', async () => {
    await command('other', 'unload', true);
    await command('big', 'unload', true);
    const leaving = new AbortController();
    const response = await get('/gateway/events', { signal: leaving.signal });
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    if (response.body === null) throw new Error('an answer without a body');
    const frames = framesOf(response.body);
    const first = await firstEvent(frames);
    expect(first.event).toBe('snapshot');
    expect(statusAnswer.parse(JSON.parse(first.data ?? '')).models[BIG]?.state).toBe('cold');

    await chat('big');
    const start = await readUntil(frames, ({ kind }) => kind === 'replica.ready');
    await chat('other');
    const swap = await readUntil(frames, ({ kind, model }) => kind === 'replica.ready' && model === 'other');
    expect((await chat('broken')).status).toBe(503);
    const failure = await readUntil(frames, ({ kind }) => kind === 'model.backing_off');

    const story = (events: readonly DecisionEvent[]): string[] =>
      events.map(({ kind, model }) => `${kind} ${model ?? ''}`);
    expect(inOrder(story(start), [`replica.reserved ${BIG}`, `replica.starting ${BIG}`, `replica.ready ${BIG}`])).toBe(
      true,
    );
    const swapped = [`replica.evicted ${BIG}`, `replica.gone ${BIG}`, 'replica.starting other', 'replica.ready other'];
    expect(inOrder(story(swap), swapped), story(swap).join('\n')).toBe(true);
    expect(inOrder(story(failure), ['replica.start_failed broken', 'model.backing_off broken'])).toBe(true);
    const all = [...start, ...swap, ...failure];
    expect(all.map(({ seq }) => seq)).toEqual(all.map((_event, index) => (all[0]?.seq ?? 0) + index));
    expect(all.every(({ reason }) => reason !== '')).toBe(true);
    expect(start.at(-1)?.reason).toMatch(/^Ready after \d+\.\d s\.$/);
    expect(swap.find(({ kind }) => kind === 'replica.evicted')?.reason).toContain('other');
    expect(failure.find(({ kind }) => kind === 'replica.start_failed')?.detail['cause']).toMatch(/^\w+$/);
    leaving.abort();

    const missed = all.at(-3)?.seq ?? 0;
    const again = await get('/gateway/events?follow=false', { headers: { 'last-event-id': String(missed) } });
    const ids = [...(await again.text()).matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
    expect(ids.slice(0, 2)).toEqual([missed + 1, missed + 2]);
  });
});

function inOrder(all: readonly string[], wanted: readonly string[]): boolean {
  let at = 0;
  for (const entry of all) if (entry === wanted[at]) at += 1;
  return at === wanted.length;
}

describe('commands', () => {
  it('load and unload answer at once, or at the end when asked to [item 85]', async () => {
    await command('other', 'unload', true);
    const now = await command(encodeURIComponent(BIG), 'load', false);
    expect(now.status).toBe(202);
    expect(commandAnswer.parse(await now.json())).toMatchObject({ model: BIG, command: 'load', done: false });
    const done = await command(BIG, 'load', true);
    expect(done.status).toBe(200);
    expect(commandAnswer.parse(await done.json())).toEqual({ model: BIG, command: 'load', state: 'ready', done: true });
    const gone = await command(BIG, 'unload', true);
    expect(commandAnswer.parse(await gone.json())).toMatchObject({ state: 'cold', done: true });
  });

  it('tell at the end why a model was not loaded [item 67]', async () => {
    const answer = await command('broken', 'load', true);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ error: { code: 'model_start_failed', cause: 'model_files' } });
    expect((await status()).models['broken']).toMatchObject({
      state: 'failed',
      last_failure: { cause: 'model_files' },
    });
  });

  it('what does not exist is told in the shape of the API [item 51]', async () => {
    const cases: readonly (readonly [Response, number, string])[] = [
      [await command('nothing', 'load', true), 404, 'model_not_found'],
      [await get('/gateway/nothing'), 404, 'route_not_found'],
      [await get('/gateway/requests/unknown'), 404, 'route_not_found'],
      [await get('/gateway/replicas/unknown/logs'), 404, 'route_not_found'],
      [await get(`/gateway/models/${BIG}/load`), 405, 'method_not_allowed'],
      [await gateway.post('/gateway/status', ''), 405, 'method_not_allowed'],
    ];
    for (const [response, code, name] of cases) {
      expect(response.status).toBe(code);
      expect(errorAnswer.parse(await response.json()).error.code).toBe(name);
      expect(response.headers.get('x-request-id')).toMatch(/./);
    }
    expect((await get(`/gateway/models/${BIG}/load`)).headers.get('allow')).toContain('POST');
  });
});

describe('a finished request', () => {
  it('can be looked up by its id', async () => {
    const response = await chat('big', { max_tokens: 4, ignore_eos: true });
    await response.text();
    const id = response.headers.get('x-request-id') ?? '';
    const record = requestAnswer.parse(await (await get(`/gateway/requests/${id}`)).json());
    expect(record).toMatchObject({
      id,
      model: BIG,
      route: 'chat_completions',
      status: 200,
      outcome: 'completed',
      code: null,
      attempts: 1,
      completion_tokens: 4,
      replica: response.headers.get('x-vgw-replica'),
    });
  });
});

describe('logs', () => {
  it('of a replica go on while they are followed [item 140]', async () => {
    await command('big', 'load', true);
    const [id = ''] = (await status()).models[BIG]?.replicas ?? [];
    const tail = await (await get(`/gateway/replicas/${id}/logs?tail=2`)).text();
    expect(tail.trimEnd().split('\n')).toHaveLength(2);
    const leaving = new AbortController();
    const response = await get(`/gateway/replicas/${id}/logs?tail=0&follow=true`, { signal: leaving.signal });
    let text = '';
    for await (const piece of response.body ?? []) {
      text += Buffer.from(piece as Uint8Array).toString();
      if (text.split('\n').length > 4) break;
    }
    leaving.abort();
    const numbers = [...text.matchAll(/simulated line (\d+)/g)].map(([, number]) => Number(number));
    expect(numbers.length).toBeGreaterThanOrEqual(3);
    expect(numbers).toEqual(numbers.map((_number, index) => (numbers[0] ?? 0) + index));
  });
});

describe('secrets', () => {
  it('are in no answer of the control plane', async () => {
    const config = await (await get('/gateway/config')).text();
    expect(JSON.parse(config)).toMatchObject({
      models: { outside: { api_key: '***', headers: { 'x-token': '***' } } },
    });
    const pages = await Promise.all(
      ['/gateway/status', '/metrics', '/gateway/events?follow=false'].map((path) => get(path)),
    );
    const texts = [config, ...(await Promise.all(pages.map((page) => page.text()))), gateway.lines.join('\n')];
    for (const text of texts) expect(text).not.toMatch(/sk-outside|sk-header|hf_secret/);
  });
});

describe('the list of models', () => {
  it('answers while an engine starts that never comes up, and while one stops that does not want to [item 151]', async () => {
    const stateOf = async (name: string): Promise<unknown> => {
      const { data } = (await (await get('/v1/models')).json()) as { data: { id: string; state: string }[] };
      return data.find(({ id }) => id === name)?.state;
    };
    await command('stuck', 'load', false);
    await command('stubborn', 'load', true);
    const stopping = command('stubborn', 'unload', true);
    await eventually('it stops', async () => {
      const { models, replicas } = await status();
      return models['stubborn']?.replicas.some((id) => replicas[id]?.state === 'stopping');
    });
    expect(await stateOf('stubborn')).toBe('cold');
    expect(await stateOf('stuck')).toBe('starting');
    expect((await status()).models['stubborn']?.replicas).toHaveLength(1);
    expect((await stopping).status).toBe(200);
    await command('stuck', 'unload', true);
  });
});

it('who watches sees a drain to its end, and does not hold it up', async () => {
  const env = { ...QUICK, FAKE_VLLM_LOG_EVERY_MS: '20' };
  await using draining = await startTestGateway({ yaml: gatewayYaml({ a: { repo: 'org/a', env } }) });
  await draining.post('/gateway/models/a/load?wait=true', '');
  const { models } = statusAnswer.parse(await draining.status());
  const events = await fetch(`${draining.url}/gateway/events`);
  const logs = await fetch(`${draining.url}/gateway/replicas/${models['a']?.replicas[0]}/logs?follow=true`);
  const [watched, followed] = [events.text(), logs.text()];
  expect(await draining.gateway.drain()).toBe('clean');
  const kinds = [...(await watched).matchAll(/"kind":"([\w.]+)"/g)].map(([, kind]) => kind);
  expect(kinds[0]).toBe('gateway.draining');
  expect(kinds.at(-1)).toBe('replica.gone');
  expect(await followed).toContain('simulated line');
});

it('pins survive a restart, and always_on models are loaded at the start [item 85]', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vgw-pins-'));
  const yaml = gatewayYaml({
    always: { repo: 'org/always', always_on: true, env: QUICK },
    pinned: { repo: 'org/pinned', env: QUICK },
    idle: { repo: 'org/idle', env: QUICK },
  });
  try {
    {
      await using before = await startTestGateway({ yaml, folder });
      expect((await before.post('/gateway/models/pinned/pin?wait=true', '')).status).toBe(200);
    }
    {
      // A run without the model neither serves nor forgets what is pinned.
      await using without = await startTestGateway({
        yaml: gatewayYaml({ idle: { repo: 'org/idle', env: QUICK } }),
        folder,
      });
      await without.post('/gateway/models/idle/pin', '');
      await without.post('/gateway/models/idle/unpin', '');
    }
    await using after = await startTestGateway({ yaml, folder });
    const models = await eventually('both are ready', async () => {
      const now = statusAnswer.parse(await after.status()).models;
      return now['always']?.state === 'ready' && now['pinned']?.state === 'ready' ? now : undefined;
    });
    expect(models).toMatchObject({
      always: { pinned_by: 'config' },
      pinned: { pinned_by: 'operator' },
      idle: { pinned_by: null, state: 'cold' },
    });
    await after.post('/gateway/models/pinned/unpin', '');
    expect(statusAnswer.parse(await after.status()).models['pinned']).toMatchObject({ pinned_by: null });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
