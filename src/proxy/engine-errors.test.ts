import { describe, expect, it } from 'vitest';
import { createProxyBench, proxyModel, proxySettings } from '../../test/support/proxy-bench.ts';
import { plain, stream } from '../../test/support/rude-upstream.ts';
import { withoutCredentials } from './engine-errors.ts';
import { modelField } from './reply-headers.ts';

const CHAT = { model: 'tiny', messages: [] };
const KEY = 'sk-engine-0123456789';
const QUOTED = JSON.stringify({
  error: { message: `bad request: authorization: Bearer ${KEY}`, type: 'x', code: 400 },
});

describe('an engine that quotes the request it got', () => {
  it.each([
    ['as an error', plain(400, QUOTED)],
    ['as an error without the shape of the route', plain(500, `headers: Bearer ${KEY}`)],
    ['as the first event of a stream', stream(`data: ${QUOTED}\n\n`)],
  ])('does not give its key away %s', async (_name, bytes) => {
    await using bench = await createProxyBench({
      upstream: { headers: { authorization: `Bearer ${KEY}` } },
      script: (_request, socket) => socket.write(bytes),
    });
    const text = await (await bench.post('/v1/chat/completions', { ...CHAT, stream: true })).text();
    expect(text).not.toContain(KEY);
    expect(text).toContain('Bearer [redacted]');
  });

  it('keeps every byte of an error that holds no credential', () => {
    const body = Buffer.from('{"error":{"message":"Bearer of bad news"}}');
    expect(withoutCredentials(body, { authorization: `Bearer ${KEY}`, 'x-short': 'bad' })).toBe(body);
  });
});

describe('when to come back', () => {
  it.each([
    [[], '2', '2000'],
    [['retry-after: 7'], '7', '7000'],
    [['retry-after-ms: 6500'], '7', '6500'],
    [['retry-after: 9', 'retry-after-ms: 8200'], '9', '8200'],
    [['retry-after: 0'], '1', '1000'],
    [['retry-after: Wed, 21 Oct 2026 07:28:00 GMT'], 'Wed, 21 Oct 2026 07:28:00 GMT', null],
  ])('is told in both fields, once each, if the engine says %j', async (fields, seconds, ms) => {
    await using bench = await createProxyBench({
      script: (_request, socket) => socket.write(plain(429, '{"error":{"message":"m"}}', fields)),
    });
    const { headers } = await bench.post('/v1/chat/completions', CHAT);
    expect([headers.get('retry-after'), headers.get('retry-after-ms')]).toEqual([seconds, ms]);
  });
});

describe('a model whose name no header can carry', () => {
  it('is served, with its name percent-encoded there', async () => {
    const name = '模型 é%';
    await using bench = await createProxyBench({
      settings: proxySettings([proxyModel(name)]),
      upstream: { servedName: name },
      script: (_request, socket) => socket.write(plain(200, '{}')),
    });
    const answer = await bench.post('/v1/chat/completions', { model: name });
    expect([answer.status, answer.headers.get('x-vgw-model')]).toEqual([200, '%E6%A8%A1%E5%9E%8B%20%C3%A9%']);
  });

  it.each(['llama-8b', 'org/Llama-3.1:latest', 'a%20b'])('leaves %s as it is', (name) => {
    expect(modelField(name)).toBe(name);
  });
});
