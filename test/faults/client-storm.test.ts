/** A crowd that asks for ten times of what can be served, each of it again and again at once. */
import { expect, it } from 'vitest';
import { Clients, endOf, tally } from '../support/clients.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { faultGateway, atRest } from '../support/fault-gateway.ts';
import { simulatedYaml } from '../support/simulated-fleet.ts';

const SLOTS = 2;
/** So long that the storm, which runs on the same processors, takes little of them. */
const SERVICE_MS = 800;
const WINDOW_MS = 6_000;
const OVERLOAD = 10;
/** Tries of one client, the first one included. */
const TRIES = 3;
const GOOD_SHARE = 0.9;

interface Served {
  /** When its last byte came. */
  readonly at: number;
  readonly end: string;
}

/** How many were served in a window that begins now, and how each request ended. */
async function measured(run: (until: number, note: (end: string) => void) => Promise<unknown>): Promise<{
  readonly good: number;
  readonly ends: Readonly<Record<string, number>>;
}> {
  const all: Served[] = [];
  const until = performance.now() + WINDOW_MS;
  await run(until, (end) => all.push({ at: performance.now(), end }));
  return {
    good: all.filter(({ at, end }) => end === '200' && at <= until).length,
    ends: tally(all.map(({ end }) => end)),
  };
}

it('[F34] what is served under a storm of retries is nine tenths of what can be served, and all others are told so', async () => {
  const keys = [`max_concurrent: ${SLOTS}`, 'max_queue_size: 8'];
  const yaml = simulatedYaml([{ name: 'one', knobs: { TTFT_MS: SERVICE_MS, TOKEN_MS: 1 }, keys }]);
  const storm = await faultGateway({ yaml });
  const { gateway, clients } = storm;
  const id = gateway.gatewayId ?? '';
  try {
    expect(endOf(await clients.chat('one'))).toBe('200');
    const calm = await measured((until, note) => {
      const one = async (): Promise<void> => {
        while (performance.now() < until) note(endOf(await clients.chat('one')));
      };
      return Promise.all(Array.from({ length: 2 * SLOTS }, one));
    });
    expect(Object.keys(calm.ends)).toEqual(['200']);
    const capacity = calm.good;
    expect(capacity).toBeGreaterThan(6);

    await using crowd = new Clients(gateway.url);
    const stormy = await measured(async (until, note) => {
      const one = async (): Promise<void> => {
        for (let tries = 0; tries < TRIES; tries += 1) {
          const end = endOf(await crowd.chat('one'));
          note(end);
          if (end === '200') return;
        }
      };
      const asked: Promise<void>[] = [];
      const offered = capacity * OVERLOAD;
      const began = performance.now();
      while (asked.length < offered) {
        // As many as were due by now, however late the timer is.
        const due = Math.min(offered, Math.ceil(((performance.now() - began) / WINDOW_MS) * offered));
        while (asked.length < due) asked.push(one());
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      expect(performance.now()).toBeGreaterThan(until - WINDOW_MS / 10);
      await Promise.all(asked);
    });
    expect(Object.keys(stormy.ends).toSorted()).toEqual(['200', '429 queue_full']);
    expect(stormy.ends['429 queue_full']).toBeGreaterThan(capacity * OVERLOAD);
    expect(stormy.good).toBeGreaterThanOrEqual(Math.floor(capacity * GOOD_SHARE));
    await atRest(gateway);
    expect(endOf(await clients.chat('one'))).toBe('200');
  } finally {
    await storm[Symbol.asyncDispose]();
  }
  await noEngineLeft(id);
});
