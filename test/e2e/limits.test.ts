/** Bounds of requests: who runs, who waits, who is turned away, and over how many connections. */
import { setMaxListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { Clients, endOf, percentile, tally } from '../support/clients.ts';
import type { TestGateway } from '../support/in-process-gateway.ts';
import { samplesOf } from '../support/prometheus-text.ts';
import {
  engineStats,
  HELD_START,
  holdEngine,
  letEngineGo,
  metric,
  startFleet,
  statusOf,
  until,
  untilAtRest,
  untilRunning,
  untilWaiting,
} from '../support/simulated-fleet.ts';
import { testWorkers } from '../support/workers.ts';

const THREE = ['one', 'two', 'three'];

/** Duration of the last request that ended with this code, first byte read to answer written, as logged. */
function lastDuration(gateway: TestGateway, code: string): number {
  const line = gateway.lines.findLast((one) => one.includes(`"code":"${code}"`)) ?? '';
  return (JSON.parse(line) as { readonly duration_ms: number }).duration_ms;
}

/** Node warns of what looks like a leak: here a whole crowd leaves by one signal. */
function manyListeners(controller: AbortController): AbortController {
  setMaxListeners(0, controller.signal);
  return controller;
}

/** By result and cause, such as `ready`. */
async function startsOf(gateway: TestGateway): Promise<unknown> {
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  return samplesOf(text)
    .filter(({ name }) => name === 'vllm_gateway_starts_total')
    .map(({ labels, value }) => [labels['result'], labels['cause'], value]);
}

describe('running requests', () => {
  it('are bounded per model, streams until their last byte [S6] [items 28, 39] [I-17]', async () => {
    await using gateway = await startFleet([
      { name: 'small', keys: ['max_concurrent: 3'] },
      { name: 'large', keys: ['max_concurrent: 7'] },
    ]);
    await using clients = new Clients(gateway.url);
    const asking = (index: number) => ({ stream: index % 2 === 0, fake: { tokens: 5, token_ms: 4 } });
    const answers = await Promise.all([clients.chats(40, 'small', asking), clients.chats(40, 'large', asking)]);
    expect(tally(answers.flat().map(endOf))).toEqual({ 200: 80 });
    expect(await engineStats(gateway, 'small')).toMatchObject({ max_running: 3, served: 40 });
    expect(await engineStats(gateway, 'large')).toMatchObject({ max_running: 7, served: 40 });
    for (const { headers } of answers[0]) {
      expect(headers).toMatchObject({ 'x-max-concurrent': '3', 'x-max-queue-size': '200', 'x-queue-max-size': '200' });
      expect(Number(headers['x-queue-depth'])).toBeLessThan(40);
    }
    await untilAtRest(gateway);
  });

  it('of four models with fifty each share a pool for three: no error, and each model progresses [S2] [S16]', async () => {
    const models = [...THREE, 'four'];
    const fleet = models.map((name) => ({ name, knobs: { TTFT_MS: 50 } }));
    await using gateway = await startFleet(fleet, '', { env: { GATEWAY_MAX_MODELS_CONCURRENT: '3' } });
    await using clients = new Clients(gateway.url);
    await Promise.all(models.map((name) => clients.chat(name)));

    const rounds = 4;
    const done = new Map(models.map((name) => [name, 0]));
    const halfway: Record<string, number>[] = [];
    const client = async (name: string): Promise<void> => {
      for (let round = 0; round < rounds; round += 1) {
        const answer = await clients.chat(name);
        expect(endOf(answer)).toBe('200');
        done.set(name, (done.get(name) ?? 0) + 1);
        const total = [...done.values()].reduce((sum, count) => sum + count, 0);
        if (total === (models.length * 50 * rounds) / 2) halfway.push(Object.fromEntries(done));
      }
    };
    // All of them wait or run before the first one ends, so that nobody has a start over the others.
    for (const name of models) await holdEngine(gateway, name);
    const working = Promise.all(models.flatMap((name) => Array.from({ length: 50 }, () => client(name))));
    await until(async () => {
      expect(await metric(gateway, 'in_flight')).toBe(150);
      expect(await metric(gateway, 'queue_depth')).toBe(50);
    });
    // Together: one that is let go late is behind by that alone.
    await Promise.all(models.map((name) => letEngineGo(gateway, name)));
    await working;
    expect([...done.values()]).toEqual(models.map(() => 50 * rounds));
    // Leases go round over the models: nobody is far ahead when half of the work is done.
    for (const count of Object.values(halfway[0] ?? {})) expect(count).toBeGreaterThanOrEqual(50);
    const stats = await Promise.all(models.map((name) => engineStats(gateway, name)));
    for (const { max_running: most } of stats) expect(most).toBeLessThanOrEqual(50);
    await untilAtRest(gateway);
  });

  it('of three models with fifty each use at most 150 connections, and use them again [S2] [S16] [item 148]', async () => {
    await using gateway = await startFleet(THREE.map((name) => ({ name })));
    await using clients = new Clients(gateway.url);
    const round = () =>
      Promise.all(THREE.map((name) => clients.chats(50, name, (index) => ({ stream: index % 2 === 0 }))));
    await round();
    await untilAtRest(gateway);
    const freshBefore = await metric(gateway, 'upstream_requests_total', { reused: 'false' });

    for (let count = 0; count < 5; count += 1) {
      const answers = (await round()).flat();
      expect(tally(answers.map(endOf))).toEqual({ 200: 150 });
    }
    await untilAtRest(gateway);
    const fresh = (await metric(gateway, 'upstream_requests_total', { reused: 'false' })) - freshBefore;
    // Each worker keeps its share of idle connections, and a round need not spread over workers as the one before did.
    expect(fresh / 750).toBeLessThanOrEqual(testWorkers() === 1 ? 0.01 : 0.1);
    const stats = await Promise.all(THREE.map((name) => engineStats(gateway, name)));
    for (const engine of stats) expect(engine.inference_requests).toBe(300);
    const connections = stats.reduce((sum, engine) => sum + engine.inference_connections_total, 0);
    expect(connections).toBeLessThanOrEqual(150 + (testWorkers() === 1 ? 0 : fresh));
    expect(await metric(gateway, 'requests_total', { outcome: 'completed' })).toBe(900);
  });

  it('wait for a cold model without taking a slot from anybody [item 37]', async () => {
    const cold = { name: 'cold', knobs: { FAULT: 'hang_at:load' } };
    await using gateway = await startFleet(
      [cold, { name: 'warm' }],
      'limits: { max_concurrent: 2, max_models_concurrent: 1 }',
    );
    await using clients = new Clients(gateway.url);
    await clients.chat('warm');
    const leave = manyListeners(new AbortController());
    const waiting = Array.from({ length: 40 }, () =>
      clients.chat('cold', { signal: leave.signal }).catch(() => 'left'),
    );
    await untilWaiting(gateway, 'cold', 40);

    expect(tally((await clients.chats(30, 'warm')).map(endOf))).toEqual({ 200: 30 });
    expect((await statusOf(gateway)).models['cold']).toMatchObject({ queued: 40, in_flight: 0, state: 'starting' });
    leave.abort();
    await Promise.all(waiting);
    await untilAtRest(gateway);
  });

  it('of a saturated model do not slow down another one [item 38]', async () => {
    await using gateway = await startFleet([{ name: 'saturated' }, { name: 'calm' }], '', { recount: false });
    await using clients = new Clients(gateway.url);
    await Promise.all([clients.chat('saturated'), clients.chat('calm')]);
    const sampled = async (): Promise<readonly number[]> => {
      const took: number[] = [];
      for (let count = 0; count < 60; count += 1) {
        const answer = await clients.chat('calm');
        expect(endOf(answer)).toBe('200');
        expect(answer.headers['x-vgw-queue-ms']).toBe('0');
        took.push(answer.tookMs);
      }
      return took;
    };
    const alone = await sampled();
    const leave = manyListeners(new AbortController());
    const load = Array.from({ length: 250 }, () =>
      clients.chat('saturated', { fake: { fault: 'hang' }, signal: leave.signal }).catch(() => 'left'),
    );
    await untilRunning(gateway, 'saturated', 50);
    await untilWaiting(gateway, 'saturated', 200);
    const beside = await sampled();
    expect(percentile(beside, 0.5)).toBeLessThan(percentile(alone, 0.5) + 20);
    leave.abort();
    await Promise.all(load);
    await untilAtRest(gateway);
  });
});

describe('a full queue', () => {
  it('turns a request away within ten milliseconds, and counts exactly in a burst [S6] [item 29]', async () => {
    const keys = ['max_concurrent: 1', 'max_queue_size: 100'];
    await using gateway = await startFleet([{ name: 'busy', keys }], '', { recount: false });
    await using clients = new Clients(gateway.url);
    await clients.chat('busy');
    const leave = manyListeners(new AbortController());
    const burst = Array.from({ length: 500 }, () =>
      clients.chat('busy', { fake: { fault: 'hang' }, signal: leave.signal }).catch(() => undefined),
    );
    await untilWaiting(gateway, 'busy', 100);
    await until(async () => expect(await metric(gateway, 'requests_total', { code: 'queue_full' })).toBe(399));
    expect((await statusOf(gateway)).models['busy']).toMatchObject({ queued: 100, in_flight: 1 });

    // With workers the time is that of three processes, of which this one's switches tell nothing.
    const wanted = testWorkers() === 1 ? 300 : 0;
    const undisturbed: number[] = [];
    for (let count = 0; count < 4_000 && undisturbed.length < wanted; count += 1) {
      const before = process.resourceUsage().involuntaryContextSwitches;
      expect(endOf(await clients.chat('busy'))).toBe('429 queue_full');
      const took = lastDuration(gateway, 'queue_full');
      // Where the system gave the processor to somebody else meanwhile, the time says nothing of the gateway.
      if (process.resourceUsage().involuntaryContextSwitches === before) undisturbed.push(took);
    }
    expect(undisturbed.length).toBeGreaterThanOrEqual((wanted * 2) / 3);
    if (wanted > 0) expect(percentile(undisturbed, 0.99)).toBeLessThan(10);
    expect((await statusOf(gateway)).models['busy']).toMatchObject({ queued: 100, in_flight: 1 });
    leave.abort();
    const ends = await Promise.all(burst);
    expect(tally(ends.map((answer) => (answer ? endOf(answer) : 'left')))).toEqual({
      '429 queue_full': 399,
      left: 101,
    });
    await untilAtRest(gateway);
  });

  it('answers a burst of a thousand with 200 or 429, none with 5xx, none never [S6] [item 149]', async () => {
    await using gateway = await startFleet(THREE.map((name) => ({ name })));
    await using clients = new Clients(gateway.url);
    await Promise.all(THREE.map((name) => clients.chat(name)));
    const asked = Array.from({ length: 1_000 }, async (_, index) =>
      clients.chat(THREE[index % 3] ?? '', { nonce: `burst-${index}`, stream: index % 4 === 0 }),
    );
    const answers = await Promise.all(asked);
    const ends = tally(answers.map(endOf));
    expect((ends['200'] ?? 0) + (ends['429 queue_full'] ?? 0)).toBe(1_000);
    expect(ends['200']).toBeGreaterThanOrEqual(3 * 250);
    for (const [index, answer] of answers.entries()) {
      if (answer.status === 200) expect(answer.text).toContain(`nonce:burst-${index}`);
    }
    await untilAtRest(gateway);
    expect(await metric(gateway, 'requests_total')).toBe(1_003);
  });
});

describe('a thousand first requests to a cold model', () => {
  it('start it once and are all answered when the queue is long enough [S8] [item 59]', async () => {
    await using gateway = await startFleet([{ name: 'cold' }], 'limits: { max_queue_size: 1000 }');
    await using clients = new Clients(gateway.url);
    const answers = await clients.chats(1_000, 'cold', (index) => ({ nonce: `first-${index}` }));
    expect(tally(answers.map(endOf))).toEqual({ 200: 1_000 });
    expect(
      answers.filter(
        ({ text }, index) => !text.includes(`nonce:first-${index}"`) && !text.includes(`nonce:first-${index} `),
      ),
    ).toEqual([]);
    expect(await startsOf(gateway)).toEqual([['ready', '', 1]]);
    expect(await engineStats(gateway, 'cold')).toMatchObject({ inference_requests: 1_000, max_running: 50 });
    await untilAtRest(gateway);
  });

  it('with the defaults: exactly 250 are held, and 750 are turned away at once [S6] [S8] [item 29]', async () => {
    await using gateway = await startFleet([{ name: 'cold', knobs: HELD_START }]);
    await using clients = new Clients(gateway.url);
    let answered = 0;
    const asked = Array.from({ length: 1_000 }, async () => {
      const answer = await clients.chat('cold');
      answered += 1;
      return answer;
    });
    await until(() => expect(answered).toBe(750));
    expect((await statusOf(gateway)).models['cold']).toMatchObject({ state: 'starting', queued: 250, in_flight: 0 });
    await letEngineGo(gateway, 'cold');
    expect(tally((await Promise.all(asked)).map(endOf))).toEqual({ 200: 250, '429 queue_full': 750 });
    expect(await startsOf(gateway)).toEqual([['ready', '', 1]]);
    await untilAtRest(gateway);
  });
});
