import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generate } from './generate.ts';
import { runScenario } from './run-scenario.ts';
import type { Regression } from './shrink.ts';

const SEEDS = 200;
const REGRESSIONS = join(import.meta.dirname, 'regressions');

/** What two hundred seeds must have met at least once, or they prove little. */
const MARKS = [
  'cut:drain_timeout',
  'cut:shutting_down',
  'cut:upstream_timeout',
  'device.overrun',
  'device.seen',
  'device.silent',
  'devices_seen',
  'end:abandoned',
  'end:client_closed',
  'end:model_backing_off',
  'end:model_start_failed',
  'end:no_capacity',
  'end:queue_full',
  'end:queue_timeout',
  'end:shutting_down',
  'grant.after_return',
  'killed',
  'model.prepare_cancelled',
  'model.prepare_failed',
  'model.prepared',
  'model.restored',
  'reload.device_lost',
  'reload.removed',
  'reload.spec',
  'replica.abandoned',
  'replica.disturbed',
  'replica.evicted',
  'replica.fenced',
  'replica.idle',
  'replica.measured',
  'replica.not_adopted',
  'replica.stuck',
  'replica.withdrawn',
  'retry.budget_empty',
  'retry.granted',
  'stop:crashed',
  'stop:reload',
  'stop:stalled',
  'stop:unhealthy',
  'stop:unload',
];

describe('the fleet in simulation', () => {
  it(`keeps every promise in ${SEEDS} worlds full of faults, and comes right when they end`, () => {
    const marks = new Map<string, number>();
    const failures: string[] = [];
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const outcome = runScenario(generate(seed));
      for (const [name, count] of outcome.marks) marks.set(name, (marks.get(name) ?? 0) + count);
      if (outcome.failure) failures.push(`seed ${seed}: ${outcome.failure.message}`);
    }
    expect(failures).toEqual([]);
    expect(MARKS.filter((name) => !marks.has(name))).toEqual([]);
  }, 180_000);

  it('tells the same story twice for one seed', () => {
    for (const seed of [3, 77, 191]) {
      const first = runScenario(generate(seed));
      const second = runScenario(generate(seed));
      expect(second.hash).toBe(first.hash);
      expect(second.events).toBe(first.events);
    }
    expect(runScenario(generate(3)).hash).not.toBe(runScenario(generate(4)).hash);
  });

  it('runs any part of a schedule', () => {
    const scenario = generate(12);
    for (const keep of [0, 1, 2]) {
      const intents = scenario.intents.filter((_, index) => index % 3 === keep);
      expect(runScenario({ ...scenario, intents }).failure).toBeNull();
    }
  });
});

describe('worlds that once broke a promise', () => {
  for (const file of readdirSync(REGRESSIONS)) {
    const regression = JSON.parse(readFileSync(join(REGRESSIONS, file), 'utf8')) as Regression;
    it(`keeps ${regression.violation} in ${file.replace('.json', '')}`, () => {
      expect(runScenario(regression.scenario).failure).toBeNull();
    });
  }
});
