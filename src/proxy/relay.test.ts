import { describe, expect, it } from 'vitest';
import { createProxyBench } from '../../test/support/proxy-bench.ts';
import { plain, stream } from '../../test/support/rude-upstream.ts';

const CHAT = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }] };

describe('the relay', () => {
  it('passes a JSON answer on as it came', async () => {
    const body =
      '{"id":"x","model":"tiny","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5}}';
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(plain(200, body)) });
    const answer = await bench.post('/v1/chat/completions', CHAT);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe(body);
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last).toMatchObject({
      outcome: 'completed',
      promptTokens: 3,
      completionTokens: 5,
      attempts: 1,
    });
    expect(bench.gate.leases[0]?.outcome).toBe('completed');
  });

  it('passes a stream on as it came', async () => {
    const events = ['data: {"choices":[]}\n\n', 'data: [DONE]\n\n'];
    await using bench = await createProxyBench({ script: (_request, socket) => socket.write(stream(...events)) });
    const answer = await bench.post('/v1/chat/completions', { ...CHAT, stream: true });
    expect(answer.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(await answer.text()).toBe(events.join(''));
    await bench.telemetry.ended(1);
    expect(bench.telemetry.last.outcome).toBe('completed');
  });
});
