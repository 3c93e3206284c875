import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RETRY_FLOOR, RETRY_SHARE, RetryWindow, withdrawRetry } from './retry-budget.ts';

const WINDOW = 10_000;

const happening = fc.record({
  after: fc.integer({ min: 0, max: 1_500 }),
  what: fc.constantFrom('request' as const, 'request' as const, 'retry' as const),
  model: fc.integer({ min: 0, max: 2 }),
  ticket: fc.integer({ min: 0, max: 6 }),
});

describe('the retry budget', () => {
  it('[S4] allows over any ten seconds a fifth of the requests in sight and a floor per model, never more', () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 300 }), fc.integer({ min: 1, max: 6 }), (happenings, attempts) => {
        const fleet = new RetryWindow();
        const models = [new RetryWindow(), new RetryWindow(), new RetryWindow()];
        const requests: number[] = [];
        const retries: { at: number; model: number }[] = [];
        let now = 0;
        for (const { after, what, model: index, ticket } of happenings) {
          now += after;
          const model = models[index] ?? fleet;
          if (what === 'request') {
            model.countRequest(now);
            fleet.countRequest(now);
            requests.push(now);
            continue;
          }
          if (!withdrawRetry({ ticketId: `t${index}-${ticket}`, attempts, model, fleet, now })) continue;
          retries.push({ at: now, model: index });
          const recent = retries.filter(({ at }) => at > now - WINDOW);
          const seen = requests.filter((at) => at > now - 2 * WINDOW).length;
          const floor = new Set(recent.map((retry) => retry.model)).size * Math.max(RETRY_FLOOR, attempts - 1);
          expect(recent.length).toBeLessThanOrEqual(seen * RETRY_SHARE + floor);
        }
      }),
    );
  });

  it('[S4] [item 47] always gives a ticket that is alone in retrying its model all of its attempts', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 }), fc.nat(100_000), (attempts, now) => {
        const fleet = new RetryWindow();
        const model = new RetryWindow();
        // The fleet has spent its share long ago.
        for (let index = 0; index < 50; index += 1) fleet.countRetry(now, 'others');
        for (let attempt = 1; attempt < attempts; attempt += 1) {
          expect(withdrawRetry({ ticketId: 't', attempts, model, fleet, now })).toBe(true);
        }
      }),
    );
  });

  it('refuses the fourth retry of a model in ten seconds that come from several tickets and few requests', () => {
    const fleet = new RetryWindow();
    const model = new RetryWindow();
    const ask = (ticketId: string, now: number): boolean => withdrawRetry({ ticketId, attempts: 3, model, fleet, now });
    expect(['a', 'b', 'c', 'd'].map((ticketId) => ask(ticketId, 950))).toEqual([true, true, true, false]);
    expect(ask('e', 10_900)).toBe(false);
    expect(ask('e', 12_000)).toBe(true);
  });

  it('gives no retry away when it refuses', () => {
    const fleet = new RetryWindow();
    const model = new RetryWindow();
    for (let index = 0; index < 100; index += 1)
      withdrawRetry({ ticketId: `t${index}`, attempts: 3, model, fleet, now: 0 });
    expect(model.retries).toBe(RETRY_FLOOR);
    expect(fleet.retries).toBe(RETRY_FLOOR);
  });
});
