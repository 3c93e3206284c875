/** The official Anthropic client on `/v1/messages`, against a whole gateway with simulated engines. */
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineStats, untilBusy } from '../support/engine-view.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';

const ask = { max_tokens: 64, messages: [{ role: 'user' as const, content: 'Hello nonce:m1' }] };

let gateway: TestGateway;
let client: Anthropic;

beforeAll(async () => {
  const env = QUICK;
  gateway = await startTestGateway({
    yaml: gatewayYaml(
      {
        chat: {
          repo: 'org/chat',
          aliases: ['claude-local'],
          extra_args: ['--enable-auto-tool-choice', '--tool-call-parser', 'hermes'],
          max_model_len: 2048,
          env,
        },
        narrow: { repo: 'org/narrow', max_concurrent: 1, max_queue_size: 1, env },
        slow: {
          repo: 'org/slow',
          keepalive: { after: '200ms', every: '200ms' },
          env: { ...env, FAKE_VLLM_START_MS: '1500' },
        },
        broken: {
          repo: 'org/broken',
          keepalive: { after: '100ms', every: '100ms' },
          env: { ...env, FAKE_VLLM_START_MS: '1000', FAKE_VLLM_FAULT: 'bad_model_files' },
        },
      },
      { limits: { queue_timeout: '700ms' } },
    ),
  });
  client = clientOf();
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

function clientOf(options: ConstructorParameters<typeof Anthropic>[0] = {}): Anthropic {
  return new Anthropic({ baseURL: gateway.url, apiKey: 'sk-none', maxRetries: 0, ...options });
}

async function collect<Item>(stream: AsyncIterable<Item>): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

async function refusalOf(call: PromiseLike<unknown>): Promise<unknown> {
  return call.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('messages', () => {
  it('are answered, by an alias too', async () => {
    const answer = await client.messages.create({ model: 'chat', ...ask });
    expect(answer).toMatchObject({ type: 'message', role: 'assistant', model: 'chat', stop_reason: 'end_turn' });
    expect(answer.content[0]).toMatchObject({ type: 'text', text: expect.stringContaining('nonce:m1') as string });
    expect(answer._request_id).toMatch(/^[\w-]+$/);
    const byAlias = await client.messages.create({ model: 'claude-local', ...ask });
    expect(byAlias.model).toBe('claude-local');
  });

  it('are streamed, by an alias too', async () => {
    for (const model of ['chat', 'claude-local']) {
      const events = await collect(await client.messages.create({ model, ...ask, stream: true }));
      expect(events[0]).toMatchObject({ type: 'message_start', message: { model } });
      expect(events.at(-1)).toEqual({ type: 'message_stop' });
    }
    const gathered = await client.messages.stream({ model: 'chat', ...ask }).finalMessage();
    expect(gathered.content[0]).toMatchObject({ text: expect.stringContaining('nonce:m1') as string });
  });

  it('call tools', async () => {
    const answer = await client.messages.create({
      model: 'chat',
      ...ask,
      tools: [{ name: 'get_weather', input_schema: { type: 'object', properties: { city: { enum: ['Paris'] } } } }],
      tool_choice: { type: 'tool', name: 'get_weather' },
    });
    expect(answer.stop_reason).toBe('tool_use');
    expect(answer.content[0]).toMatchObject({ type: 'tool_use', name: 'get_weather', input: { city: 'Paris' } });
  });

  it('have their tokens counted', async () => {
    const { input_tokens: tokens } = await client.messages.countTokens({ model: 'chat', messages: ask.messages });
    expect(tokens).toBeGreaterThan(0);
  });

  it('leave the engine when the client does', async () => {
    const stream = await client.messages.create({
      model: 'narrow',
      ...ask,
      stream: true,
      fake: { tokens: 400, token_ms: 20 },
    } as never);
    const events = stream as unknown as AsyncIterable<unknown> & { controller: AbortController };
    await events[Symbol.asyncIterator]().next();
    expect((await engineStats(gateway, 'narrow'))['running']).toBe(1);
    events.controller.abort();
    await untilBusy(gateway, 'narrow', 0, 0);
    await expect.poll(async () => (await engineStats(gateway, 'narrow'))['running'], { interval: 5 }).toBe(0);
  });
});

describe('errors come in the shape of the Messages API', () => {
  it('for what the gateway refuses', async () => {
    const unknown = await refusalOf(client.messages.create({ model: 'gpt-9', ...ask }));
    expect(unknown).toBeInstanceOf(Anthropic.NotFoundError);
    const { error, headers, requestID } = unknown as {
      error: { request_id: string };
      headers: Headers;
      requestID: string;
    };
    expect(error).toMatchObject({ type: 'error', error: { type: 'not_found_error', code: 'model_not_found' } });
    expect([requestID, headers.get('x-request-id')]).toEqual([error.request_id, error.request_id]);
    const missing = await refusalOf(client.messages.create(ask as never));
    expect(missing).toBeInstanceOf(Anthropic.BadRequestError);
    expect(missing).toMatchObject({ error: { type: 'error', error: { type: 'invalid_request_error' } } });
  });

  it('for what the engine refuses in another shape', async () => {
    const refusal = await refusalOf(client.messages.create({ model: 'chat', messages: ask.messages } as never));
    expect(refusal).toBeInstanceOf(Anthropic.BadRequestError);
    expect(refusal).toMatchObject({ error: { type: 'error', error: { type: 'invalid_request_error' } } });
    expect((refusal as Error).message).toContain('max_tokens');
  });

  it('with 429 when the queue is full and 529 when it was waited too long', async () => {
    const stream = (await client.messages.create({
      model: 'narrow',
      ...ask,
      stream: true,
      fake: { tokens: 400, token_ms: 50 },
    } as never)) as unknown as AsyncIterable<unknown> & { controller: AbortController };
    await stream[Symbol.asyncIterator]().next();
    const waiting = refusalOf(client.messages.create({ model: 'narrow', ...ask }));
    await untilBusy(gateway, 'narrow', 1, 1);
    const full = await refusalOf(client.messages.create({ model: 'narrow', ...ask }));
    expect(full).toBeInstanceOf(Anthropic.RateLimitError);
    expect(full).toMatchObject({ status: 429, error: { error: { type: 'rate_limit_error', code: 'queue_full' } } });
    const late = await waiting;
    expect(late).toBeInstanceOf(Anthropic.InternalServerError);
    expect(late).toMatchObject({ status: 529, error: { error: { type: 'overloaded_error', code: 'queue_timeout' } } });
    expect(Number((late as { headers: Headers }).headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    stream.controller.abort();
    await untilBusy(gateway, 'narrow', 0, 0);
  });

  it('in the middle of a stream, as the error event', async () => {
    const stream = (await client.messages.create({
      model: 'chat',
      ...ask,
      stream: true,
      fake: { fault: 'cut_after:4' },
    } as never)) as unknown as AsyncIterable<{ type: string }>;
    const seen: string[] = [];
    const refusal = await refusalOf(
      (async () => {
        for await (const event of stream) seen.push(event.type);
      })(),
    );
    expect(seen[0]).toBe('message_start');
    expect(seen).not.toContain('message_stop');
    expect(refusal).toBeInstanceOf(Anthropic.APIError);
    expect(refusal).toMatchObject({ error: { error: { type: 'api_error', code: 'upstream_lost' } } });
  });
});

it('a key is taken in either form of the client, and a wrong one refused in its shape', async () => {
  await using guarded = await startTestGateway({
    yaml: gatewayYaml({ chat: { repo: 'org/chat', env: QUICK } }),
    env: { GATEWAY_API_KEYS: 'sk-right' },
  });
  const baseURL = guarded.url;
  for (const credential of [{ apiKey: 'sk-right' }, { apiKey: null, authToken: 'sk-right' }]) {
    const answer = await clientOf({ baseURL, ...credential }).messages.create({ model: 'chat', ...ask });
    expect(answer.model).toBe('chat');
  }
  const refusal = await refusalOf(clientOf({ baseURL, apiKey: 'sk-wrong' }).messages.create({ model: 'chat', ...ask }));
  expect(refusal).toBeInstanceOf(Anthropic.AuthenticationError);
  expect(refusal).toMatchObject({
    error: { type: 'error', error: { type: 'authentication_error', code: 'invalid_api_key' } },
  });
});

describe('while a cold model starts', () => {
  it('the stream is kept alive with pings, which the client skips', async () => {
    const response = await client.messages.create({ model: 'slow', ...ask, stream: true }).asResponse();
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    expect(response.headers.get('x-vgw-model')).toBe('slow');
    const text = await response.text();
    const names = [...text.matchAll(/^event: (\w+)$/gm)].map(([, name]) => name);
    const began = names.indexOf('message_start');
    expect(began).toBeGreaterThanOrEqual(2);
    expect(new Set(names.slice(0, began))).toEqual(new Set(['ping']));
    expect(names.at(-1)).toBe('message_stop');
    expect(text).toContain('event: ping\ndata: {"type":"ping"}\n\n');

    expect(await gateway.post('/gateway/models/slow/unload?wait=true', '')).toMatchObject({ status: 200 });
    const gathered = await client.messages.stream({ model: 'slow', ...ask }).finalMessage();
    expect(gathered.content[0]).toMatchObject({ text: expect.stringContaining('nonce:m1') as string });
  });

  it('and cannot: the stream ends with the error event that says why', async () => {
    const stream = await client.messages.create({ model: 'broken', ...ask, stream: true });
    const refusal = await refusalOf(collect(stream));
    expect(refusal).toBeInstanceOf(Anthropic.APIError);
    expect(refusal).toMatchObject({
      error: { error: { type: 'api_error', code: 'model_start_failed', cause: 'model_files' } },
    });
  });
});
