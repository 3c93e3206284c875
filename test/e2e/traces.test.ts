/** Traces of a whole gateway, as a collector receives them. */
import { describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { ScriptedServer } from '../support/scripted-server.ts';
import { metric, simulatedYaml } from '../support/simulated-fleet.ts';
import { testWorkers } from '../support/workers.ts';
import { TraceCollector, type CollectedSpan } from '../support/trace-collector.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const CALLER = 'b7ad6b7169203331';
const CHAT = '/v1/chat/completions';
const CANARY = 'zq-canary-of-a-prompt';

const tracesTo = (url: string, more = ''): string => `telemetry: { traces: { endpoint: "${url}"${more} } }`;

const chat = (model: string, more: object = {}): object => ({
  model,
  messages: [{ role: 'user', content: CANARY }],
  ...more,
});

const named = (spans: readonly CollectedSpan[], name: string): CollectedSpan => {
  const found = spans.filter((span) => span.name === name);
  if (found.length !== 1) throw new Error(`${found.length} spans ${name} of ${spans.map((span) => span.name).join()}`);
  return found[0] as CollectedSpan;
};

/** A gateway before a server that the test plays, as model `outside`. */
function outside(server: string, telemetry: string, more = ''): Promise<TestGateway> {
  const models = `models:\n  outside: { repo: org/outside, driver: external, url: "${server}" }`;
  return startTestGateway({ yaml: `${telemetry}\n${more}\n${models}` });
}

const answering = (): Promise<ScriptedServer> =>
  ScriptedServer.listen((response) => {
    const usage = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 };
    const body = { id: 'x', object: 'chat.completion', choices: [{ message: { content: `${CANARY}-answer` } }], usage };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });

