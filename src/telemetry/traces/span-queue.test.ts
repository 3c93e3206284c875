import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../test/support/virtual-clock.ts';
import { SECOND } from '../../units.ts';
import { MAX_QUEUED_SPANS, SpanQueue } from './span-queue.ts';

type Done = Parameters<SpanExporter['export']>[1];

const SENT = { code: 0 };
const REFUSED = { code: 1, error: Object.assign(new Error('the prompt, quoted'), { code: 400 }) };

/** All that the queue asks of a span. */
const span = (traceFlags = 1): ReadableSpan => ({ spanContext: () => ({ traceFlags }) }) as unknown as ReadableSpan;

function bench(exporting: (done: Done) => void): {
  readonly clock: VirtualClock;
  readonly queue: SpanQueue;
  readonly batches: number[];
  readonly failures: (readonly [string, number])[];
  readonly dropped: () => number;
} {
  const clock = new VirtualClock();
  const batches: number[] = [];
  const failures: (readonly [string, number])[] = [];
  let dropped = 0;
  const exporter: SpanExporter = {
    export: (spans, done) => {
      batches.push(spans.length);
      exporting(done);
    },
    shutdown: () => Promise.resolve(),
  };
  const queue = new SpanQueue({
    exporter,
    clock,
    dropped: (spans) => (dropped += spans),
    failed: (reason, spans) => failures.push([reason, spans]),
  });
  return { clock, queue, batches, failures, dropped: () => dropped };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function add(queue: SpanQueue, spans: number): void {
  for (let count = 0; count < spans; count += 1) queue.onEnd(span());
}

describe('the queue of spans', () => {
  it('arms no timer while it is empty, and sends what ended within a second together', async () => {
    const { clock, queue, batches, dropped } = bench((done) => done(SENT));
    expect(clock.pending).toBe(0);
    add(queue, 3);
    expect(clock.pending).toBe(1);
    clock.advance(SECOND);
    await turn();
    expect(batches).toEqual([3]);
    expect(clock.pending).toBe(0);
    expect(dropped()).toBe(0);
  });

  it('leaves out what was not sampled', () => {
    const { clock, queue } = bench((done) => done(SENT));
    queue.onEnd(span(0));
    expect(clock.pending).toBe(0);
  });

  it('sends a full batch at once, and never two at a time', async () => {
    const waiting: Done[] = [];
    const { clock, queue, batches } = bench((done) => waiting.push(done));
    add(queue, 1_100);
    expect(batches).toEqual([512]);
    clock.advance(10 * SECOND);
    await turn();
    expect(batches).toEqual([512]);
    waiting.shift()?.(SENT);
    await turn();
    clock.advance(0);
    await turn();
    expect(batches).toEqual([512, 512]);
    waiting.shift()?.(SENT);
    await turn();
    clock.advance(SECOND);
    await turn();
    expect(batches).toEqual([512, 512, 76]);
  });

  it('drops and counts what finds no room while the collector hangs', () => {
    const { queue, dropped } = bench(() => undefined);
    add(queue, 512 + MAX_QUEUED_SPANS + 7);
    expect(dropped()).toBe(7);
  });

  it('drops and counts what is refused, goes on, and quotes no answer', async () => {
    let refuses = true;
    const { clock, queue, batches, failures, dropped } = bench((done) => done(refuses ? REFUSED : SENT));
    add(queue, 2);
    clock.advance(SECOND);
    await turn();
    expect(dropped()).toBe(2);
    expect(failures).toEqual([['it answered with status 400', 2]]);
    refuses = false;
    add(queue, 1);
    clock.advance(SECOND);
    await turn();
    expect(batches).toEqual([2, 1]);
    expect(dropped()).toBe(2);
  });

  it('takes an exporter that throws for one that refuses', async () => {
    const { clock, queue, failures, dropped } = bench(() => {
      throw new Error('no such thing');
    });
    add(queue, 4);
    clock.advance(SECOND);
    await turn();
    expect(dropped()).toBe(4);
    expect(failures).toEqual([['no such thing', 4]]);
  });

  it('sends the rest when it is closed, and drops what comes later', async () => {
    const { clock, queue, batches, dropped } = bench((done) => done(SENT));
    add(queue, 5);
    await queue.close(2 * SECOND);
    expect(batches).toEqual([5]);
    expect(clock.pending).toBe(0);
    add(queue, 1);
    expect(dropped()).toBe(1);
    expect(clock.pending).toBe(0);
  });

  it('gives up after the limit when it is closed, and counts what was under way once', async () => {
    const waiting: Done[] = [];
    const { clock, queue, failures, dropped } = bench((done) => waiting.push(done));
    add(queue, 600);
    const closed = queue.close(2 * SECOND);
    clock.advance(2 * SECOND - 1);
    await turn();
    expect(dropped()).toBe(0);
    clock.advance(1);
    await closed;
    expect(dropped()).toBe(600);
    waiting.shift()?.(REFUSED);
    await turn();
    expect(dropped()).toBe(600);
    expect(failures).toEqual([['the gateway ends', 600]]);
  });
});
