import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ScheduledFleet, type Model } from './scheduled-fleet.ts';

const RUNS = { numRuns: 100 };

type Act =
  'ask a' | 'ask b' | 'leave' | 'done' | 'give back' | 'crash' | 'unload' | 'load' | 'time' | 'end' | 'fail' | 'mend';

function perform(world: ScheduledFleet, act: Act, which: number): void {
  const { controller, platform } = world.fleet;
  const asker = world.askers[which % Math.max(1, world.askers.length)];
  switch (act) {
    case 'ask a':
    case 'ask b':
      return world.ask(act.slice(-1) as Model);
    case 'leave':
      return asker?.leave();
    case 'done':
      return asker?.done();
    case 'give back':
      return asker?.giveBack();
    case 'crash':
      return world.crash();
    case 'unload':
      return controller.post({ kind: 'model.unload', model: 'a', reason: 'unload' });
    case 'load':
      return controller.post({ kind: 'model.load', model: 'a' });
    case 'time':
      return void platform.clock.runNext();
    case 'end':
      return world.end();
    case 'fail':
    case 'mend':
      world.launchFails = act === 'fail';
  }
}

/** In every order: whoever asks is told once, and in the end nothing is left. */
function property(acts: readonly Act[], after: (world: ScheduledFleet) => void = () => undefined): Promise<void> {
  const step = fc.tuple(fc.constantFrom(...acts), fc.nat(20));
  const steps = fc.array(step, { minLength: 4, maxLength: 24 });
  return fc.assert(
    fc.asyncProperty(fc.scheduler(), steps, async (scheduler, plan) => {
      const world = new ScheduledFleet(scheduler);
      world.ask('a');
      await world.run(plan.map(([act, which]) => [act, () => perform(world, act, which)] as const));
      await world.comesToRest();
      for (const { told, gone } of world.askers) expect(told).toHaveLength(gone ? 0 : 1);
      after(world);
      await world.endsWell();
    }),
    RUNS,
  );
}

describe('in every order of asking, leaving, granting and ending', () => {
  it(
    '[I-4] [I-12] [I-81] everybody is told once or has left, and who left is not told',
    () => property(['ask a', 'ask a', 'leave', 'done', 'time']),
    60_000,
  );

  it(
    '[I-26] any number of requests for a cold model starts it once',
    () => property(['ask a', 'ask a', 'ask a', 'leave', 'done'], ({ launched }) => expect(launched).toHaveLength(1)),
    60_000,
  );

  it(
    '[I-16] [I-18] leases of crashed engines end once, and never count against the next engine',
    () => property(['ask a', 'ask a', 'done', 'crash', 'leave', 'time']),
    60_000,
  );

  it(
    '[I-74] a request that its engine gives back is told again, once',
    () => property(['ask a', 'ask b', 'give back', 'give back', 'crash', 'done', 'time']),
    60_000,
  );

  it(
    '[I-19] [I-30] a grant is never of an engine that is leaving, and no request waits for one',
    () => property(['ask a', 'ask a', 'unload', 'load', 'done', 'leave', 'time']),
    60_000,
  );

  it(
    '[I-31] a start that fails fails or keeps all who wait for it, and frees what it had',
    () => property(['ask a', 'ask b', 'fail', 'mend', 'crash', 'leave', 'done', 'time']),
    60_000,
  );

  it(
    '[I-84] a shutdown in the middle of anything tells everybody and ends every engine',
    () => property(['ask a', 'ask b', 'end', 'done', 'leave', 'crash', 'unload', 'give back', 'time']),
    60_000,
  );

  it(
    "two models that take each other's place never lose a request",
    () => property(['ask a', 'ask b', 'ask b', 'done', 'leave', 'time', 'time']),
    60_000,
  );
});