describe('traces', () => {
  it('tell of a request that waited for a start, with the start that it waited for', async () => {
    await using collector = await TraceCollector.listen();
    const telemetry = tracesTo(
      collector.url,
      ', genai_attributes: true, service_name: shop, headers: { x-tenant: t1 }',
    );
    await using gateway = await startTestGateway({ yaml: simulatedYaml([{ name: 'cold' }], telemetry) });
    const answer = await gateway.post(CHAT, chat('cold'), {
      headers: { traceparent: `00-${TRACE}-${CALLER}-01`, tracestate: 'shop=1,other=2', 'x-request-id': 'id-of-it' },
    });
    expect(answer.status).toBe(200);
    const { usage } = (await answer.json()) as { usage: { prompt_tokens: number; completion_tokens: number } };
    await eventually('both traces', () =>
      ['start engine', `POST ${CHAT}`].every((name) =>
        collector.spans.some((span) => span.kind !== 3 && span.name === name),
      ),
    );

    const mine = collector.spans.filter(({ traceId }) => traceId === TRACE);
    const server = mine.find(({ kind }) => kind === 2) as CollectedSpan;
    const [queue, cold] = [named(mine, 'queue'), named(mine, 'cold start')];
    const attempt = mine.find(({ kind }) => kind === 3) as CollectedSpan;
    expect(mine).toHaveLength(4);
    expect(server).toMatchObject({
      name: `POST ${CHAT}`,
      parentSpanId: CALLER,
      traceState: 'shop=1,other=2',
      status: 0,
    });
    expect(server.attributes).toMatchObject({
      'http.request.method': 'POST',
      'http.route': CHAT,
      'http.response.status_code': 200,
      'vllm_gateway.model': 'cold',
      'vllm_gateway.outcome': 'completed',
      'vllm_gateway.request_id': 'id-of-it',
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'cold',
      'gen_ai.usage.input_tokens': usage.prompt_tokens,
      'gen_ai.usage.output_tokens': usage.completion_tokens,
    });
    expect(server.attributes).not.toHaveProperty('error.type');
    expect(server.resource).toMatchObject({ 'service.name': 'shop', 'service.version': '0.0.0-test' });
    expect(queue.parentSpanId).toBe(server.spanId);
    expect(cold.parentSpanId).toBe(queue.spanId);
    expect(attempt).toMatchObject({ name: `POST ${CHAT}`, parentSpanId: server.spanId });
    expect(attempt.attributes).toMatchObject({ 'http.response.status_code': 200, 'server.address': '127.0.0.1' });
    for (const inner of [queue, attempt]) {
      expect(inner.startNanos).toBeGreaterThanOrEqual(server.startNanos);
      expect(inner.endNanos).toBeLessThanOrEqual(server.endNanos);
    }
    expect(attempt.startNanos).toBeGreaterThanOrEqual(queue.endNanos);

    const start = named(collector.spans, 'start engine');
    expect(cold.links).toEqual([start.spanId]);
    expect(start.traceId).not.toBe(TRACE);
    expect(start.attributes).toMatchObject({ 'vllm_gateway.model': 'cold', 'vllm_gateway.result': 'ready' });
    const phases = collector.spans.filter(({ parentSpanId }) => parentSpanId === start.spanId);
    expect(phases.map(({ name }) => name)).toEqual(expect.arrayContaining(['launch', 'launched']));
    expect(collector.headers[0]).toMatchObject({ 'x-tenant': 't1', 'content-type': 'application/json' });
    expect(collector.texts.join('')).not.toContain(CANARY);
  });

  it('go on at the engine, below the attempt, and leave the rest of the trace context of the caller out', async () => {
    await using collector = await TraceCollector.listen();
    await using server = await answering();
    await using gateway = await outside(server.url, tracesTo(collector.url));
    const headers = { traceparent: `00-${TRACE}-${CALLER}-01`, tracestate: 'a=1', baggage: 'k=v' };
    await (await gateway.post(CHAT, chat('outside'))).text();
    await (await gateway.post(CHAT, chat('outside'), { headers })).text();
    const spans = await collector.trace(({ traceId, kind }) => traceId === TRACE && kind === 2);
    const attempt = spans.find(({ kind }) => kind === 3) as CollectedSpan;
    expect(server.seen[1]?.headers).toMatchObject({
      traceparent: `00-${TRACE}-${attempt.spanId}-01`,
      tracestate: 'a=1',
      baggage: 'k=v',
    });
    expect(Object.keys(attempt.attributes).filter((key) => key.startsWith('gen_ai'))).toEqual([]);
    expect(spans).toHaveLength(2);
    expect(collector.texts.join('')).not.toContain(CANARY);
  });

  it('follow what the caller says of recording, and the ratio where nobody says anything', async () => {
    await using collector = await TraceCollector.listen();
    await using server = await answering();
    await using gateway = await outside(server.url, tracesTo(collector.url, ', sample_ratio: 0'));
    await (await gateway.post(CHAT, chat('outside'))).text();
    await (await gateway.post(CHAT, chat('outside'), { headers: { traceparent: `00-${TRACE}-${CALLER}-00` } })).text();
    expect(server.seen[0]?.headers['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    expect(server.seen[1]?.headers['traceparent']).toMatch(new RegExp(`^00-${TRACE}-(?!${CALLER})[0-9a-f]{16}-00$`));
    await (await gateway.post(CHAT, chat('outside'), { headers: { traceparent: `00-${TRACE}-${CALLER}-01` } })).text();
    await eventually('the recorded one', () => collector.spans.some(({ kind }) => kind === 2));
    await gateway.gateway.drain();
    expect(collector.spans.filter(({ kind }) => kind === 2)).toHaveLength(1);
  });

  it('begin anew where a caller sends something that is no trace context', async () => {
    await using collector = await TraceCollector.listen();
    await using server = await answering();
    await using gateway = await outside(server.url, tracesTo(collector.url));
    const hostile = ['00-1', `00-${TRACE.toUpperCase()}-${CALLER}-01`, `ff-${TRACE}-${CALLER}-01`, 'x'.repeat(8_000)];
    for (const traceparent of hostile) {
      const answer = await gateway.post(CHAT, chat('outside'), { headers: { traceparent, tracestate: `=${CANARY}` } });
      expect(answer.status).toBe(200);
      await answer.text();
    }
    for (const { headers } of server.seen) {
      expect(headers['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
      expect(headers['traceparent']).not.toContain(TRACE);
      expect(headers).not.toHaveProperty('tracestate');
    }
    await gateway.gateway.drain();
    const roots = collector.spans.filter(({ kind }) => kind === 2);
    expect(roots.map(({ parentSpanId }) => parentSpanId)).toEqual(hostile.map(() => ''));
    expect(new Set(roots.map(({ traceId }) => traceId)).size).toBe(hostile.length);
  });

  it('say what failed, with the code that the client was told, and name no path that a client made up', async () => {
    await using collector = await TraceCollector.listen();
    const nobody = await answering();
    await nobody[Symbol.asyncDispose]();
    await using gateway = await outside(nobody.url, tracesTo(collector.url), 'retry: { attempts: 2, delay: 5ms }');
    expect((await gateway.post(CHAT, chat('outside'))).status).toBe(503);
    expect((await gateway.post(CHAT, chat('unheard-of'))).status).toBe(404);
    expect((await gateway.post(`/v1/${CANARY}`, {})).status).toBe(404);
    expect((await fetch(`${gateway.url}/v1/models/${CANARY}`)).status).toBe(404);
    await gateway.gateway.drain();
    const roots = collector.spans.filter(({ kind }) => kind === 2);
    const told = roots.map(({ name, status, attributes }) => `${name}: ${status} ${String(attributes['error.type'])}`);
    // In no order: each process of several sends its own.
    expect(new Set(told)).toEqual(
      new Set([
        `POST ${CHAT}: 2 upstream_unreachable`,
        `POST ${CHAT}: 0 model_not_found`,
        'POST: 0 route_not_found',
        'GET /v1/models/{model}: 0 model_not_found',
      ]),
    );
    expect(told).toHaveLength(4);
    const attempts = collector.spans.filter(({ kind }) => kind === 3);
    expect(attempts.map(({ attributes }) => attributes['http.request.resend_count'])).toEqual([undefined, 1]);
    expect(attempts.map(({ attributes }) => attributes['error.type'])).toEqual(['unreachable', 'unreachable']);
    expect(collector.texts.join('')).not.toContain(CANARY);
  });

  it('are lost and counted when the collector refuses them, and nobody else notices', async () => {
    await using collector = await TraceCollector.listen();
    await using server = await answering();
    await using gateway = await outside(server.url, tracesTo(collector.url));
    collector.status = 400;
    for (let count = 0; count < 3; count += 1) expect((await gateway.post(CHAT, chat('outside'))).status).toBe(200);
    await eventually('dropped spans', async () => (await metric(gateway, 'trace_spans_dropped_total')) >= 6);
    const told = gateway.lines.filter((line) => line.includes('could not be sent')).length;
    expect(told).toBeGreaterThan(0);
    // Once for each process.
    expect(told).toBeLessThanOrEqual(testWorkers());
    expect(gateway.lines.join('')).not.toContain(CANARY);
  });

  it('hold the end of the gateway up no longer than two seconds', async () => {
    await using collector = await TraceCollector.listen();
    await using server = await answering();
    await using gateway = await outside(server.url, tracesTo(collector.url));
    collector.isDeaf = true;
    await (await gateway.post(CHAT, chat('outside'))).text();
    const began = performance.now();
    await gateway.gateway.drain();
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(collector.texts).not.toEqual([]);
  });

  it('do not exist unless they are configured: the caller’s context passes as it came', async () => {
    await using server = await answering();
    await using gateway = await outside(server.url, '');
    const headers = { traceparent: '00-whatever', tracestate: 'anything at all' };
    await (await gateway.post(CHAT, chat('outside'), { headers })).text();
    expect(server.seen[0]?.headers).toMatchObject(headers);
    expect(await metric(gateway, 'trace_spans_dropped_total')).toBe(0);
  });
});
