import type { RecordedRow } from '../support/recorded.ts';

/** How the engine that answered a row had been started. */
export type Setup = 'plain' | 'keys' | 'names' | 'limit';

export const BASE_FLAGS = ['--max-model-len', '512', '--max-num-seqs', '4', '--enforce-eager'];

export const SETUPS: Readonly<Record<Setup, { flags: readonly string[]; env: Readonly<Record<string, string>> }>> = {
  plain: { flags: [...BASE_FLAGS, '--served-model-name', 'tiny'], env: {} },
  keys: {
    flags: [
      ...BASE_FLAGS,
      ...['--served-model-name', 'tiny', '--api-key', 'sk-a', 'sk-b', '--enable-request-id-headers'],
      ...['--enable-auto-tool-choice', '--tool-call-parser', 'hermes', '--enable-prompt-tokens-details'],
      '--enable-server-load-tracking',
    ],
    env: { VLLM_SERVER_DEV_MODE: '1' },
  },
  names: {
    flags: [
      ...BASE_FLAGS,
      ...['--served-model-name', 'tiny', 'tiny-alias', '--enable-force-include-usage', '--enable-per-request-metrics'],
      ...['--enable-scale-out', '--enable-lora', '--allowed-origins', '["http://app.example"]'],
    ],
    env: {
      VLLM_SERVER_DEV_MODE: '1',
      VLLM_ENABLE_RESPONSES_API_STORE: '1',
      VLLM_ALLOW_RUNTIME_LORA_UPDATING: '1',
    },
  },
  limit: {
    flags: [...BASE_FLAGS, '--served-model-name', 'tiny', '--max-num-queued-reqs', '3', '--enable-lora'],
    env: { VLLM_SERVER_DEV_MODE: '1' },
  },
};

const OTHER_NAMES = new Set([
  ...['models-two-names', 'chat-alias', 'chat-per-request-metrics', 'chat-stream-forced-usage', 'responses-stored'],
  ...['responses-get', 'responses-background', 'render', 'generate', 'lora-load-missing', 'collective-rpc-error'],
  ...['cors-allowed-preflight', 'cors-allowed-get', 'sleep-1', 'sleep-2', 'sleep-bad-level', 'sleep-bad-mode'],
  ...['is_sleeping-true', 'wake_up-weights', 'wake_up-kv_cache', 'wake_up-all', 'abort_requests'],
  ...['metrics-while-asleep'],
]);

export function setupOf(row: RecordedRow, headers: readonly (readonly [string, string])[]): Setup {
  if (row.section.startsWith('Queue limit') || row.name === 'metrics-admission') return 'limit';
  if (headers.some(([name]) => name === 'x-request-id')) return 'keys';
  return OTHER_NAMES.has(row.name) ? 'names' : 'plain';
}

/** Rows that need an engine in a certain state; replayed by tests of their own. */
export const BY_HAND = new Set(['busy-chat-stream-late', 'sleep-aborts-stream', 'sleep-aborts-plain', 'responses-get']);

const hello = { role: 'user', content: 'Hello, who are you?' };
const parameters = {
  type: 'object',
  properties: { city: { type: 'string', enum: ['Paris', 'London'] } },
  required: ['city'],
  additionalProperties: false,
};
const weather = { type: 'function', function: { name: 'get_weather', description: 'w', parameters } };
const named = { type: 'function', function: { name: 'get_weather' } };
const many = (count: number, word = 'hello '): string => word.repeat(count);

