import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generate } from './generate.ts';
import { MARKS } from './marks.ts';
import { runScenario } from './run-scenario.ts';
import type { Regression } from './shrink.ts';

const REGRESSIONS = join(import.meta.dirname, 'regressions');

/** Small worlds, and some of those that are like life. */
const SEEDS = Array.from({ length: 240 }, (_, index) => index + 1).filter((seed) => seed % 4 !== 1 || seed < 32);

/** So rare that only the long form (`--marks --minutes 20`) is sure to meet them. */
const RARE: ReadonlySet<string> = new Set([
  'footprint.doubted',
  'model.resized',
  'model.restored',
  'reload.slots_shrunk_in_use',
]);

describe('the fleet in simulation', () => {
  it(`keeps every promise in ${SEEDS.length} worlds full of faults, and comes right when they end`, () => {
    const marks = new Set<string>();
    const failures: string[] = [];
    for (const seed of SEEDS) {
      const outcome = runScenario(generate(seed));
      for (const name of outcome.marks.keys()) marks.add(name);
      if (outcome.failure) failures.push(`seed ${seed}: ${outcome.failure.message}`);
    }
    expect(failures).toEqual([]);
    expect(Object.keys(MARKS).filter((name) => !marks.has(name) && !RARE.has(name))).toEqual([]);
  }, 180_000);

  it('tells the same story twice for one seed', () => {
    for (const seed of [3, 5, 78, 191]) {
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
      expect(runScenario(regression.scenario, { checkEvery: 1 }).failure).toBeNull();
    });
  }
});
