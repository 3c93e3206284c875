/** Three gates of workers, of which one alone asks: what the others say of the queue. */
import { expect, it } from 'vitest';
import type { QueueFacts } from '../controller/gate.ts';
import { createTestPlatform } from '../../test/support/test-platform.ts';
import { SECOND } from '../units.ts';
import { QueueNews } from './queue-news.ts';
import { RemoteGate } from './remote-gate.ts';

const LIMITS = { maxQueueSize: 200, maxConcurrent: 50 };
const TOLD_EVERY = SECOND / 4;

function threeGates() {
  const { clock } = createTestPlatform();
  const gates = Array.from({ length: 3 }, () => new RemoteGate(() => undefined));
  for (const gate of gates) gate.setQueues(new Map([['m', { depth: 0, ...LIMITS }]]));
  let depth = 0;
  let looks = 0;
  const queueFacts = (): QueueFacts => {
    looks += 1;
    return { depth, ...LIMITS };
  };
  const tell = (model: string, facts: QueueFacts): void => {
    for (const gate of gates) gate.hear({ kind: 'queued', model, facts });
  };
  const news = new QueueNews({ gate: { queueFacts }, clock, tell });
  return {
    clock,
    news,
    looks: () => looks,
    depths: () => gates.map((gate) => gate.queueFacts('m').depth),
    becomes: (next: number) => void (depth = next),
    /** One of them hears it with an answer of its own. */
    answered: (index: number) => {
      gates[index]?.hear({ kind: 'queued', model: 'm', facts: { depth, ...LIMITS } });
      news.said('m', depth);
    },
  };
}

it('a queue is as long for every worker as it was a quarter of a second ago, whoever asked last', () => {
  const bench = threeGates();
  bench.becomes(7);
  bench.answered(0);
  expect(bench.depths()).toEqual([7, 0, 0]);
  expect(bench.news.present()).toEqual([['m', { depth: 7, ...LIMITS }]]);
  bench.clock.advance(TOLD_EVERY);
  expect(bench.depths()).toEqual([7, 7, 7]);
  bench.becomes(5);
  bench.answered(1);
  bench.becomes(7);
  bench.clock.advance(TOLD_EVERY);
  expect(bench.depths()).toEqual([7, 7, 7]);
  // Those who waited have hung up: nobody is answered.
  bench.becomes(0);
  bench.clock.advance(TOLD_EVERY);
  expect(bench.depths()).toEqual([0, 0, 0]);
  expect(bench.news.present()).toEqual([]);
});

it('nothing is looked at while nobody waits', () => {
  const bench = threeGates();
  bench.answered(2);
  bench.clock.advance(10 * TOLD_EVERY);
  expect(bench.looks()).toBe(0);
  bench.becomes(1);
  bench.answered(2);
  bench.becomes(0);
  bench.clock.advance(10 * TOLD_EVERY);
  expect(bench.looks()).toBe(1);
});
