/** The official OpenAI client when things go wrong: each error class, retries, aborts, time limits. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configureEngine, engineStats, untilBusy } from '../support/engine-view.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { clientOf, openai, refusalOf, type Client } from '../support/openai-client.ts';

const messages = [{ role: 'user' as const, content: 'Hello' }];
const patient = 60_000;

let gateway: TestGateway;
let client: Client;

beforeAll(async () => {
  const env = QUICK;
  const one = { env, max_concurrent: 1, max_queue_size: 1 };
  gateway = await startTestGateway({
    yaml: gatewayYaml(
      {
        chat: { repo: 'org/chat', max_model_len: 64, env },
        narrow: { repo: 'org/narrow', aliases: ['thin'], ...one },
        aborted: { repo: 'org/aborted', ...one, max_queue_size: 5 },
        hasty: { repo: 'org/hasty', env, timeouts: { first_byte: '300ms' } },
        broken: { repo: 'org/broken', env: { ...env, FAKE_VLLM_FAULT: 'oom_at_start' } },
        guarded: { repo: 'org/guarded', env },
      },
      {
        auth: {
          keys: [
            { id: 'all', key: 'sk-all', roles: ['inference'] },
            { id: 'some', key: 'sk-some', roles: ['inference'], models: ['chat'] },
            { id: 'meter', key: 'sk-meter', roles: ['metrics'] },
            { id: 'owner', key: 'sk-owner', roles: ['admin'] },
          ],
        },
      },
    ),
    server: '  max_body_size: 2MiB\n',
    adminKey: 'sk-owner',
  });
  client = clientOf(gateway, { apiKey: 'sk-all' });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

/** A streamed chat that goes on until it is aborted; its first event has come. */
async function occupy(model: string): Promise<{ readonly end: () => void }> {
  const stream = await client.chat.completions.create({
    model,
    messages,
    stream: true,
    fake: { token_ms: 20, tokens: 400 },
    max_tokens: 400,
    ignore_eos: true,
  } as never);
  const events = (stream as unknown as AsyncIterable<unknown>)[Symbol.asyncIterator]();
  await events.next();
  return { end: () => void (stream as unknown as { controller: AbortController }).controller.abort() };
}

