/** The scenarios A to G of the seed reviews, each against a whole gateway. */
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { freePort } from '../support/fake-vllm.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { Clients, endOf, errorOf, tally } from '../support/clients.ts';
import { DeafServer } from '../support/deaf-server.ts';
import { answerChat, CHAT_ANSWER, ScriptedServer } from '../support/scripted-server.ts';
import {
  engineStats,
  holdEngine,
  letEngineGo,
  metric,
  startFleet,
  statusOf,
  until,
  untilAtRest,
  untilWaiting,
} from '../support/simulated-fleet.ts';

const RETRY = 'retry: { delay: 100ms, factor: 2 }';

function outside(url: string, more = RETRY): Promise<TestGateway> {
  return startTestGateway({ yaml: `${more}\nmodels:\n  outside: { url: "${url}", repo: outside }` });
}

/** Times of the failed attempts to reach an engine, as logged. */
function failedAttempts(gateway: TestGateway): readonly number[] {
  return gateway.lines
    .map((line) => JSON.parse(line) as { readonly msg?: string; readonly time: string | number })
    .filter((line) => line.msg === 'an attempt failed')
    .map((line) => new Date(line.time).getTime());
}

describe('the seed scenarios', () => {
  it('a fresh start with three models at once: they come up independently, each request gets its answer [scenario A] [S15] [S8]', async () => {
    const models = ['one', 'two', 'three'];
    await using gateway = await startFleet(models.map((name) => ({ name })));
    await using clients = new Clients(gateway.url);
    const before = await statusOf(gateway);
    expect(before.replicas).toEqual({});

    const answers = await Promise.all(models.map((name) => clients.chat(name, { nonce: `to-${name}` })));
    for (const [index, name] of models.entries()) {
      expect(answers[index]).toMatchObject({ status: 200, headers: { 'x-vgw-model': name, 'x-vgw-attempts': '1' } });
      expect(answers[index]?.text).toContain(`nonce:to-${name}`);
      expect(Number(answers[index]?.headers['x-vgw-cold-start-ms'])).toBeGreaterThan(0);
    }
    const { replicas } = await statusOf(gateway);
    expect(new Set(Object.values(replicas).map(({ model, state }) => `${model} ${state}`))).toEqual(
      new Set(models.map((name) => `${name} ready`)),
    );
    expect(new Set(Object.values(replicas).map(({ pid }) => pid)).size).toBe(3);
    for (const name of models) expect(await metric(gateway, 'starts_total', { model: name, result: 'ready' })).toBe(1);
    await untilAtRest(gateway);
  });

  it('a connection fails, a later attempt succeeds: the client sees one answer [scenario B] [S15] [S4]', async () => {
    const port = await freePort();
    await using gateway = await outside(`http://127.0.0.1:${port}`, 'retry: { delay: 500ms, factor: 2 }');
    await using clients = new Clients(gateway.url);
    const asked = clients.chat('outside');
    await until(() => expect(failedAttempts(gateway)).toHaveLength(1));
    await using engine = await ScriptedServer.listen(answerChat, port);

    const answer = await asked;
    expect(answer).toMatchObject({ status: 200, text: CHAT_ANSWER, headers: { 'x-vgw-attempts': '2' } });
    expect(engine.seen).toHaveLength(1);
    expect(await metric(gateway, 'retries_total', { model: 'outside', reason: 'connect' })).toBe(1);
    expect(await metric(gateway, 'requests_total', { outcome: 'completed' })).toBe(1);
    await untilAtRest(gateway);
  });

  it('all attempts fail: 503 upstream_unreachable after three, with growing pauses [scenario C] [S15] [S4]', async () => {
    const port = await freePort();
    await using gateway = await outside(`http://127.0.0.1:${port}`);
    await using clients = new Clients(gateway.url);

    const answer = await clients.chat('outside');
    expect(answer).toMatchObject({ status: 503, headers: { 'x-vgw-attempts': '3' } });
    expect(errorOf(answer)).toMatchObject({ code: 'upstream_unreachable', type: 'service_unavailable_error' });
    expect(answer.text).not.toContain(String(port));
    const [first = 0, second = 0, third = 0, ...more] = failedAttempts(gateway);
    expect(more).toEqual([]);
    expect(second - first).toBeGreaterThanOrEqual(95);
    expect(third - second).toBeGreaterThanOrEqual(195);
    expect(await metric(gateway, 'retries_total', { model: 'outside', reason: 'connect' })).toBe(2);
    expect(await metric(gateway, 'requests_total', { outcome: 'upstream_failed', code: 'upstream_unreachable' })).toBe(
      1,
    );
    await untilAtRest(gateway);
  });

  it('a connection that is not accepted in time is tried again, too: at last with success, or with 503 [F2] [scenarios B, C] [S15] [S4] [item 57]', async () => {
    await using engine = await DeafServer.start();
    const limits = `${RETRY}\ntimeouts: { connect: 300ms, request: 30s }`;
    await using gateway = await outside(engine.url, limits);
    await using clients = new Clients(gateway.url);
    const startedAt = performance.now();
    expect(endOf(await clients.chat('outside'))).toBe('503 upstream_unreachable');
    // Three times the limit of connecting, and the pauses between.
    expect(performance.now() - startedAt).toBeGreaterThan(1_150);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(failedAttempts(gateway)).toHaveLength(3);

    const asked = clients.chat('outside');
    await until(() => expect(failedAttempts(gateway)).toHaveLength(4));
    engine.listenAgain();
    const answer = await asked;
    expect(endOf(answer)).toBe('200');
    expect(Number(answer.headers['x-vgw-attempts'])).toBeGreaterThanOrEqual(2);
    await untilAtRest(gateway);
  });

  it('an HTTP error of the engine is relayed byte for byte and never tried again [scenario D] [S15] [S4]', async () => {
    const body = '{"error": {"message":"out  of\\u0020luck", "type":"InternalServerError","param":null,"code":500}}\n';
    const refusing = (status: number) => (response: ServerResponse) =>
      void response
        .writeHead(status, { 'content-type': 'application/json', 'x-ratelimit-limit-requests': '7' })
        .end(body);
    await using engine = await ScriptedServer.listen(refusing(500));
    await using gateway = await outside(engine.url);
    await using clients = new Clients(gateway.url);

    for (const [index, status] of [500, 503, 429, 400, 422].entries()) {
      engine.answering = refusing(status);
      const answer = await clients.chat('outside');
      expect(answer).toMatchObject({ status, text: body });
      expect(answer.headers).toMatchObject({ 'x-vgw-attempts': '1', 'x-ratelimit-limit-requests': '7' });
      expect(engine.seen).toHaveLength(index + 1);
    }
    expect(await metric(gateway, 'retries_total')).toBe(0);
    await untilAtRest(gateway);
  });

  it('the queue is full: 429 at once, and the counter does not move [scenario E] [S15] [S6] [item 29]', async () => {
    await using gateway = await startFleet([{ name: 'busy', keys: ['max_concurrent: 1', 'max_queue_size: 2'] }]);
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('busy')).status).toBe(200);
    const leave = new AbortController();
    const held = [0, 1, 2].map(() => clients.chat('busy', { fake: { fault: 'hang' }, signal: leave.signal }));
    const settled = Promise.allSettled(held);
    await untilWaiting(gateway, 'busy', 2);

    for (const _ of [1, 2, 3]) {
      const answer = await clients.chat('busy');
      expect(answer.status).toBe(429);
      expect(answer.tookMs).toBeLessThan(1_000);
      expect(answer.headers).toMatchObject({
        'x-queue-depth': '2',
        'x-max-concurrent': '1',
        'x-max-queue-size': '2',
        'x-queue-max-size': '2',
        'x-vgw-model': 'busy',
      });
      const afterSeconds = Number(answer.headers['retry-after']);
      const afterMs = Number(answer.headers['retry-after-ms']);
      expect(afterSeconds).toBe(Math.ceil(afterMs / 1_000));
      expect(afterMs).toBeGreaterThanOrEqual(1_000);
      expect(afterMs).toBeLessThanOrEqual(60_000);
      expect(errorOf(answer)).toMatchObject({
        code: 'queue_full',
        type: 'rate_limit_error',
        param: null,
        queue_depth: 2,
        max_queue_size: 2,
        retry_after_seconds: afterSeconds,
      });
      expect((await statusOf(gateway)).models['busy']).toMatchObject({ queued: 2, in_flight: 1 });
    }
    expect(await metric(gateway, 'requests_total', { outcome: 'rejected', code: 'queue_full' })).toBe(3);
    leave.abort();
    await settled;
    await untilAtRest(gateway);
  });

  it('whatever breaks after the grant, at any point, leaks neither slot nor counter [scenario F] [S15] [S7]', async () => {
    const faults = [
      'cut_after:0',
      'rst_after:1',
      'error_first_frame',
      'error_frame_after:1',
      'missing_done',
      'abort_after:1',
      'crash',
    ];
    const keys = ['max_concurrent: 2', 'max_queue_size: 50'];
    await using gateway = await startFleet([{ name: 'fragile', keys }], 'limits: { max_models_concurrent: 1 }');
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('fragile')).status).toBe(200);

    for (const fault of faults) {
      // Some wait while others fail, so that every failure hands a slot on. One alone crashes the engine: it rests afterwards.
      const failing = fault === 'crash' ? 1 : 3;
      const asked = [0, 1, 2, 3, 4].map((index) =>
        clients.chat('fragile', { stream: index % 2 === 0, ...(index < failing ? { fake: { fault } } : {}) }),
      );
      const ends = await Promise.allSettled(asked);
      await untilAtRest(gateway);
      const healthy = ends.slice(failing).map((end) => (end.status === 'fulfilled' ? end.value.status : 'cut'));
      if (fault !== 'crash') expect(healthy, fault).toEqual([200, 200]);
      await until(async () => expect((await clients.chat('fragile')).status, `after ${fault}`).toBe(200), 30_000);
    }
    await untilAtRest(gateway);
  });

  it('three models with fifty requests each run all at once, within the pool and not beyond [scenario G] [S15] [S2] [S16] [I-21]', async () => {
    const models = ['one', 'two', 'three'];
    await using gateway = await startFleet(models.map((name) => ({ name })));
    await using clients = new Clients(gateway.url);
    await Promise.all(models.map((name) => clients.chat(name)));
    const { limits } = await statusOf(gateway);
    expect(limits).toMatchObject({ max_in_flight: 150, http_pool_size: 150, http_keepalive_size: 150 });

    for (const name of models) await holdEngine(gateway, name);
    const asked = Promise.all(models.map((name) => clients.chats(50, name)));
    await until(async () => expect(await metric(gateway, 'in_flight')).toBe(150));
    expect(await metric(gateway, 'queue_depth')).toBe(0);
    expect(await metric(gateway, 'upstream_connections', { state: 'busy' })).toBe(150);
    for (const name of models) await letEngineGo(gateway, name);
    expect(tally((await asked).flat().map(({ status }) => status))).toEqual({ 200: 150 });
    // All of the pool is kept alive, none of it closed and opened again.
    expect(await metric(gateway, 'upstream_connections', { state: 'idle' })).toBe(150);
    const again = await Promise.all(models.map((name) => clients.chats(50, name)));
    expect(tally(again.flat().map(({ status }) => status))).toEqual({ 200: 150 });
    for (const name of models) {
      expect(await engineStats(gateway, name)).toMatchObject({ max_running: 50, inference_connections_total: 50 });
    }
    await untilAtRest(gateway);
  });
});
