/** The official OpenAI client against a whole gateway with simulated engines: what an application would do. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { clientOf, openai, refusalOf, type Client } from '../support/openai-client.ts';

const CHAT = 'org/chat-8b';
const hello = [{ role: 'user' as const, content: 'Hello nonce:h1' }];

let gateway: TestGateway;
let client: Client;

beforeAll(async () => {
  const env = QUICK;
  const tools = ['--enable-auto-tool-choice', '--tool-call-parser', 'hermes'];
  gateway = await startTestGateway({
    yaml: gatewayYaml({
      [CHAT]: { repo: 'org/chat-8b-instruct', aliases: ['gpt-4o-mini'], extra_args: tools, max_model_len: 2048, env },
      short: { repo: 'org/short', request_defaults: { max_tokens: 3, ignore_eos: true }, env },
      embed: { repo: 'org/embed', extra_args: ['--runner', 'pooling'], aliases: ['text-embedding-3-small'], env },
      whisper: { repo: 'org/whisper', env: { ...env, FAKE_VLLM_TASK: 'transcription' } },
      slow: {
        repo: 'org/slow',
        keepalive: { after: '200ms', every: '200ms' },
        env: { ...env, FAKE_VLLM_START_MS: '1500' },
      },
      broken: {
        repo: 'org/broken',
        keepalive: { after: '100ms', every: '100ms' },
        env: { ...env, FAKE_VLLM_START_MS: '1000', FAKE_VLLM_FAULT: 'oom_at_start' },
      },
      voice: { repo: 'org/voice', env: { ...env, FAKE_VLLM_TASK: 'speech' } },
    }),
  });
  client = clientOf(gateway);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

async function collect<Item>(stream: AsyncIterable<Item>): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

describe('models', () => {
  it('are listed with their aliases while every engine is down', async () => {
    const fresh = await startTestGateway({ yaml: gatewayYaml({ a: { repo: 'org/a', aliases: ['b'] } }) });
    await using _ = fresh;
    const models = await collect(clientOf(fresh).models.list());
    expect(models.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(models[1]).toMatchObject({ object: 'model', parent: 'a', state: 'cold', owned_by: 'simulated' });
  });

  it('can be retrieved by ids that hold slashes, and by aliases', async () => {
    expect(await client.models.retrieve(CHAT)).toMatchObject({ id: CHAT, object: 'model', max_model_len: 2048 });
    expect(await client.models.retrieve('gpt-4o-mini')).toMatchObject({ id: 'gpt-4o-mini', parent: CHAT });
  });
});

describe('chat', () => {
  it('starts the engine that the request needs and answers', async () => {
    const answer = await client.chat.completions.create({ model: CHAT, messages: hello });
    expect(answer.choices[0]?.message.content).toContain('nonce:h1');
    expect(answer).toMatchObject({ object: 'chat.completion', model: CHAT });
    expect(answer.usage?.completion_tokens).toBeGreaterThan(0);
    expect(answer._request_id).toMatch(/^[\w-]+$/);
  });

  it('streams the same text that a plain answer has', async () => {
    const plain = await client.chat.completions.create({ model: CHAT, messages: hello });
    const chunks = await collect(await client.chat.completions.create({ model: CHAT, messages: hello, stream: true }));
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(
      plain.choices[0]?.message.content,
    );
    expect(new Set(chunks.map(({ model }) => model))).toEqual(new Set([CHAT]));
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe('stop');
  });

  it('streams the usage when the client asks for it', async () => {
    const stream = await client.chat.completions.create({
      model: CHAT,
      messages: hello,
      stream: true,
      stream_options: { include_usage: true },
    });
    const last = (await collect(stream)).at(-1);
    expect(last?.choices).toEqual([]);
    expect(last?.usage?.total_tokens).toBe((last?.usage?.prompt_tokens ?? 0) + (last?.usage?.completion_tokens ?? 0));
  });

  it('works with the helper that gathers a stream', async () => {
    const stream = client.chat.completions.stream({ model: CHAT, messages: hello });
    const gathered = await stream.finalChatCompletion();
    expect(gathered.model).toBe(CHAT);
    expect(gathered.choices[0]?.message.content).toContain('nonce:h1');
  });

  it('applies the request defaults of the model unless the client says otherwise', async () => {
    const byDefault = await client.chat.completions.create({ model: 'short', messages: hello });
    expect(byDefault.usage?.completion_tokens).toBe(3);
    const asked = await client.chat.completions.create({ model: 'short', messages: hello, max_tokens: 5 });
    expect(asked.usage?.completion_tokens).toBe(5);
  });
});

describe('a stream that waits for its model', () => {
  it('is kept alive with comments, which the client skips', async () => {
    const ask = { model: 'slow', messages: hello, stream: true as const };
    const response = await client.chat.completions.create(ask).asResponse();
    expect(response.headers.get('x-vgw-model')).toBe('slow');
    const text = await response.text();
    expect(text.slice(0, text.indexOf('data: ')).match(/^: /gm)?.length).toBeGreaterThanOrEqual(2);
    expect(text.trimEnd().split('\n').at(-1)).toBe('data: [DONE]');
    await gateway.post('/gateway/models/slow/unload?wait=true', '');
    const chunks = await collect(await client.chat.completions.create(ask));
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toContain('nonce:h1');
  });

  it('that does not start raises an error that says why', async () => {
    const stream = await client.chat.completions.create({ model: 'broken', messages: hello, stream: true });
    const refusal = await refusalOf(collect(stream));
    expect(refusal).toBeInstanceOf(openai.APIError);
    expect(refusal).toMatchObject({ code: 'model_start_failed', error: { cause: 'out_of_memory' } });
  });
});

describe('a name that is an alias [item 42]', () => {
  it('comes back in a plain answer', async () => {
    const { data, response } = await client.chat.completions
      .create({ model: 'gpt-4o-mini', messages: hello })
      .withResponse();
    expect(data.model).toBe('gpt-4o-mini');
    expect(response.headers.get('x-vgw-model')).toBe(CHAT);
  });

  it('comes back in every chunk of a stream', async () => {
    const stream = await client.chat.completions.create({ model: 'gpt-4o-mini', messages: hello, stream: true });
    expect(new Set((await collect(stream)).map(({ model }) => model))).toEqual(new Set(['gpt-4o-mini']));
  });

  it('comes back in completions, responses and embeddings', async () => {
    const completion = await client.completions.create({ model: 'gpt-4o-mini', prompt: 'Once' });
    const response = await client.responses.create({ model: 'gpt-4o-mini', input: 'Once' });
    const embedding = await client.embeddings.create({ model: 'text-embedding-3-small', input: 'Once' });
    expect([completion.model, response.model, embedding.model]).toEqual([
      'gpt-4o-mini',
      'gpt-4o-mini',
      'text-embedding-3-small',
    ]);
  });
});

describe('tools', () => {
  const weather = {
    type: 'function' as const,
    function: {
      name: 'get_weather',
      description: 'Tells the weather',
      parameters: { type: 'object', properties: { city: { type: 'string', enum: ['Paris'] } }, required: ['city'] },
    },
  };
  const named = { type: 'function' as const, function: { name: 'get_weather' } };

  it.each([
    ['named', named, 'Hello', 'stop'],
    ['required', 'required' as const, 'Hello', 'tool_calls'],
    ['left to the model', 'auto' as const, 'Please call get_weather', 'tool_calls'],
  ])('are called when %s', async (_name, choice, content, reason) => {
    const answer = await client.chat.completions.create({
      model: CHAT,
      messages: [{ role: 'user', content }],
      tools: [weather],
      tool_choice: choice,
    });
    const call = answer.choices[0]?.message.tool_calls?.[0];
    expect(call).toMatchObject({ type: 'function', function: { name: 'get_weather' } });
    expect(JSON.parse(call?.type === 'function' ? call.function.arguments : '')).toEqual({ city: 'Paris' });
    expect(answer.choices[0]?.finish_reason).toBe(reason);
  });

  it('are called in a stream, and their results go back', async () => {
    const messages = [{ role: 'user' as const, content: 'Please call get_weather' }];
    const gathered = await client.chat.completions
      .stream({ model: CHAT, messages, tools: [weather], tool_choice: 'required' })
      .finalChatCompletion();
    const call = gathered.choices[0]?.message.tool_calls?.[0];
    expect(call?.function.name).toBe('get_weather');
    const answer = await client.chat.completions.create({
      model: CHAT,
      messages: [
        ...messages,
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: call?.id ?? '', type: 'function', function: { name: 'get_weather', arguments: '{}' } }],
        },
        { role: 'tool', tool_call_id: call?.id ?? '', content: 'sunny nonce:t2' },
      ],
      tools: [weather],
    });
    expect(answer.choices[0]?.message.content).toContain('nonce:t2');
  });
});

describe('other routes', () => {
  it('embeds with a pooling model', async () => {
    const answer = await client.embeddings.create({ model: 'embed', input: ['one', 'two'], encoding_format: 'float' });
    expect(answer.data.map(({ index }) => index)).toEqual([0, 1]);
    expect(answer.data[0]?.embedding.length).toBeGreaterThan(0);
    const packed = await client.embeddings.create({ model: 'embed', input: 'one' });
    expect(packed.data[0]?.embedding[0]).toBeCloseTo(answer.data[0]?.embedding[0] ?? Number.NaN, 5);
  });

  it('answers and streams responses', async () => {
    const plain = await client.responses.create({ model: CHAT, input: 'Hello nonce:r1' });
    expect(plain.output_text).toContain('nonce:r1');
    const events = await collect(await client.responses.create({ model: CHAT, input: 'Hello nonce:r1', stream: true }));
    expect(events[0]).toMatchObject({ type: 'response.created', response: { model: CHAT } });
    const last = events.at(-1);
    expect(last?.type).toBe('response.completed');
    expect(events.map((event) => ('sequence_number' in event ? event.sequence_number : -1))).toEqual(
      events.map((_event, index) => index),
    );
  });

  it('uploads audio for a transcription [item 50]', async () => {
    const sound = Buffer.concat([
      Buffer.from(Array.from({ length: 4096 }, (_, index) => index & 0xff)),
      Buffer.from('nonce:a9 '),
    ]);
    const file = await openai.toFile(sound, 'sound.wav', { type: 'audio/wav' });
    const answer = await client.audio.transcriptions.create({ model: 'whisper', file });
    expect(answer.text).toContain('nonce:a9');
    const text = await client.audio.transcriptions.create({ model: 'whisper', file, response_format: 'text' });
    expect(text).toContain('nonce:a9');
    const translated = await client.audio.translations.create({ model: 'whisper', file });
    expect(translated.text).toContain('nonce:a9');
  });

  it('receives speech byte for byte [item 50]', async () => {
    const ask = { model: 'voice', input: 'Good morning', voice: 'alloy' as const };
    const bytes = Buffer.from(await (await client.audio.speech.create(ask)).arrayBuffer());
    expect(bytes.subarray(0, 4).toString()).toBe('RIFF');
    expect(bytes.length).toBe(8 + bytes.readUInt32LE(4));
    expect(new Set(bytes.subarray(44)).size).toBe(256);
  });
});
