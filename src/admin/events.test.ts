import { describe, expect, it } from 'vitest';
import { activityEvent, decisionEvent, statusAnswer, viewerEvent } from './contract.ts';
import { EVENT_BUFFER, EVENT_HEARTBEAT } from './event-stream.ts';
import { BodyReader, adminBench } from '../../test/support/admin-bench.ts';
import { requestRecord } from '../../test/support/request-record.ts';

interface Parsed {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: unknown;
}

function eventsOf(text: string): Parsed[] {
  return text
    .split('\n\n')
    .filter((block) => block.includes('event: '))
    .map((block) => {
      const field = (name: string): string | undefined =>
        block
          .split('\n')
          .find((line) => line.startsWith(`${name}: `))
          ?.slice(name.length + 2);
      return { event: field('event') ?? '', id: field('id'), data: JSON.parse(field('data') ?? 'null') as unknown };
    });
}

describe('GET /gateway/events', () => {
  it('sends a snapshot, then one event per decision', async () => {
    const bench = await adminBench();
    const response = await bench.ask('/gateway/events');
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const reader = new BodyReader(response);
    await reader.until('event: snapshot');
    bench.control.decide({ kind: 'replica.reserved', model: 'llama', replica: 'llama-1', reason: 'a request waits' });
    bench.control.decide({ kind: 'replica.ready', detail: { seconds: 4 } });
    const events = eventsOf(await reader.until('replica.ready'));
    expect(events.map(({ event, id }) => [event, id])).toEqual([
      ['snapshot', undefined],
      ['decision', '1'],
      ['decision', '2'],
    ]);
    expect(statusAnswer.parse(events[0]?.data)).toEqual(events[0]?.data);
    expect(decisionEvent.parse(events[1]?.data)).toEqual({
      seq: 1,
      at: '2026-01-21T12:53:20.000Z',
      kind: 'replica.reserved',
      model: 'llama',
      replica: 'llama-1',
      reason: 'a request waits',
      detail: {},
    });
    expect(decisionEvent.parse(events[2]?.data)).toEqual(events[2]?.data);
    await reader.cancel();
  });

  it('tells a subscriber that comes back what it missed', async () => {
    const bench = await adminBench();
    for (const kind of ['one', 'two', 'three']) bench.control.decide({ kind });
    const reader = new BodyReader(await bench.ask('/gateway/events', { headers: { 'last-event-id': '1' } }));
    const events = eventsOf(await reader.until('three'));
    expect(events.map(({ id }) => id)).toEqual([undefined, '2', '3']);
    const fresh = new BodyReader(await bench.ask('/gateway/events', { headers: { 'last-event-id': 'abc' } }));
    bench.control.decide({ kind: 'four' });
    expect(eventsOf(await fresh.until('four')).map(({ id }) => id)).toEqual([undefined, '4']);
    await Promise.all([reader.cancel(), fresh.cancel()]);
  });

  it('ends after what there is, with follow=false', async () => {
    const bench = await adminBench();
    bench.control.decide({ kind: 'one' });
    const response = await bench.ask('/gateway/events?follow=false', { headers: { 'last-event-id': '0' } });
    expect(eventsOf(await response.text()).map(({ event }) => event)).toEqual(['snapshot', 'decision']);
    expect(bench.control.listeners.size).toBe(0);
  });

  it('goes on with snapshots, sums of what happened and what the listener may do, for who asks', async () => {
    const bench = await adminBench();
    const before = bench.clock.pending;
    bench.telemetry.requestEnded(requestRecord({ model: 'llama', firstByteMs: 250, completionTokens: 21 }));
    const reader = new BodyReader(await bench.ask('/gateway/events?snapshots=1.5'));
    const first = eventsOf(await reader.until('event: snapshot'));
    expect(first.map(({ event }) => event)).toEqual(['viewer', 'activity', 'snapshot']);
    expect(viewerEvent.parse(first[0]?.data)).toEqual({ admin: true, inference: true });
    expect(activityEvent.parse(first[1]?.data)).toMatchObject({
      models: { llama: { requests: 1, unfinished: 0, first_bytes: 1, first_byte_s: 0.25, completion_tokens: 21 } },
    });
    for (let round = 2; round <= 4; round += 1) {
      bench.clock.advance(1_500);
      bench.control.decide({ kind: `round-${round}` });
      const events = eventsOf(await reader.until(`round-${round}`));
      expect(events.filter(({ event }) => event === 'snapshot')).toHaveLength(round);
      expect(events.filter(({ event }) => event === 'activity')).toHaveLength(round);
    }
    await reader.cancel();
    expect(bench.clock.pending).toBe(before);
  });

  it('tells a listener without the role admin that it may only look', async () => {
    const bench = await adminBench(undefined, { GATEWAY_AUTH: 'none', GATEWAY_ADMIN_KEY: 'admin-key-1234' });
    const reader = new BodyReader(await bench.ask('/gateway/events?snapshots=1'));
    expect(eventsOf(await reader.until('event: viewer'))[0]?.data).toEqual({ admin: false, inference: true });
    const headers = { authorization: 'Bearer admin-key-1234' };
    const operator = new BodyReader(await bench.ask('/gateway/events?snapshots=1', { headers }));
    expect(eventsOf(await operator.until('event: viewer'))[0]?.data).toEqual({ admin: true, inference: true });
    await Promise.all([reader.cancel(), operator.cancel()]);
  });

  it.each(['', '0', '0.1', '61', '-1', '1e1', 'x'])('refuses %j as a time between snapshots', async (text) => {
    const response = await (await adminBench()).ask(`/gateway/events?snapshots=${text}`);
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('from 0.5 to 60');
  });

  it('beats while nothing happens', async () => {
    const bench = await adminBench();
    const reader = new BodyReader(await bench.ask('/gateway/events'));
    await reader.until('event: snapshot');
    for (let round = 1; round <= 3; round += 1) {
      bench.clock.advance(EVENT_HEARTBEAT);
      await reader.until(': heartbeat\n\n'.repeat(round));
    }
    await reader.cancel();
  });

  it('leaves nothing behind when the subscriber goes', async () => {
    const bench = await adminBench();
    const before = bench.clock.pending;
    const reader = new BodyReader(await bench.ask('/gateway/events'));
    expect(bench.control.listeners.size).toBe(1);
    expect(bench.clock.pending).toBe(before + 1);
    await reader.cancel();
    expect(bench.control.listeners.size).toBe(0);
    expect(bench.clock.pending).toBe(before);
    bench.control.decide({ kind: 'unheard' });
  });

  it('ends when the control plane closes', async () => {
    const bench = await adminBench();
    const reader = new BodyReader(await bench.ask('/gateway/events'));
    bench.control.decide({ kind: 'last' });
    bench.admin.close();
    expect(await reader.end()).toContain('last');
    expect(bench.control.listeners.size).toBe(0);
  });

  it('cuts off a subscriber that does not read, with a word, and keeps no more than the buffer', async () => {
    const bench = await adminBench();
    const response = await bench.ask('/gateway/events');
    const reason = 'x'.repeat(10_000);
    for (let index = 0; index < 1_000; index += 1) bench.control.decide({ kind: 'replica.ready', reason });
    expect(bench.control.listeners.size).toBe(0);
    const text = await new BodyReader(response).end();
    expect(text.endsWith('event: overflow\ndata: {}\n\n')).toBe(true);
    expect(text.length).toBeLessThan(EVENT_BUFFER + 20_000);
  });

  it('never lets one slow subscriber cost the others', async () => {
    const bench = await adminBench();
    const slow = await bench.ask('/gateway/events');
    const quick = new BodyReader(await bench.ask('/gateway/events'));
    const reason = 'y'.repeat(10_000);
    for (let index = 1; index <= 130; index += 1) {
      bench.control.decide({ kind: 'replica.ready', reason });
      await quick.until(`id: ${index}\n`);
    }
    expect(bench.control.listeners.size).toBe(1);
    await Promise.all([quick.cancel(), slow.body?.cancel()]);
  });
});