/** Bodies the index shows only the beginning of, written out again. */
const WHOLE: Readonly<Record<string, unknown>> = {
  'chat-json-schema': {
    model: 'tiny',
    messages: [hello],
    max_tokens: 80,
    response_format: {
      type: 'json_schema',
      json_schema: {
        name: 'x',
        schema: { type: 'object', properties: { city: { enum: ['Paris', 'London'] }, ok: { type: 'boolean' } } },
      },
    },
  },
  'chat-tool-roundtrip': {
    model: 'tiny',
    max_tokens: 4,
    messages: [
      hello,
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{}' } }],
      },
      { role: 'tool', tool_call_id: 'call_1', content: 'sunny' },
    ],
  },
  'chat-tools-none': { model: 'tiny', messages: [hello], max_tokens: 4, tools: [weather], tool_choice: 'none' },
  'chat-tools-auto-text': { messages: [hello], tools: [weather], max_tokens: 100 },
  'chat-tools-named': { messages: [hello], tools: [weather], max_tokens: 100, tool_choice: named },
  // The recorded call did not fit into max_tokens and came out as text; a limit of 5 does the same to ours.
  'chat-tools-required': { messages: [hello], tools: [weather], max_tokens: 5, tool_choice: 'required' },
  'chat-cached-tokens': { messages: [{ role: 'user', content: many(200) }], max_tokens: 2 },
  'chat-prompt-plus-max-tokens-clamped': {
    model: 'tiny',
    messages: [{ role: 'user', content: many(240) }],
    max_tokens: 400,
    ignore_eos: true,
  },
  'chat-stream-tools-named': { messages: [hello], tools: [weather], max_tokens: 100, stream: true, tool_choice: named },
  'chat-stream-tools-required-usage': {
    messages: [hello],
    tools: [weather],
    max_tokens: 100,
    stream: true,
    tool_choice: 'required',
    stream_options: { include_usage: true },
  },
  'messages-stream-tool-use': {
    model: 'tiny',
    max_tokens: 100,
    stream: true,
    messages: [hello],
    tools: [{ name: 'get_weather', input_schema: parameters }],
    tool_choice: { type: 'tool', name: 'get_weather' },
  },
  'messages-too-long': { model: 'tiny', max_tokens: 6, messages: [{ role: 'user', content: many(900) }] },
  'err-prompt-too-long': { model: 'tiny', messages: [{ role: 'user', content: many(900) }], max_tokens: 2 },
  'err-prompt-much-too-long': { model: 'tiny', messages: [{ role: 'user', content: many(90_000) }], max_tokens: 2 },
  'err-completion-token-ids-too-long': { model: 'tiny', prompt: Array.from({ length: 600 }, () => 10), max_tokens: 2 },
  'err-completion-1025-prompts': { model: 'tiny', prompt: Array.from({ length: 1025 }, () => 'a'), max_tokens: 2 },
  'chat-tools-auto-without-flag': { model: 'tiny', messages: [hello], max_tokens: 8, tools: [weather] },
  'chat-tools-named-without-parser': {
    model: 'tiny',
    messages: [hello],
    max_tokens: 60,
    tools: [weather],
    tool_choice: named,
  },
};

const LONG_RUN = { messages: [hello], max_tokens: 490, min_tokens: 490, ignore_eos: true };

/** The body's bytes; undefined when there is none. */
export function bodyOf(row: RecordedRow): Buffer | undefined {
  const whole = WHOLE[row.name];
  if (whole !== undefined) return Buffer.from(JSON.stringify(whole));
  if (row.name === 'err-bad-utf8') {
    return Buffer.concat([
      Buffer.from('{"model":"tiny","messages":[{"role":"user","content":"'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}],"max_tokens":2}'),
    ]);
  }
  if (row.body?.includes('"messages":[...]') === true) {
    return Buffer.from(JSON.stringify({ ...LONG_RUN, stream: row.body.includes('"stream":true') }));
  }
  // The index lost the last blank of a body that stops in the middle.
  if (row.name === 'err-malformed-json' || row.name === 'messages-malformed') {
    return Buffer.from((row.body ?? '').trimEnd());
  }
  if (row.body === undefined) return row.name === 'err-empty-body' ? Buffer.alloc(0) : undefined;
  if (row.truncated) throw new Error(`the body of ${row.name} has to be written out`);
  return Buffer.from(row.body);
}

/** The request's bytes as they go on the wire. */
export function requestBytes(row: RecordedRow, port: number): Buffer {
  if (row.name === 'proto-garbage') return Buffer.from('HELLO WORLD\r\n\r\n');
  const body = bodyOf(row);
  const path = row.name === 'long-url-70k' ? `/version?x=${'a'.repeat(70_000)}` : row.path;
  const headers: (readonly [string, string])[] = [['Host', `127.0.0.1:${port}`], ...row.headers];
  const has = (name: string): boolean => headers.some(([key]) => key.toLowerCase() === name);
  if (row.method === 'POST' && !has('content-type')) headers.push(['Content-Type', 'application/json']);
  if (body !== undefined) headers.push(['Content-Length', String(body.length)]);
  const head = [`${row.method} ${path} HTTP/1.1`, ...headers.map(([name, value]) => `${name}: ${value}`)];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body ?? Buffer.alloc(0)]);
}
