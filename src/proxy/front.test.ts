import { describe, expect, it } from 'vitest';
import type { Principal } from '../auth/auth.ts';
import { gatewayError } from '../errors.ts';
import { ANYBODY, createProxyBench, proxyModel, proxySettings } from '../../test/support/proxy-bench.ts';
import { rawRequest } from '../../test/support/raw-http.ts';
import { plain } from '../../test/support/rude-upstream.ts';

const CHAT = { model: 'tiny', messages: [] };

interface ErrorBody {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
  };
}

const MODELS = proxySettings([
  proxyModel('org/llama-8b', { aliases: ['gpt-4o', 'a:b'], description: 'a llama', metadata: { team: 'x' } }),
  proxyModel('tiny', { maxModelLen: null }),
  proxyModel('hidden', { unlisted: true }),
]);

describe('/v1/models', () => {
  it('lists models and aliases while every engine is down [item 52]', async () => {
    await using bench = await createProxyBench({ settings: MODELS });
    const answer = await fetch(`${bench.url}/v1/models`);
    expect(answer.status).toBe(200);
    const { object, data } = (await answer.json()) as { object: string; data: Record<string, unknown>[] };
    expect(object).toBe('list');
    expect(data.map(({ id }) => id)).toEqual(['org/llama-8b', 'gpt-4o', 'a:b', 'tiny']);
    expect(data[0]).toEqual({
      id: 'org/llama-8b',
      object: 'model',
      created: 1_769_000_000,
      owned_by: 'vllm-gateway',
      max_model_len: 512,
      state: 'cold',
      description: 'a llama',
      metadata: { team: 'x' },
    });
    expect(data[1]).toMatchObject({ id: 'gpt-4o', parent: 'org/llama-8b' });
    expect(data[3]).toMatchObject({ max_model_len: null });
  });

  it.each(['org/llama-8b', 'org%2Fllama-8b', 'gpt-4o', 'a:b', 'a%3Ab', 'hidden'])(
    'describes %s [item 52]',
    async (id) => {
      await using bench = await createProxyBench({ settings: MODELS });
      for (const prefix of ['/v1/models/', '/models/']) {
        const answer = await fetch(`${bench.url}${prefix}${id}`);
        expect(answer.status).toBe(200);
        expect(await answer.json()).toMatchObject({ id: decodeURIComponent(id) });
      }
    },
  );

  it('knows nothing that the key may not use [item 27]', async () => {
    const principal: Principal = { ...ANYBODY, keyId: 'team-a', mayUse: (model) => model === 'tiny' };
    await using bench = await createProxyBench({ settings: MODELS, access: { check: () => ({ principal }) } });
    const { data } = (await (await fetch(`${bench.url}/v1/models`)).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual(['tiny']);
    expect((await fetch(`${bench.url}/v1/models/gpt-4o`)).status).toBe(404);
    const answer = await bench.post('/v1/chat/completions', { ...CHAT, model: 'gpt-4o' });
    expect(answer.status).toBe(404);
    const { error } = (await answer.json()) as ErrorBody;
    expect(error).toMatchObject({ code: 'model_not_found', type: 'not_found_error', param: 'model' });
    expect(error.message).toContain('known models: tiny.');
    expect(bench.telemetry.last).toMatchObject({ keyId: 'team-a', model: 'unknown' });
  });

  it('answers HEAD without a body and OPTIONS without a key [I-69]', async () => {
    await using bench = await createProxyBench({
      access: { check: () => ({ error: gatewayError('invalid_api_key', 'no') }) },
    });
    expect((await fetch(`${bench.url}/v1/models`, { method: 'OPTIONS' })).status).toBe(204);
    expect((await fetch(`${bench.url}/v1/models`, { method: 'HEAD' })).status).toBe(401);
    expect((await fetch(`${bench.url}/`, { method: 'HEAD' })).status).toBe(200);
    expect((await fetch(`${bench.url}/`)).status).toBe(200);
  });
});

describe('a refusal', () => {
  it('of a full queue says how full and when to come back [items 29, 39] [S6]', async () => {
    await using bench = await createProxyBench();
    bench.gate.facts = { depth: 5, maxQueueSize: 5, maxConcurrent: 50 };
    bench.gate.decide = () => gatewayError('queue_full', 'Full.', { queue: { depth: 5, max: 5 }, retryAfterMs: 2_300 });
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(429);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'retry-after': '3',
      'retry-after-ms': '2300',
      'x-queue-depth': '5',
      'x-max-queue-size': '5',
      'x-queue-max-size': '5',
    });
    expect(answer.headers.has('x-should-retry')).toBe(false);
    expect(await answer.json()).toEqual({
      error: {
        message: 'Full.',
        type: 'rate_limit_error',
        param: null,
        code: 'queue_full',
        queue_depth: 5,
        max_queue_size: 5,
        retry_after_seconds: 3,
      },
    });
  });

  it.each([
    [undefined, '2', '2000'],
    [1, '1', '1000'],
    [600_000, '60', '60000'],
  ])('with a time of %s ms is clamped to what clients obey', async (retryAfterMs, seconds, ms) => {
    await using bench = await createProxyBench();
    bench.gate.decide = () => gatewayError('queue_timeout', 'x', retryAfterMs === undefined ? {} : { retryAfterMs });
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect([answer.headers.get('retry-after'), answer.headers.get('retry-after-ms')]).toEqual([seconds, ms]);
  });

  it('has the shape and status of its route [S13] [item 51]', async () => {
    await using bench = await createProxyBench();
    bench.gate.decide = () => gatewayError('no_capacity', 'No room.', { shouldRetry: false });
    const answer = await bench.post('/v1/messages', CHAT);
    expect(answer.status).toBe(529);
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(await answer.json()).toEqual({
      type: 'error',
      error: { type: 'overloaded_error', message: 'No room.', code: 'no_capacity' },
      request_id: answer.headers.get('request-id'),
    });
    expect((await bench.post('/v1/messages/nothing', CHAT)).headers.has('request-id')).toBe(true);
  });

  it('tells a 401 how to authenticate, before the body is read', async () => {
    await using bench = await createProxyBench({
      access: { check: () => ({ error: gatewayError('invalid_api_key', 'No API key.') }) },
    });
    const answer = await bench.post('/v1/chat/completions', 'not json');
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    expect(bench.telemetry.last).toMatchObject({ code: 'invalid_api_key', outcome: 'rejected', keyId: 'anonymous' });
  });

  it('comes at once during shutdown', async () => {
    await using bench = await createProxyBench();
    bench.gate.accepting = false;
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(503);
    expect(((await answer.json()) as ErrorBody).error.code).toBe('shutting_down');
    expect(bench.gate.asks).toEqual([]);
  });

  it('of bodies beyond the common budget leaves the budget clean', async () => {
    const settings = proxySettings([proxyModel('tiny')], { maxBufferedBytes: 100 });
    await using bench = await createProxyBench({ settings });
    bench.gate.decide = () => 'wait';
    const first = bench.post('/v1/chat/completions', { model: 'tiny', x: 'y'.repeat(50) });
    await bench.gate.until(() => bench.gate.waiting.length === 1);
    const answer = await bench.post('/v1/chat/completions', { model: 'tiny', x: 'y'.repeat(50) });
    expect(answer.status).toBe(503);
    expect(((await answer.json()) as ErrorBody).error.code).toBe('server_busy');
    bench.gate.refuseNext(gatewayError('queue_timeout', 'x'));
    await (await first).text();
    expect(bench.proxy.stats().bufferedBytes).toBe(0);
  });

  it('of the realtime API says that this version lacks it', async () => {
    await using bench = await createProxyBench();
    const answer = await rawRequest(
      bench.port,
      'GET /v1/realtime HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
    );
    expect(answer.status).toBe(404);
    expect(answer.body.toString()).toContain('realtime');
  });
});

