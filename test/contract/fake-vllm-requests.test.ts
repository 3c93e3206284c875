import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FakeEngine, startFake } from '../support/fake-vllm.ts';
import { type RawAnswer, rawRequest } from '../support/raw-http.ts';
import { streamEvents } from '../support/recorded.ts';

const FLAGS = ['--served-model-name', 'tiny', '--max-num-seqs', '2'];
const ENV = { FAKE_VLLM_TTFT_MS: '1', FAKE_VLLM_TOKEN_MS: '2', FAKE_VLLM_CONTROL: '1' };

interface Chat {
  readonly stream?: boolean;
  readonly fault?: string;
  readonly tokens?: number;
  readonly token_ms?: number;
  readonly content?: string;
  readonly path?: string;
}

function bytes(chat: Chat): string {
  const body = JSON.stringify({
    model: 'tiny',
    messages: [{ role: 'user', content: chat.content ?? 'hi' }],
    stream: chat.stream === true,
    fake: { fault: chat.fault, tokens: chat.tokens ?? 4, token_ms: chat.token_ms },
  });
  const head = `POST ${chat.path ?? '/v1/chat/completions'} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`;
  return `${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

const send = (engine: FakeEngine, chat: Chat): Promise<RawAnswer> => rawRequest(engine.port, bytes(chat));

async function configure(engine: FakeEngine, config: object): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  await fetch(`${engine.url}/__fake/config`, { method: 'POST', headers, body: JSON.stringify(config) });
}

async function metrics(engine: FakeEngine): Promise<Record<string, number>> {
  const text = await (await fetch(`${engine.url}/metrics`)).text();
  return Object.fromEntries([...text.matchAll(/^vllm:(\w+)\{[^}]*\} (\S+)$/gm)].map((m) => [m[1], Number(m[2])]));
}

const stat = (engine: FakeEngine, name: string, value: number): Promise<void> =>
  expect.poll(async () => (await engine.stats())[name], { interval: 2 }).toBe(value);

describe('requests to fake-vllm', () => {
  let engine: FakeEngine;

  beforeAll(async () => {
    engine = await startFake({ flags: FLAGS, env: ENV });
  });

  afterAll(async () => {
    await engine.kill();
  });

  it('answers with the nonce, the same text every time, and counts that add up', async () => {
    const [first, again, other] = await Promise.all(
      ['say nonce:a-1', 'say nonce:a-1', 'say nonce:b-2'].map((content) => send(engine, { content, tokens: 9 })),
    );
    const text = (answer: RawAnswer | undefined): string =>
      (JSON.parse(answer?.body.toString() ?? '') as { choices: { message: { content: string } }[] }).choices[0]?.message
        .content ?? '';
    expect(text(first)).toMatch(/^nonce:a-1 /);
    expect(text(again)).toBe(text(first));
    expect(text(other)).toMatch(/^nonce:b-2 /);
    const { usage } = JSON.parse(first?.body.toString() ?? '') as { usage: Record<string, number> };
    expect(usage).toMatchObject({ completion_tokens: 9, total_tokens: 9 + (usage['prompt_tokens'] ?? 0) });
  });

  it.each([
    ['cut_after:2', 'closed', 2],
    ['rst_after:2', 'reset', 2],
  ] as const)('breaks a stream off: %s', async (fault, end, count) => {
    const answer = await send(engine, { stream: true, fault, tokens: 8 });
    // The kernel may report a reset as a plain end when it met bytes that were not read yet.
    expect(end === 'reset' ? ['reset', 'closed'] : [end]).toContain(answer.end);
    expect(streamEvents(answer.body)).toHaveLength(count);
    await stat(engine, 'running', 0);
  });

  it('breaks a plain answer off inside its body', async () => {
    const answer = await send(engine, { fault: 'cut_after:0' });
    expect(answer.end).toBe('closed');
    expect(answer.status).toBe(200);
    expect(() => JSON.parse(answer.body.toString()) as unknown).toThrow();
  });

  it('sends an error as first frame or in the middle, and leaves [DONE] out', async () => {
    const first = streamEvents((await send(engine, { stream: true, fault: 'error_first_frame' })).body);
    expect(first.map(({ data }) => data)).toEqual([
      '{"error": {"message": "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.", "type": "Service Unavailable", "param": null, "code": 503}}',
      '[DONE]',
    ]);
    const middle = streamEvents((await send(engine, { stream: true, fault: 'error_frame_after:3', tokens: 8 })).body);
    expect(middle).toHaveLength(5);
    expect(middle[3]?.data).toContain('EngineCore encountered an issue');
    const open = await send(engine, { stream: true, fault: 'missing_done' });
    expect(open.end).toBe('whole');
    expect(open.body.toString()).not.toContain('[DONE]');
  });

  it('refuses like a stopping engine, and holds headers back or never ends them', async () => {
    const dead = await send(engine, { fault: 'engine_dead_500' });
    expect(dead.status).toBe(500);
    expect(dead.body.toString()).toContain('cannot schedule new futures after shutdown');
    const begun = performance.now();
    expect((await send(engine, { fault: 'slow_headers:80' })).status).toBe(200);
    expect(performance.now() - begun).toBeGreaterThan(79);
    let seen = '';
    await rawRequest(engine.port, bytes({ fault: 'never_ending_headers' }), {
      enough: (received) => {
        seen = received.toString();
        return seen.includes('x-pad-3');
      },
    });
    expect(seen).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(seen).not.toContain('\r\n\r\n');
  });

  it('frees the slot of a client that leaves within 50 ms, by FIN, RST or half-close', async () => {
    const times: number[] = [];
    const ways = ['end', 'destroy', 'resetAndDestroy'] as const;
    for (const leave of [...ways, ...ways, ...ways]) {
      const socket = connect(engine.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(bytes({ stream: true, tokens: 1000, token_ms: 20 }));
      await once(socket, 'data');
      const begun = performance.now();
      socket[leave]();
      await stat(engine, 'running', 0);
      times.push(performance.now() - begun);
      socket.destroy();
    }
    // The quickest of nine: the machine may be busy with other tests.
    expect(Math.min(...times)).toBeLessThan(50);
    const half = await rawRequest(engine.port, bytes({ tokens: 20 }), { halfClose: true });
    expect(half).toMatchObject({ status: 0, end: 'closed' });
    expect(half.body).toHaveLength(0);
  });

  it('gives streams their headers while they queue, and slots in order of arrival', async () => {
    const order: string[] = [];
    const open = ['a', 'b', 'c', 'd'].map(async (name) => {
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify({
        messages: [{ role: 'user', content: name }],
        stream: true,
        fake: { tokens: 20, token_ms: 5 },
      });
      const answer = await fetch(`${engine.url}/v1/chat/completions`, { method: 'POST', headers, body });
      const reader = answer.body?.getReader();
      await reader?.read();
      order.push(name);
      while ((await reader?.read())?.done === false);
    });
    await stat(engine, 'waiting', 2);
    expect(await metrics(engine)).toMatchObject({ num_requests_running: 2, num_requests_waiting: 2 });
    await Promise.all(open);
    expect([order.slice(0, 2).sort(), order.slice(2).sort()]).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
    expect((await engine.stats())['max_running']).toBe(2);
  });

  it('hangs with health 200 and counters that stand still, and goes on when told to', async () => {
    await configure(engine, { fault: 'hang_after:0' });
    const stuck = send(engine, { stream: true });
    await stat(engine, 'running', 1);
    const before = await metrics(engine);
    expect((await fetch(`${engine.url}/health`)).status).toBe(200);
    const after = await metrics(engine);
    expect(after).toMatchObject({
      num_requests_running: 1,
      generation_tokens_total: before['generation_tokens_total'],
      prompt_tokens_total: before['prompt_tokens_total'],
    });
    await configure(engine, { fault: '' });
    expect((await stuck).body.toString()).toContain('[DONE]');
  });

  it('moves only the KV usage during a slow prefill', async () => {
    const before = await metrics(engine);
    const content = 'word '.repeat(3000);
    const answer = send(engine, { stream: true, fault: 'slow_prefill:400', content });
    const usage = async (): Promise<number> => (await metrics(engine))['kv_cache_usage_perc'] ?? 0;
    await expect.poll(usage, { interval: 5 }).toBeGreaterThan(0.01);
    const early = await usage();
    await expect.poll(usage, { interval: 5 }).toBeGreaterThan(early);
    expect((await metrics(engine))['prompt_tokens_total']).toBe(before['prompt_tokens_total']);
    expect((await answer).status).toBe(200);
    expect((await metrics(engine))['prompt_tokens_total']).toBeGreaterThan((before['prompt_tokens_total'] ?? 0) + 2999);
  });

  it('misbehaves on its own routes when scripted', async () => {
    await configure(engine, { fault: 'health_503,no_counters' });
    expect((await fetch(`${engine.url}/health`)).status).toBe(503);
    expect(await metrics(engine)).toEqual({});
    await configure(engine, { fault: 'refuse_metrics' });
    expect((await fetch(`${engine.url}/metrics`)).status).toBe(404);
    await configure(engine, { fault: 'health_slow:60' });
    const begun = performance.now();
    expect((await fetch(`${engine.url}/health`)).status).toBe(200);
    expect(performance.now() - begun).toBeGreaterThan(59);
    await configure(engine, { fault: '' });
  });

  it('counts connections and requests for who measures reuse', async () => {
    const before = await engine.stats();
    const socket = connect(engine.port, '127.0.0.1');
    for (let count = 0; count < 3; count += 1) {
      socket.write(bytes({ tokens: 1 }));
      await once(socket, 'data');
    }
    socket.destroy();
    const after = await engine.stats();
    const grown = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
    expect([grown('inference_requests'), grown('inference_connections_total')]).toEqual([3, 1]);
  });
});

describe('a fake-vllm of another kind', () => {
  it('crashes after so many answers, in the middle of the next', async () => {
    await using engine = await startFake({ flags: FLAGS, env: { ...ENV, FAKE_VLLM_FAULT: 'crash_after:1' } });
    expect((await send(engine, { stream: true })).end).toBe('whole');
    const second = await send(engine, { stream: true, tokens: 50 });
    expect(second.end).not.toBe('whole');
    expect(second.body.toString()).toContain('"content"');
    expect(await engine.exit).toEqual({ code: 1, signal: null });
  });

  it('closes idle connections after the keep-alive of its environment', async () => {
    await using engine = await startFake({ env: { VLLM_HTTP_TIMEOUT_KEEP_ALIVE: '0.3' } });
    const socket = connect(engine.port, '127.0.0.1');
    socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    const begun = performance.now();
    await once(socket, 'end');
    expect(performance.now() - begun).toBeGreaterThan(290);
    expect(performance.now() - begun).toBeLessThan(1250);
    socket.destroy();
  });

  it('embeds, scores and ranks with --runner pooling and has no chat route then', async () => {
    await using engine = await startFake({ flags: ['--runner', 'pooling', '--served-model-name', 'e'], env: ENV });
    const post = async (path: string, body: object): Promise<[number, Record<string, unknown>]> => {
      const headers = { 'content-type': 'application/json' };
      const answer = await fetch(engine.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
      return [answer.status, (await answer.json()) as Record<string, unknown>];
    };
    const [status, embedded] = await post('/v1/embeddings', {
      model: 'e',
      input: ['a', 'b'],
      encoding_format: 'base64',
    });
    expect([status, (embedded['data'] as unknown[]).length]).toEqual([200, 2]);
    expect((await post('/v1/score', { queries: 'a', documents: ['b', 'c'] }))[0]).toBe(200);
    const [, ranked] = await post('/v1/rerank', { query: 'a', documents: ['x', 'nonce:1', 'z'], top_n: 2 });
    expect(ranked['results']).toHaveLength(2);
    expect((await post('/v1/chat/completions', { messages: [] }))[0]).toBe(404);
  });

  it('transcribes multipart uploads, plain and streamed, and speaks binary', async () => {
    await using ears = await startFake({ env: { ...ENV, FAKE_VLLM_TASK: 'transcription' } });
    await using mouth = await startFake({ env: { ...ENV, FAKE_VLLM_TASK: 'speech' } });
    const form = (stream: string): FormData => {
      const data = new FormData();
      data.set('file', new Blob([new Uint8Array(64_000)]), 'a.wav');
      data.set('prompt', 'nonce:ear-1');
      data.set('stream', stream);
      return data;
    };
    const url = `${ears.url}/v1/audio/transcriptions`;
    const plain = (await (await fetch(url, { method: 'POST', body: form('false') })).json()) as Record<string, unknown>;
    expect(plain['text']).toMatch(/^nonce:ear-1 /);
    expect(plain['usage']).toEqual({ type: 'duration', seconds: 2 });
    const streamed = await (await fetch(url, { method: 'POST', body: form('true') })).text();
    expect(streamed).toContain('"object":"transcription.chunk"');
    expect(streamed.trimEnd()).toMatch(/data: \[DONE\]$/);
    const sound = await fetch(`${mouth.url}/v1/audio/speech`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ input: 'hello' }),
    });
    expect(sound.headers.get('content-type')).toBe('audio/wav');
    expect(
      Buffer.from(await sound.arrayBuffer())
        .subarray(0, 4)
        .toString(),
    ).toBe('RIFF');
  });
});
