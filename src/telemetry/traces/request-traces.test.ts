import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider, type ReadableSpan } from '@opentelemetry/sdk-trace';
import { describe, expect, it } from 'vitest';
import { requestRecord } from '../../../test/support/request-record.ts';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { SECOND } from '../../units.ts';
import type { RequestTrace } from '../tracing.ts';
import { beginRequest } from './request-traces.ts';
import { ReplicaStarts } from './start-traces.ts';

const CHAT = '/v1/chat/completions';

interface Bench {
  readonly clock: VirtualClock;
  readonly starts: ReplicaStarts;
  readonly begin: (method?: string, path?: string) => RequestTrace;
  /** Of ended spans, in the order of their ends. */
  readonly spans: () => readonly ReadableSpan[];
  readonly one: (name: string) => ReadableSpan;
  /** Seconds since the clock began: when a span began and ended. */
  readonly times: (span: ReadableSpan) => readonly [number, number];
}

function bench(genaiAttributes = false): Bench {
  const clock = new VirtualClock();
  const zero = clock.wall() / SECOND;
  const exporter = new InMemorySpanExporter();
  const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
  const tracer = provider.getTracer('test');
  const starts = new ReplicaStarts(tracer, clock);
  const options = { tracer, clock, starts, genaiAttributes, safe: (text: string) => text.replace('secret', '***') };
  const spans = (): readonly ReadableSpan[] => exporter.getFinishedSpans();
  const seconds = ([whole, nanos]: readonly [number, number]): number => whole - zero + nanos / 1e9;
  return {
    clock,
    starts,
    begin: (method = 'POST', path = CHAT) =>
      beginRequest(options, {
        method,
        path,
        rawHeaders: [],
        startedAt: clock.monotonic(),
        wallStart: clock.wall(),
      }),
    spans,
    one: (name) => {
      const [found, ...more] = spans().filter((span) => span.name === name);
      if (found === undefined || more.length > 0)
        throw new Error(
          `${name} in ${spans()
            .map((span) => span.name)
            .join()}`,
        );
      return found;
    },
    times: (span) => [seconds(span.startTime), seconds(span.endTime)],
  };
}

const attemptAt = (number: number, origin = 'http://127.0.0.1:20001'): Parameters<RequestTrace['attempt']>[0] => ({
  replicaId: 'llama-1',
  origin,
  method: 'POST',
  path: CHAT,
  number,
});

const grant = (queuedMs: number, coldStartMs = 0): Parameters<RequestTrace['granted']>[0] => ({
  replicaId: 'llama-1',
  queuedMs,
  coldStartMs,
});