describe('each class of errors is raised [item 51]', () => {
  it('BadRequestError, for what the gateway and for what the engine refuses', async () => {
    const ours = await refusalOf(client.chat.completions.create({ messages } as never));
    expect(ours).toBeInstanceOf(openai.BadRequestError);
    expect(ours).toMatchObject({ status: 400, code: 'model_missing', type: 'invalid_request_error', param: 'model' });
    const long = [{ role: 'user' as const, content: 'word '.repeat(200) }];
    const theirs = await refusalOf(client.chat.completions.create({ model: 'chat', messages: long }));
    expect(theirs).toBeInstanceOf(openai.BadRequestError);
    expect(theirs).toMatchObject({ status: 400 });
    expect((theirs as Error).message).toContain('maximum context length is 64');
  });

  it('AuthenticationError, for a key that is not valid', async () => {
    const refusal = await refusalOf(clientOf(gateway, { apiKey: 'sk-wrong' }).models.list());
    expect(refusal).toBeInstanceOf(openai.AuthenticationError);
    expect(refusal).toMatchObject({ status: 401, code: 'invalid_api_key', type: 'authentication_error' });
  });

  it('PermissionDeniedError, for a key without the role', async () => {
    const refusal = await refusalOf(
      clientOf(gateway, { apiKey: 'sk-meter' }).chat.completions.create({ model: 'chat', messages }),
    );
    expect(refusal).toBeInstanceOf(openai.PermissionDeniedError);
    expect(refusal).toMatchObject({ status: 403, code: 'permission_denied', type: 'permission_error' });
  });

  it('NotFoundError, for an unknown model, one that the key may not use, and an unknown route', async () => {
    const unknown = await refusalOf(client.chat.completions.create({ model: 'gpt-9', messages }));
    expect(unknown).toBeInstanceOf(openai.NotFoundError);
    expect(unknown).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' });
    expect((unknown as Error).message).toContain('narrow');
    const hidden = await refusalOf(
      clientOf(gateway, { apiKey: 'sk-some' }).chat.completions.create({ model: 'narrow', messages }),
    );
    expect(hidden).toMatchObject({ status: 404, code: 'model_not_found' });
    expect((hidden as Error).message).not.toMatch(/guarded|known models: .*narrow/);
    const route = await refusalOf(client.post('/fine_tuning/jobs', { body: { model: 'chat' } }));
    expect(route).toBeInstanceOf(openai.NotFoundError);
    expect(route).toMatchObject({ code: 'route_not_found' });
  });

  it('APIError with 413, for a body that is too large, however much of it was sent', async () => {
    const long = [{ role: 'user' as const, content: 'x'.repeat(12 * 2 ** 20) }];
    const file = await openai.toFile(Buffer.alloc(12 * 2 ** 20), 'long.wav');
    for (const call of [
      client.chat.completions.create({ model: 'chat', messages: long }),
      client.audio.transcriptions.create({ model: 'chat', file }),
    ]) {
      const refusal = await refusalOf(call);
      expect(refusal).toBeInstanceOf(openai.APIError);
      expect(refusal).toMatchObject({ status: 413, code: 'request_too_large', type: 'invalid_request_error' });
    }
  });

  it('RateLimitError, when the queue of the model is full', async () => {
    const running = await occupy('narrow');
    const waiting = refusalOf(client.chat.completions.create({ model: 'narrow', messages }));
    await untilBusy(gateway, 'narrow', 1, 1);
    const refusal = await refusalOf(client.chat.completions.create({ model: 'thin', messages }));
    expect(refusal).toBeInstanceOf(openai.RateLimitError);
    expect(refusal).toMatchObject({ status: 429, code: 'queue_full', type: 'rate_limit_error' });
    const { headers, error } = refusal as { headers: Headers; error: Record<string, unknown> };
    expect(error).toMatchObject({ queue_depth: 1, max_queue_size: 1 });
    expect(Number(headers.get('retry-after'))).toBe(error['retry_after_seconds']);
    expect(headers.get('x-queue-depth')).toBe('1');
    expect(headers.get('x-vgw-model')).toBe('narrow');
    running.end();
    expect(await waiting).toBeUndefined();
    await untilBusy(gateway, 'narrow', 0, 0);
  });

  it('InternalServerError with 503 and the cause, when the engine cannot start', async () => {
    const refusal = await refusalOf(client.chat.completions.create({ model: 'broken', messages }));
    expect(refusal).toBeInstanceOf(openai.InternalServerError);
    expect(refusal).toMatchObject({ status: 503, code: 'model_start_failed', error: { cause: 'out_of_memory' } });
    const { headers } = refusal as { headers: Headers };
    expect(Number(headers.get('retry-after-ms'))).toBeGreaterThanOrEqual(1000);
    expect(await refusalOf(client.chat.completions.create({ model: 'broken', messages }))).toMatchObject({
      status: 503,
      code: 'model_backing_off',
    });
  });

  it('InternalServerError with 502, when the engine breaks off before it answered', async () => {
    const body = { model: 'chat', messages, stream: true, fake: { fault: 'rst_after:0' } } as never;
    const refusal = await refusalOf(client.chat.completions.create(body));
    expect(refusal).toBeInstanceOf(openai.InternalServerError);
    expect(refusal).toMatchObject({ status: 502, code: 'upstream_lost', type: 'server_error' });
  });

  it('a failed body, never a shortened one, when the engine breaks off in the middle of a plain answer', async () => {
    const body = { model: 'chat', messages, fake: { fault: 'cut_after:1' } } as never;
    const refusal = await refusalOf(client.chat.completions.create(body));
    expect((refusal as Error).message).toMatch(/terminated|Connection error/);
  });

  it('InternalServerError with 504 and no retry of the client, when no first byte comes in time [item 49]', async () => {
    const body = { model: 'hasty', messages, fake: { fault: 'hang' } } as never;
    let tries = 0;
    const counting: typeof fetch = async (input, init) => {
      tries += 1;
      return fetch(input, init);
    };
    const stubborn = clientOf(gateway, { apiKey: 'sk-all', maxRetries: 3, fetch: counting });
    const refusal = await refusalOf(stubborn.chat.completions.create(body));
    expect(refusal).toBeInstanceOf(openai.InternalServerError);
    expect(refusal).toMatchObject({ status: 504, code: 'upstream_timeout', type: 'server_error' });
    // The engine may have done the work: doing it again helps nobody.
    expect((refusal as { headers: Headers }).headers.get('x-should-retry')).toBe('false');
    expect(tries).toBe(1);
    expect((refusal as Error).message).not.toMatch(/127\.0\.0\.1|:\d{5}/);
    await untilBusy(gateway, 'hasty', 0, 0);
    expect((await engineStats(gateway, 'hasty'))['running']).toBe(0);
  });

  it('an error in the middle of a stream, whether the engine dies or says so', async () => {
    const ask = (fault: string): unknown =>
      client.chat.completions.create({ model: 'chat', messages, stream: true, fake: { fault } } as never);
    for (const [fault, code] of [
      ['cut_after:3', 'upstream_lost'],
      ['error_frame_after:3', 500],
    ] as const) {
      const stream = (await ask(fault)) as AsyncIterable<unknown>;
      const seen: unknown[] = [];
      const refusal = await refusalOf(
        (async () => {
          for await (const chunk of stream) seen.push(chunk);
        })(),
      );
      expect(refusal).toBeInstanceOf(openai.APIError);
      expect(refusal).toMatchObject({ error: { code } });
      expect(seen.length).toBeGreaterThan(0);
    }
  });

  it('an error as first frame of a stream, as the ordinary error that it is [item 44]', async () => {
    const body = { model: 'chat', messages, stream: true, fake: { fault: 'error_first_frame' } } as never;
    const refusal = await refusalOf(client.chat.completions.create(body));
    expect(refusal).toBeInstanceOf(openai.InternalServerError);
    expect(refusal).toMatchObject({ status: 503 });
  });
});

