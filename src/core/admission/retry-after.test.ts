import { describe, expect, it } from 'vitest';
import { Story } from '../../../test/simulation/story.ts';
import { simulatedModel } from '../../../test/simulation/scenario.ts';

/** Retry-After of a request that meets a full line of this length, with slots that each take this long. */
function hint(waiting: number, slots: number, workMs: number): number {
  const story = new Story({ models: [simulatedModel('m', { maxQueueSize: waiting, maxConcurrent: slots })] });
  story.ask('m', slots, { workMs });
  story.untilAnswered(slots);
  story.ask('m', slots + waiting, { workMs });
  story.ask('m');
  const error = story.errors().at(-1);
  expect(error?.code).toBe('queue_full');
  return error?.retryAfterMs ?? 0;
}

describe('Retry-After', () => {
  it('is how long the line takes at the pace at which leases end, give or take a quarter [I-14]', () => {
    for (const [waiting, slots, workMs] of [
      [10, 1, 2_000],
      [40, 4, 1_000],
      [100, 50, 10_000],
    ] as const) {
      const expected = (waiting / slots) * workMs;
      const told = hint(waiting, slots, workMs);
      expect(told).toBeGreaterThanOrEqual(0.75 * expected);
      expect(told).toBeLessThanOrEqual(1.25 * expected + 100);
    }
  });

  it('[item 29] lies between one second and one minute', () => {
    expect(hint(1, 50, 100)).toBe(1_000);
    expect(hint(200, 1, 100_000)).toBe(60_000);
  });

  it('is not fooled by leases that end in one moment', () => {
    // Fifty end together every ten seconds: five a second, not a thousand.
    expect(hint(200, 50, 10_000)).toBeGreaterThan(20_000);
  });

  it('differs from client to client, so that they do not come back together [I-14]', () => {
    const story = new Story({ models: [simulatedModel('m', { maxQueueSize: 10, maxConcurrent: 1 })] });
    story.ask('m', 100);
    expect(new Set(story.errors().map((error) => error.retryAfterMs)).size).toBeGreaterThan(40);
  });
});