describe('the spans of a request', () => {
  it('tell both waits of one that an engine gave back, and not the attempt between them as a wait', () => {
    const { clock, begin, spans, times } = bench();
    const request = begin();
    clock.advance(2 * SECOND);
    request.granted(grant(2 * SECOND));
    const first = request.attempt(attemptAt(1));
    clock.advance(SECOND);
    first.end('lost');
    first.returned();
    clock.advance(3 * SECOND);
    request.granted(grant(6 * SECOND));
    const second = request.attempt(attemptAt(2));
    clock.advance(SECOND);
    second.answered(200);
    second.end('');
    request.end(requestRecord({ durationMs: 7 * SECOND }), null);
    const story = spans().map((span) => [span.name, ...times(span), span.attributes['error.type']]);
    expect(story).toEqual([
      ['queue', 0, 2, undefined],
      [`POST ${CHAT}`, 2, 3, 'lost'],
      ['queue', 3, 6, undefined],
      [`POST ${CHAT}`, 6, 7, undefined],
      [`POST ${CHAT}`, 0, 7, undefined],
    ]);
  });

  it('tell the wait of one that is refused in the queue, before an engine and after one', () => {
    const { clock, begin, spans, times, one } = bench();
    const never = begin();
    clock.advance(5 * SECOND);
    never.end(
      requestRecord({ code: 'queue_timeout', outcome: 'deadline', status: 503, durationMs: 5 * SECOND }),
      SECOND,
    );
    expect(times(one('queue'))).toEqual([1, 5]);
    expect(one('queue').attributes['error.type']).toBe('queue_timeout');
    const returned = begin();
    returned.granted(grant(0));
    const attempt = returned.attempt(attemptAt(1));
    clock.advance(SECOND);
    attempt.returned();
    clock.advance(SECOND);
    returned.end(
      requestRecord({ code: 'shutting_down', outcome: 'shutdown', status: 503, durationMs: 2 * SECOND }),
      null,
    );
    expect(
      spans()
        .filter(({ name }) => name === 'queue')
        .map(times),
    ).toEqual([
      [1, 5],
      [6, 7],
    ]);
  });

  it('end with the request when its client leaves in the middle of an answer', () => {
    const { clock, begin, spans, times } = bench();
    const request = begin();
    request.granted(grant(0));
    request.attempt(attemptAt(1)).answered(200);
    clock.advance(SECOND);
    request.end(requestRecord({ outcome: 'client_closed', durationMs: SECOND }), null);
    expect(spans().map((span) => [...times(span), span.attributes['error.type'], span.status.code])).toEqual([
      [0, 1, 'client_closed', 2],
      [0, 1, 'client_closed', 0],
    ]);
  });

  it('link a cold start to the start that was waited for, and leave the link out where nobody knows it', () => {
    const { clock, starts, begin, one, times } = bench();
    starts.begun('llama-1', 'llama');
    const request = begin();
    clock.advance(10 * SECOND);
    starts.ended('llama-1', 'ready', '');
    request.granted(grant(10 * SECOND, 4 * SECOND));
    const cold = one('cold start');
    expect(times(cold)).toEqual([6, 10]);
    expect(cold.parentSpanContext?.spanId).toBe(one('queue').spanContext().spanId);
    expect(cold.links.map(({ context }) => context.spanId)).toEqual([one('start engine').spanContext().spanId]);
    const { begin: again, one: only } = bench();
    again().granted(grant(SECOND, SECOND));
    expect(only('cold start').links).toEqual([]);
  });

  it('name a fault of ours or of an engine as one, and never one of the client', () => {
    const { begin, spans } = bench();
    const cases = [
      [{ code: 'internal_error', outcome: 'internal', status: 500 }, 'internal_error', 2],
      [{ code: '', outcome: 'upstream_failed', status: 500 }, '500', 2],
      [{ code: 'upstream_lost', outcome: 'upstream_failed', status: 200 }, 'upstream_lost', 2],
      [{ code: 'queue_full', outcome: 'rejected', status: 429 }, 'queue_full', 0],
      [{ code: '', outcome: 'completed', status: 400 }, undefined, 0],
    ] as const;
    for (const [over] of cases) begin().end(requestRecord(over), null);
    expect(spans().map((span) => [span.attributes['error.type'], span.status.code])).toEqual(
      cases.map(([, type, code]) => [type, code]),
    );
  });

  it('name no method and no path that a client made up, and no secret that it took for an id', () => {
    const { begin, spans } = bench();
    begin('PROPFIND', '').end(requestRecord({ id: 'my-secret' }), null);
    begin('GET', '/v1/models/{model}').end(requestRecord(), null);
    expect(spans().map(({ name }) => name)).toEqual(['HTTP', 'GET /v1/models/{model}']);
    expect(spans()[0]?.attributes).toMatchObject({
      'http.request.method': '_OTHER',
      'vllm_gateway.request_id': 'my-***',
    });
    expect(spans()[0]?.attributes).not.toHaveProperty('url.path');
  });

  it('say where an attempt went, and which one it was', () => {
    const { begin, spans } = bench();
    const request = begin();
    for (const [number, origin] of [
      [1, 'http://127.0.0.1:20001'],
      [2, 'https://engine.example.org'],
      [3, 'http://[::1]'],
    ] as const)
      request.attempt(attemptAt(number, origin)).end('unreachable');
    expect(
      spans().map(({ attributes }) => [
        attributes['url.full'],
        attributes['server.address'],
        attributes['server.port'],
        attributes['http.request.resend_count'],
      ]),
    ).toEqual([
      [`http://127.0.0.1:20001${CHAT}`, '127.0.0.1', 20_001, undefined],
      [`https://engine.example.org${CHAT}`, 'engine.example.org', 443, 1],
      [`http://[::1]${CHAT}`, '::1', 80, 2],
    ]);
  });

  it('have attributes of the GenAI conventions on request only, and only where there is such an operation', () => {
    for (const [on, route, operation] of [
      [true, 'chat_completions', 'chat'],
      [true, 'embeddings', 'embeddings'],
      [true, 'tokenize', undefined],
      [false, 'chat_completions', undefined],
    ] as const) {
      const { begin, spans } = bench(on);
      begin().end(requestRecord({ route, promptTokens: 7, completionTokens: null }), null);
      const attributes = spans()[0]?.attributes ?? {};
      expect(attributes['gen_ai.operation.name']).toBe(operation);
      expect(attributes['gen_ai.usage.input_tokens']).toBe(operation === undefined ? undefined : 7);
      expect(attributes).not.toHaveProperty('gen_ai.usage.output_tokens');
    }
  });
});

describe('the spans of a start', () => {
  it('are its phases, one after the other, and its cause when it fails', () => {
    const { clock, starts, spans, times } = bench();
    starts.begun('llama-1', 'llama');
    clock.advance(SECOND);
    starts.entered('llama-1', 'load');
    clock.advance(2 * SECOND);
    // The wall clock is set back: durations stay what they were.
    clock.jumpWall(-3_600 * SECOND);
    starts.ended('llama-1', 'failed', 'out_of_memory');
    starts.ended('llama-1', 'ready', '');
    starts.entered('llama-1', 'late');
    expect(spans().map((span) => [span.name, ...times(span), span.attributes['error.type']])).toEqual([
      ['launch', 0, 1, undefined],
      ['load', 1, 3, undefined],
      ['start engine', 0, 3, 'out_of_memory'],
    ]);
  });

  it('end when the gateway does, and leave adopted engines out', () => {
    const { starts, spans } = bench();
    starts.entered('adopted', 'load');
    starts.ended('adopted', 'ready', '');
    starts.begun('llama-1', 'llama');
    expect(spans()).toEqual([]);
    starts.close();
    expect(spans().map(({ name }) => name)).toEqual(['launch', 'start engine']);
  });

  it('are remembered for a bounded number of starts', () => {
    const { starts } = bench();
    for (let count = 0; count < 300; count += 1) starts.begun(`replica-${count}`, 'llama');
    expect(starts.contextOf('replica-0')).toBeUndefined();
    expect(starts.contextOf('replica-43')).toBeUndefined();
    expect(starts.contextOf('replica-44')).toBeDefined();
    expect(starts.contextOf('replica-299')).toBeDefined();
  });
});
