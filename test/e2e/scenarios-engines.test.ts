/** What users of the predecessor asked for, where only the whole can show it: lists, ids, long streams, lives of engines. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Clients, endOf, errorOf, tally } from '../support/clients.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { answerChat, ScriptedServer } from '../support/scripted-server.ts';
import {
  engineStats,
  HELD_START,
  letEngineGo,
  startFleet,
  statusOf,
  until,
  untilAtRest,
} from '../support/simulated-fleet.ts';

/** Two models fit one by one, never together. */
const ONE_DEVICE = [
  'devices: { probe: simulated, list: [{ id: gpu-0, memory: 24GiB }] }',
  'limits: { min_residency: 0 }',
].join('\n');
const BIG = 'memory: 20GiB';

interface Decided {
  readonly event: string;
  readonly model: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Decisions of the core so far, as logged. */
function decisions(gateway: TestGateway, event: string): readonly Decided[] {
  return gateway.lines
    .map((line) => JSON.parse(line) as { readonly event?: string; readonly model?: string; readonly time: string })
    .filter((line) => line.event === event)
    .map((line) => ({ event, model: line.model ?? '', at: Date.parse(line.time) }));
}

/** A process that is not yet waited for is dead all the same. */
function isAlive(pid: number): boolean {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return false;
  const stat = readFileSync(path, 'utf8');
  return !stat.slice(stat.lastIndexOf(')')).startsWith(') Z');
}

async function pidOf(gateway: TestGateway, model: string): Promise<number | null> {
  const { replicas } = await statusOf(gateway);
  return Object.values(replicas).find((replica) => replica.model === model)?.pid ?? null;
}

describe('the list of models', () => {
  it('shows whole objects with the state of each, and single ones by any spelling of their id [item 52]', async () => {
    const keys = ['max_model_len: 8192', 'aliases: [gpt-4o-mini]'];
    await using gateway = await startFleet([{ name: 'org/model-1', keys, knobs: HELD_START }, { name: 'other' }]);
    await using clients = new Clients(gateway.url);
    const listed = async (): Promise<readonly Record<string, unknown>[]> => {
      const answer = await clients.get('/v1/models');
      expect(answer.status).toBe(200);
      return (JSON.parse(answer.text) as { readonly data: readonly Record<string, unknown>[] }).data;
    };
    const entry = {
      object: 'model',
      owned_by: 'simulated',
      max_model_len: 8192,
      created: expect.any(Number) as number,
    };
    expect(await listed()).toEqual([
      { id: 'org/model-1', ...entry, state: 'cold' },
      { id: 'gpt-4o-mini', ...entry, parent: 'org/model-1', state: 'cold' },
      { id: 'other', ...entry, max_model_len: null, state: 'cold' },
    ]);

    const asked = clients.chat('gpt-4o-mini');
    await until(async () => expect((await listed())[0]).toMatchObject({ state: 'starting' }));
    await letEngineGo(gateway, 'org/model-1');
    expect((await asked).status).toBe(200);
    expect((await listed()).map(({ state }) => state)).toEqual(['ready', 'ready', 'cold']);
    for (const id of ['org/model-1', 'org%2Fmodel-1', 'gpt-4o-mini']) {
      const answer = await clients.get(`/v1/models/${id}`);
      expect(answer.status).toBe(200);
      expect(JSON.parse(answer.text)).toMatchObject({ id: decodeURIComponent(id), ...entry, state: 'ready' });
    }
    expect(endOf(await clients.get('/v1/models/nobody'))).toBe('404 model_not_found');
  });
});

describe('the id of a request', () => {
  it('is taken or made, returned, logged, kept and sent on [item 58]', async () => {
    await using engine = await ScriptedServer.listen(answerChat);
    await using gateway = await startTestGateway({ yaml: `models:\n  outside: { url: "${engine.url}" }` });
    await using clients = new Clients(gateway.url);
    const given = await clients.chat('outside', { headers: { 'x-request-id': 'trace-0815' } });
    const made = [await clients.chat('outside'), await clients.chat('outside')];
    const refused = await clients.chat('nobody', { headers: { 'x-request-id': 'trace-4711' } });

    const ids = [given, ...made].map(({ headers }) => headers['x-request-id'] ?? '');
    expect(ids[0]).toBe('trace-0815');
    expect(new Set(ids).size).toBe(3);
    expect(engine.seen.map(({ headers }) => headers['x-request-id'])).toEqual(ids);
    expect(refused.headers['x-request-id']).toBe('trace-4711');
    for (const id of [...ids, 'trace-4711']) {
      expect(gateway.lines.filter((line) => line.includes(`"request":"${id}"`))).not.toEqual([]);
      const kept = await clients.get(`/gateway/requests/${id}`);
      expect(JSON.parse(kept.text)).toMatchObject({ id, status: id === 'trace-4711' ? 404 : 200 });
    }
  });
});

describe('a stream that moves', () => {
  it('is not cut for being long, whatever the limits of a wait [S3] [items 56, 80]', async () => {
    const limits = 'timeouts: { request: 500ms, stall: 700ms }\nlimits: { queue_timeout: 500ms, drain_timeout: 500ms }';
    const keys = ['inactivity_timeout: 400ms'];
    await using gateway = await startFleet([{ name: 'chatty', keys }], limits);
    await using clients = new Clients(gateway.url);
    const fake = { tokens: 40, token_ms: 50 };
    const answer = await clients.chat('chatty', { stream: true, fake });
    const endedAt = Date.now();
    expect(answer.status).toBe(200);
    expect(answer.tookMs).toBeGreaterThan(1_900);
    expect(answer.text.match(/^data: \{/gm)?.length).toBeGreaterThanOrEqual(40);
    expect(answer.text.endsWith('data: [DONE]\n\n')).toBe(true);

    // The idle time counts from its last byte, not from its beginning.
    await until(() => expect(decisions(gateway, 'replica.idle')).toHaveLength(1));
    expect((decisions(gateway, 'replica.idle')[0]?.at ?? 0) - endedAt).toBeGreaterThan(300);
    await untilAtRest(gateway);
  });
});

describe('an idle engine', () => {
  it('stops after the time of its own model; with 0 or always_on never [S10] [items 79, 80]', async () => {
    await using gateway = await startFleet([
      { name: 'brief', keys: ['inactivity_timeout: 500ms'] },
      { name: 'patient', keys: ['inactivity_timeout: 1500ms'] },
      { name: 'lasting', keys: ['inactivity_timeout: 0'] },
      { name: 'standing', keys: ['inactivity_timeout: 300ms', 'always_on: true'] },
    ]);
    await using clients = new Clients(gateway.url);
    const names = ['brief', 'patient', 'lasting', 'standing'];
    await Promise.all(names.map((name) => clients.chat(name)));
    // The last use counts, not the start.
    expect((await Promise.all(names.map((name) => clients.chat(name)))).map(endOf)).toEqual(names.map(() => '200'));
    const usedAt = Date.now();
    const pid = (await pidOf(gateway, 'brief')) ?? 0;
    expect(isAlive(pid)).toBe(true);

    await until(() =>
      expect(decisions(gateway, 'replica.gone').map(({ model }) => model)).toEqual(['brief', 'patient']),
    );
    const idle = decisions(gateway, 'replica.idle');
    expect(idle.map(({ model }) => model)).toEqual(['brief', 'patient']);
    expect((idle[0]?.at ?? 0) - usedAt).toBeGreaterThan(400);
    expect((idle[1]?.at ?? 0) - usedAt).toBeGreaterThan(1_400);
    expect(isAlive(pid)).toBe(false);
    const { models } = await statusOf(gateway);
    expect(Object.entries(models).map(([name, { state }]) => [name, state])).toEqual([
      ['brief', 'cold'],
      ['patient', 'cold'],
      ['lasting', 'ready'],
      ['standing', 'ready'],
    ]);
    expect(endOf(await clients.chat('brief'))).toBe('200');
  });

  it('loses no request that arrives while it decides to stop [S10] [items 62, 63]', async () => {
    await using gateway = await startFleet([{ name: 'flickering', keys: ['inactivity_timeout: 50ms'] }]);
    await using clients = new Clients(gateway.url);
    // Each request comes about when the one before it has been idle long enough: before, in and after the decision.
    for (const pause of [30, 45, 48, 50, 52, 55, 70]) {
      expect(endOf(await clients.chat('flickering'))).toBe('200');
      const idleSince = Date.now();
      await until(() => expect(Date.now() - idleSince).toBeGreaterThanOrEqual(pause));
    }
    await untilAtRest(gateway);
  });
});

describe('a stop', () => {
  it('is waited for by everybody until the memory is free, however long the engine takes [items 76, 78]', async () => {
    // It ignores the polite signal, so that its end takes about a second.
    const slow = { knobs: { FAULT: 'sigterm_ignored' }, keys: [BIG, 'stop_timeout: 3s'] };
    const fleet = [
      { name: 'first', ...slow },
      { name: 'second', ...slow },
    ];
    await using gateway = await startFleet(fleet, ONE_DEVICE);
    await using clients = new Clients(gateway.url);
    expect(endOf(await clients.chat('first'))).toBe('200');
    const first = (await pidOf(gateway, 'first')) ?? 0;

    const waiters = clients.chats(5, 'second');
    let second: number | null = null;
    await until(async () => {
      second = await pidOf(gateway, 'second');
      // Looked at after the newcomer was seen: the other must have been gone before.
      if (second === null) expect((await statusOf(gateway)).devices['gpu-0']?.residents).toHaveLength(2);
      expect(second).not.toBeNull();
    });
    expect(isAlive(first)).toBe(false);
    expect(tally((await waiters).map(endOf))).toEqual({ 200: 5 });

    const unloads = [1, 2, 3].map(async () => {
      const answer = await clients.post('/gateway/models/second/unload?wait=true', {});
      return [answer.status, isAlive(second ?? 0)];
    });
    expect(await Promise.all(unloads)).toEqual([1, 2, 3].map(() => [200, false]));
    const { devices, models } = await statusOf(gateway);
    expect(devices['gpu-0']).toMatchObject({ used_mib: 0, reserved_mib: 0, residents: [] });
    expect(models['second']?.state).toBe('cold');
  });
});

describe('a hung start', () => {
  it.each([
    ['start_timeout', 'start_timeout: 1s'],
    ['start_stall_timeout', 'start_stall_timeout: 1s'],
  ])('is ended by %s, and its device is free for another model [item 70]', async (limit, key) => {
    const hung = { name: 'hung', knobs: { FAULT: 'hang_at:load' }, keys: [BIG, key] };
    await using gateway = await startFleet([hung, { name: 'sound', keys: [BIG] }], ONE_DEVICE);
    await using clients = new Clients(gateway.url);
    const asked = clients.chats(4, 'hung');
    await until(async () => expect(await pidOf(gateway, 'hung')).not.toBeNull());
    const pid = (await pidOf(gateway, 'hung')) ?? 0;
    const beside = clients.chat('sound');

    for (const answer of await asked) {
      expect(endOf(answer)).toBe('503 model_start_failed');
      expect(errorOf(answer)).toMatchObject({ cause: 'start_timeout' });
      expect(errorOf(answer)['message']).toContain(limit);
    }
    expect(endOf(await beside)).toBe('200');
    expect(isAlive(pid)).toBe(false);
    expect(await engineStats(gateway, 'sound')).toMatchObject({ served: 1 });
    expect((await statusOf(gateway)).models['hung']).toMatchObject({ queued: 0, in_flight: 0 });
  });
});