describe('CORS', () => {
  const settings = proxySettings([proxyModel('tiny')], { corsOrigins: ['https://app.example'] });

  it('is answered for configured origins [item 53]', async () => {
    await using bench = await createProxyBench({ settings });
    const preflight = await fetch(`${bench.url}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example', 'access-control-request-headers': 'authorization,x-stainless-lang' },
    });
    expect(preflight.status).toBe(204);
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      'access-control-allow-origin': 'https://app.example',
      'access-control-allow-headers': 'authorization,x-stainless-lang',
      vary: 'Access-Control-Request-Headers, Origin',
    });
    const models = await fetch(`${bench.url}/v1/models`, { headers: { origin: 'https://app.example' } });
    expect(models.headers.get('access-control-allow-origin')).toBe('https://app.example');
    expect(models.headers.get('access-control-expose-headers')).toContain('x-request-id');
    const foreign = await fetch(`${bench.url}/v1/models`, { headers: { origin: 'https://evil.example' } });
    expect(foreign.headers.has('access-control-allow-origin')).toBe(false);
  });

  it('is off unless configured', async () => {
    await using bench = await createProxyBench();
    const answer = await fetch(`${bench.url}/v1/models`, { headers: { origin: 'https://app.example' } });
    expect(answer.headers.has('access-control-allow-origin')).toBe(false);
    expect(answer.headers.has('vary')).toBe(false);
  });
});

describe('the control plane', () => {
  it('gets the paths that it owns, and nothing else', async () => {
    const handled: string[] = [];
    await using bench = await createProxyBench({
      over: {
        control: {
          owns: (path) => path === '/healthz',
          handle: (request, response) => {
            handled.push(request.url ?? '');
            response.end('ok');
          },
        },
      },
    });
    const twice = await rawRequest(bench.port, 'GET /healthz?a=1 HTTP/1.1\r\nhost: x\r\n\r\n');
    expect(twice.body.toString()).toBe('ok');
    expect((await fetch(`${bench.url}/metrics`)).status).toBe(404);
    expect(handled).toEqual(['/healthz?a=1']);
  });
});

describe('a drain', () => {
  it('lets running requests end, keeps no connection, and then is done [item 74]', async () => {
    await using bench = await createProxyBench();
    const pending = bench.post('/v1/chat/completions', CHAT);
    await bench.engine.until(() => bench.engine.requests.length === 1);
    const drained = bench.proxy.drain(30_000);
    bench.engine.last.socket.write(plain(200, '{"ok":true}'));
    const answer = await pending;
    expect(answer.headers.get('connection')).toBe('close');
    expect(await answer.json()).toEqual({ ok: true });
    await drained;
    await expect(fetch(bench.url)).rejects.toThrow();
  });

  it('cuts what is left at its limit', async () => {
    await using bench = await createProxyBench();
    const pending = bench.post('/v1/chat/completions', CHAT);
    await bench.engine.until(() => bench.engine.requests.length === 1);
    await bench.proxy.drain(1);
    await expect(pending).rejects.toThrow();
    await bench.gate.until(() => bench.gate.openLeases === 0);
  });
});
