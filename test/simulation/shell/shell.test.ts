import { describe, expect, it } from 'vitest';
import { runShellSeed } from './run-shell-seed.ts';

/** Beyond the first, those that once showed a fault: of the product, or of a check. */
const SEEDS = [...Array.from({ length: 80 }, (_, index) => index + 1), 484];

/** What these seeds must have met at least once, or they prove little. */
const MARKS = [
  'adopted.starting',
  'asked_again',
  'client.broken',
  'client.left',
  'client.silent',
  'client.whole',
  'code.model_start_failed',
  'code.queue_full',
  'code.queue_timeout',
  'code.shutting_down',
  'code.upstream_lost',
  'code.upstream_protocol_error',
  'code.upstream_unreachable',
  'drained.clean',
  'drained.cut',
  'engine.crash',
  'engine.ignores_term',
  'engine.reset',
  'engine.start_failed',
  'engine.truncated',
  'killed',
  'left.after.before_head',
  'left.bytes.after_head',
  'left.bytes.before_head',
  'outcome.client_closed',
  'outcome.completed',
  'outcome.deadline',
  'outcome.rejected',
  'outcome.shutdown',
  'outcome.upstream_failed',
];

describe('a whole gateway in simulation', () => {
  it(
    `[I-9] [I-16] [I-20] [I-24] [I-57] [I-58] [I-59] [I-62] [I-67] [I-71] [I-96] keeps every promise that its clients and ` +
      `engines can see, in ${SEEDS.length} worlds full of faults, and comes right and to rest when they end`,
    async () => {
      const marks = new Map<string, number>();
      const failures: string[] = [];
      for (const seed of SEEDS) {
        const outcome = await runShellSeed(seed);
        for (const [name, count] of outcome.marks) marks.set(name, (marks.get(name) ?? 0) + count);
        if (outcome.failure) failures.push(`seed ${seed}: ${outcome.failure.id} ${outcome.failure.message}`);
      }
      expect(failures).toEqual([]);
      expect(MARKS.filter((name) => !marks.has(name))).toEqual([]);
    },
    240_000,
  );

  it('[I-100] tells the same story twice for one seed', async () => {
    for (const seed of [3, 24]) {
      const first = await runShellSeed(seed);
      const second = await runShellSeed(seed);
      expect(second.hash).toBe(first.hash);
      expect(second.events).toBe(first.events);
    }
    expect((await runShellSeed(3)).hash).not.toBe((await runShellSeed(4)).hash);
  });
});