describe('retries of the client', () => {
  it('obey Retry-After, and are then served [S6]', async () => {
    const tries: { at: number; status: number; retryAfterMs: number }[] = [];
    const recording: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      const retryAfterMs = Number(response.headers.get('retry-after-ms'));
      tries.push({ at: performance.now(), status: response.status, retryAfterMs });
      if (response.status === 429) running.end();
      return response;
    };
    const running = await occupy('narrow');
    const waiting = client.chat.completions.create({ model: 'narrow', messages });
    await untilBusy(gateway, 'narrow', 1, 1);
    const stubborn = clientOf(gateway, { apiKey: 'sk-all', maxRetries: 2, fetch: recording });
    const answer = await stubborn.chat.completions.create({ model: 'narrow', messages });
    expect(answer.choices).toHaveLength(1);
    expect(tries.map(({ status }) => status)).toEqual([429, 200]);
    const [first, second] = tries;
    expect(first?.retryAfterMs).toBeGreaterThanOrEqual(1000);
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual((first?.retryAfterMs ?? Infinity) - 5);
    await waiting;
  });
});

describe('a client that gives up', () => {
  it('in the middle of a stream: the slot is free and the engine stops', async () => {
    const running = await occupy('aborted');
    await untilBusy(gateway, 'aborted', 1, 0);
    expect((await engineStats(gateway, 'aborted'))['running']).toBe(1);
    running.end();
    await untilBusy(gateway, 'aborted', 0, 0);
    await expect
      .poll(async () => engineStats(gateway, 'aborted'), { interval: 5 })
      .toMatchObject({ running: 0, aborted: 1 });
    await client.chat.completions.create({ model: 'aborted', messages });
  });

  it('while it waits: it leaves the queue, and the engine never hears of it', async () => {
    const running = await occupy('aborted');
    const before = await engineStats(gateway, 'aborted');
    const leaving = new AbortController();
    const call = refusalOf(client.chat.completions.create({ model: 'aborted', messages }, { signal: leaving.signal }));
    await untilBusy(gateway, 'aborted', 1, 1);
    leaving.abort();
    expect(await call).toBeInstanceOf(openai.APIUserAbortError);
    await untilBusy(gateway, 'aborted', 1, 0);
    expect((await engineStats(gateway, 'aborted'))['inference_requests']).toBe(before['inference_requests']);
    running.end();
    await untilBusy(gateway, 'aborted', 0, 0);
  });

  it('by its own time limit: the engine stops working for it', async () => {
    await client.chat.completions.create({ model: 'aborted', messages });
    const { aborted } = await engineStats(gateway, 'aborted');
    const body = { model: 'aborted', messages, fake: { fault: 'hang' } } as never;
    const refusal = await refusalOf(client.chat.completions.create(body, { timeout: 400 }));
    expect(refusal).toBeInstanceOf(openai.APIConnectionTimeoutError);
    await expect
      .poll(async () => engineStats(gateway, 'aborted'), { interval: 5 })
      .toMatchObject({ running: 0, aborted: (aborted ?? 0) + 1 });
  });

  it('hears why before its time limit is over, when it still waits then', async () => {
    const running = await occupy('aborted');
    const refusal = await refusalOf(client.chat.completions.create({ model: 'aborted', messages }, { timeout: 1000 }));
    expect(refusal).toMatchObject({ status: 503, code: 'queue_timeout' });
    running.end();
    await untilBusy(gateway, 'aborted', 0, 0);
  });
});

it('an engine that comes to itself again serves on', async () => {
  await client.chat.completions.create({ model: 'guarded', messages });
  await configureEngine(gateway, 'guarded', { fault: 'hang_after:0' });
  const refusal = await refusalOf(client.chat.completions.create({ model: 'guarded', messages }, { timeout: 300 }));
  expect(refusal).toBeInstanceOf(openai.APIConnectionTimeoutError);
  await configureEngine(gateway, 'guarded', { fault: '' });
  const answer = await client.chat.completions.create({ model: 'guarded', messages }, { timeout: patient });
  expect(answer.choices).toHaveLength(1);
});
