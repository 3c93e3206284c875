import { describe, expect, it } from 'vitest';
import { Story } from '../../../test/simulation/story.ts';
import { simulatedModel } from '../../../test/simulation/scenario.ts';
import { comingStart, type ComingStart } from '../lifecycle/forecast.ts';
import type { StartTimes } from '../lifecycle/start-times.ts';

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
    const longest = hint(200, 1, 100_000);
    expect(longest).toBeLessThanOrEqual(60_000);
    expect(longest).toBeGreaterThanOrEqual(45_000);
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

  it('differs where a minute is less than it takes, too: behind a long line, and during a start of ten minutes [I-14]', () => {
    const slow = { maxQueueSize: 50, maxConcurrent: 1 };
    const busy = new Story({ models: [simulatedModel('m', slow)] });
    busy.ask('m', 1, { workMs: 100_000 });
    busy.untilAnswered(1);
    busy.ask('m', 100, { workMs: 100_000 });
    const cold = new Story({ models: [simulatedModel('m', slow, { loadMs: 600_000 })] });
    const signature = { specHash: 'm#0', image: null, deviceClass: 'card of 24 GiB', tensorParallel: 1 };
    const times = [{ model: 'm', signature, phases: [{ phase: 'launched', lasted: 600_000 }] }];
    cold.world.kernel.step({ kind: 'start_times.loaded', times });
    cold.ask('m', 1);
    cold.run(1);
    cold.ask('m', 100);
    for (const story of [busy, cold]) {
      const told = story.errors().map((error) => error.retryAfterMs ?? 0);
      expect(told.length).toBeGreaterThan(40);
      expect(new Set(told).size).toBeGreaterThan(40);
      expect(Math.max(...told)).toBeLessThanOrEqual(60_000);
      expect(Math.min(...told)).toBeGreaterThanOrEqual(45_000);
    }
  });
});

describe('Retry-After during a start', () => {
  /** All who are told to come back `seconds` after a start began that takes about 40 s; and when that start was over. */
  function hintsAt(span: number, experienced: boolean): { readonly told: readonly number[]; readonly left: number } {
    const limits = { maxQueueSize: 10, maxConcurrent: 10 };
    const story = new Story({ models: [simulatedModel('m', limits, { loadMs: 40_000 })] });
    if (experienced) {
      story.ask('m', 1, { workMs: 1 });
      story.untilAnswered(1);
      story.world.kernel.step({ kind: 'model.unload', model: 'm', reason: 'unload' });
      story.until('it is gone', () => story.state.replicas.size === 0);
    }
    story.ask('m', 20, { workMs: 10 * 60_000 });
    story.until('it starts', () => story.phase('m') === 'starting');
    story.run(span);
    const at = story.now;
    story.ask('m', 40);
    story.run(1);
    const told = story.errors().map((error) => error.retryAfterMs ?? 0);
    story.untilReady('m');
    return { told, left: story.now - at };
  }

  it('is not before the start is over, as earlier ones tell, and spreads who comes then', () => {
    for (const span of [1_000, 15_000, 25_000]) {
      const { told, left } = hintsAt(span, true);
      expect(told).toHaveLength(40);
      // Starts of this world differ by a fifth to either side.
      for (const hint of told) expect(hint).toBeGreaterThan(0.6 * left);
      for (const hint of told) expect(hint).toBeLessThanOrEqual(Math.min(60_000, 1.5 * 1.5 * left + 5_000));
      expect(Math.max(...told) / Math.min(...told)).toBeGreaterThan(1.2);
    }
  });

  it('comes down as the start goes on', () => {
    const mean = (span: number): number => hintsAt(span, true).told.reduce((sum, hint) => sum + hint, 0) / 40;
    expect(mean(30_000)).toBeLessThan(0.6 * mean(1_000));
  });

  it('is a guess on a first start, whose length nobody knows', () => {
    for (const hint of hintsAt(1_000, false).told) {
      expect(hint).toBeGreaterThanOrEqual(7_500);
      expect(hint).toBeLessThanOrEqual(12_500);
    }
  });

  /** What those are told who ask once it is so far, and what is known of the start then. */
  function hintsOnce(loaded: readonly StartTimes[], so: (story: Story) => boolean): readonly [number[], ComingStart] {
    const settings = { maxQueueSize: 10, maxConcurrent: 10 };
    const story = new Story({ models: [simulatedModel('m', settings, { loadMs: 60_000 })] });
    story.world.kernel.step({ kind: 'start_times.loaded', times: loaded });
    story.ask('m', 20);
    story.until('it is so far', () => so(story));
    story.ask('m', 40);
    const model = story.state.models.get('m');
    const coming = model && comingStart(story.state, model, story.now);
    story.run(1);
    if (!coming) throw new Error('it does not start');
    return [story.errors().map((error) => error.retryAfterMs ?? 0), coming];
  }

  function expectHints(hints: readonly number[], least: number): void {
    expect(hints).toHaveLength(40);
    for (const hint of hints) expect(hint).toBeGreaterThanOrEqual(Math.floor(least) - 1);
    for (const hint of hints) expect(hint).toBeLessThanOrEqual(1.5 * least + 1);
  }

  it('goes by the bar of the present phase where that is all that is known', () => {
    const [hints, coming] = hintsOnce([], (story) => story.current('m')?.progress?.fraction === 0.5);
    expect(coming.phaseLeft).toBeGreaterThan(15_000);
    expectHints(hints, coming.phaseLeft ?? NaN);
  });

  it('goes by the whole of earlier starts when one is later than all of them', () => {
    const signature = { specHash: 'm#0', image: null, deviceClass: 'card of 24 GiB', tensorParallel: 1 };
    const times = { model: 'm', signature, phases: [{ phase: 'launch', lasted: 2_000 }] };
    const late = (story: Story): boolean => story.now - (story.current('m')?.launchedAt ?? Infinity) > 6_000;
    const [hints, coming] = hintsOnce([times], late);
    expect(coming).toMatchObject({ stage: 'starting', phase: 'launched', left: null, phaseLeft: null });
    expectHints(hints, 2_000);
  });
});
