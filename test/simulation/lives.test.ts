import { describe, expect, it } from 'vitest';
import type { FleetEvent } from '../../src/core/events.ts';
import { GIB } from '../../src/units.ts';
import { simulatedDevice, simulatedModel } from './scenario.ts';
import { Story } from './story.ts';

describe('idleness', () => {
  it('[items 79, 80] [S10] counts from the last byte of the last request, never with work in flight', () => {
    const story = new Story({ models: [simulatedModel('m', { inactivityTimeout: 60_000 })] });
    story.ask('m', 1, { workMs: 300_000 });
    story.untilReady('m');
    story.untilAnswered(1);
    const done = story.now;
    story.until('idle', () => story.decisions('replica.idle').length > 0);
    expect(story.now - done).toBe(60_000);
    story.until('gone', () => story.state.replicas.size === 0);
  });

  it('[item 79] never stops one with inactivity_timeout 0, nor one that is always on', () => {
    const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
    const story = new Story({
      devices,
      models: [
        simulatedModel('zero', { inactivityTimeout: 0, deviceIds: ['gpu-0'] }),
        simulatedModel('always', { inactivityTimeout: 1_000, alwaysOn: true, deviceIds: ['gpu-1'] }),
      ],
    });
    story.ask('zero');
    story.untilAnswered(1);
    story.run(24 * 3_600_000);
    expect([story.phase('zero'), story.phase('always')]).toEqual(['ready', 'ready']);
  });

  it('[S10] lets a request that comes in the very moment of the time-out win or wait, never fail', () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const story = new Story({ seed, models: [simulatedModel('m', { inactivityTimeout: 60_000 })] });
      story.ask('m');
      story.untilAnswered(1);
      story.world.kernel.after(60_000, () => story.ask('m', 3));
      story.untilAnswered(4);
      expect(story.tally()).toEqual({ completed: 4 });
    }
  });

  it('counts a request that was never granted as no use', () => {
    const story = new Story({
      models: [simulatedModel('m', { inactivityTimeout: 60_000 }), simulatedModel('n', { deviceCount: 0 })],
      limits: { maxInFlight: 1, maxTurn: 60_000, minResidency: 90_000, drainTimeout: 300_000 },
    });
    story.ask('m');
    story.untilAnswered(1);
    const done = story.now;
    story.ask('n', 1, { workMs: 500_000 });
    story.untilReady('n');
    // The only lease is in use: this one waits, and leaves.
    story.ask('m', 1, { leavesAfter: 10_000 });
    story.until('idle', () => story.decisions('replica.idle').length > 0);
    expect(story.now - done).toBeLessThan(70_000);
  });
});

describe('eviction', () => {
  it('evicts the least recently used of two for a third model, although it is younger than min_residency', () => {
    const models = ['one', 'two', 'three'].map((name) => simulatedModel(name, { memory: 10 * GIB }, { loadMs: 2_000 }));
    const story = new Story({ models });
    for (const model of ['one', 'two']) {
      story.ask(model, 1, { workMs: 100 });
      story.untilReady(model);
      story.run(1_000);
    }
    story.run(1_000);
    expect(story.now).toBeLessThan(20_000);
    story.ask('three');
    expect(story.decisions('replica.evicted').map((decision) => decision.model)).toEqual(['one']);
    story.untilAnswered(3);
    expect(story.tally()).toEqual({ completed: 3 });
    expect([story.phase('one'), story.phase('two'), story.phase('three')]).toEqual(['none', 'ready', 'ready']);
  });

  it('[item 105] waits for a short rest of a young one, and takes an old one first', () => {
    const models = ['old', 'young', 'new'].map((name) => simulatedModel(name, { memory: 10 * GIB }, { loadMs: 2_000 }));
    const story = new Story({ models });
    story.ask('old', 1, { workMs: 100 });
    story.run(100_000);
    story.ask('young', 1, { workMs: 100 });
    story.untilReady('young');
    // The old one was used last and still leaves first.
    story.run(2_000);
    story.ask('old');
    story.untilAnswered(3);
    story.run(2_000);
    story.ask('new');
    expect(story.decisions('replica.evicted').map((decision) => decision.model)).toEqual(['old']);
  });

  it('[items 78, 85] never evicts or fences a pinned one, and says who holds the memory', () => {
    const story = new Story({ models: ['a', 'b'].map((name) => simulatedModel(name)) });
    story.act({ kind: 'pin', model: 'a' });
    story.untilReady('a');
    story.run(200_000);
    story.ask('b', 3);
    expect(story.tally('b')).toEqual({ no_capacity: 3 });
    expect(story.errors()[0]?.message).toContain('a (21.6GiB, pinned)');
    expect(story.errors()[0]?.shouldRetry).toBe(true);
    story.act({ kind: 'unpin', model: 'a' });
    story.ask('b');
    story.until('b', () => story.tally('b')['completed'] === 1);
  });

  it('refuses at once, for good, what no device can ever hold', () => {
    const story = new Story({ models: [simulatedModel('m', { memory: 100 * GIB })] });
    story.ask('m', 2);
    expect(story.tally()).toEqual({ no_capacity: 2 });
    expect(story.errors()[0]).toMatchObject({ shouldRetry: false });
  });

  it('[items 62, 76] keeps a newcomer from launching until the memory of its victim is seen back', () => {
    const story = new Story({ models: ['a', 'b'].map((name) => simulatedModel(name)) });
    story.ask('a');
    story.untilAnswered(1);
    story.run(100_000);
    story.act({ kind: 'stop_fault', model: 'a', fault: 'slow', lastsMs: 25_000 });
    story.ask('b');
    story.run(20_000);
    expect(story.phase('b')).toBe('reserved');
    story.untilAnswered(2);
    const gone = story.decisions('replica.gone')[0]?.at ?? Infinity;
    const launched = story.effects('replica.launch').find((launch) => launch.model === 'b')?.at ?? 0;
    expect(launched).toBeGreaterThanOrEqual(gone);
  });

  it('[item 63] lets a request for a model that is going away wait and start it again', () => {
    const story = new Story({});
    story.ask('m');
    story.untilAnswered(1);
    story.act({ kind: 'unload', model: 'm' });
    story.ask('m', 5);
    expect(story.phase('m')).toBe('reserved');
    story.untilAnswered(6);
    expect(story.tally()).toEqual({ completed: 6 });
    expect(story.starts('m')).toBe(2);
  });
});

describe('what does not go away', () => {
  it('[item 77] keeps its bytes and its device closed until it is seen to be gone, and other devices open', () => {
    const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
    const deviceIds = ['gpu-0', 'gpu-1'];
    const story = new Story({
      devices,
      models: [simulatedModel('a'), simulatedModel('b'), simulatedModel('c', { deviceIds })],
    });
    story.ask('a');
    story.untilAnswered(1);
    story.act({ kind: 'stop_fault', model: 'a', fault: 'stuck', lastsMs: 500_000 });
    story.act({ kind: 'unload', model: 'a' });
    story.until('stuck', () => story.decisions('replica.stuck').length > 0);
    story.ask('b');
    story.ask('c');
    expect(story.tally('b')).toEqual({ no_capacity: 1 });
    expect(story.errors()[0]?.shouldRetry).toBe(true);
    story.untilAnswered(3);
    expect(story.tally('c')).toEqual({ completed: 1 });
    story.until('gone', () => story.decisions('replica.gone').length === 1);
    story.ask('b');
    story.until('b', () => story.tally('b')['completed'] === 1);
  });
});

describe('what an earlier run left', () => {
  const devices = [simulatedDevice('gpu-0', 24, 1)];
  const of = (name: string) =>
    simulatedModel(name, { memory: 15 * GIB }, { truth: { steady: 0.5, peak: 0.6 }, measured: 'bytes' });

  const leftBehind = (bytes: number): FleetEvent => ({
    kind: 'replica.found',
    found: {
      ...{ id: 'a-left', generation: 1, model: 'a', specHash: 'a#0', reservations: new Map([['gpu-0', bytes]]) },
      ...{ port: null, endpoint: { origin: 'sim://a-left', pathPrefix: '', pid: 1, container: null } },
      ...{ usable: true, ageMs: null },
    },
  });

  it('is adopted as it stood together, although more was promised at its launches than there is', () => {
    const story = new Story({ devices, models: [of('a'), of('b')] });
    for (const model of ['a', 'b']) {
      story.ask(model);
      story.untilReady(model);
      story.until('measured', () => story.current(model)?.measured === true);
    }
    expect(story.state.counters.evictions).toBe(0);
    story.world.restart({ adoptable: true });
    story.run(5_000);
    expect([story.phase('a'), story.phase('b')]).toEqual(['ready', 'ready']);
    expect(story.decisions('replica.not_adopted')).toEqual([]);
    // So it is when a driver tells of them long after the start, and nobody remembers what they took.
    const late = new Story({ devices, models: [of('a'), of('b')] });
    for (const found of story.world.engines.found(true)) late.world.kernel.step({ kind: 'replica.found', found });
    expect([late.phase('a'), late.phase('b')]).toEqual(['starting', 'starting']);
  });

  it('is ended when its device may not give so much any more, or gave it to others before it was found', () => {
    for (const [gib, others, adopted] of [
      [15, [], true],
      [25, [], false],
      [15, ['b'], false],
      [9, ['b'], true],
    ] as const) {
      const story = new Story({ devices, models: [of('a'), of('b')] });
      for (const model of others) story.ask(model);
      for (const model of others) story.untilReady(model);
      story.world.kernel.step(leftBehind(gib * GIB));
      const [refusal] = story.decisions('replica.not_adopted');
      expect(story.phase('a')).toBe(adopted ? 'starting' : 'none');
      if (!adopted) expect(refusal?.reason).toContain('its memory does not fit on gpu-0');
      expect(story.stops('a')).toEqual(adopted ? [] : ['not_adopted']);
    }
  });

  it('is left alone when it is found while the gateway ends, if its driver keeps its engines', () => {
    for (const [keep, stops] of [
      [['simulated' as const], 0],
      [[], 1],
    ] as const) {
      const story = new Story({ devices, models: [of('a'), of('b')] });
      story.ask('b', 1, { workMs: 10_000 });
      story.untilReady('b');
      story.world.kernel.step({ kind: 'shutdown.begun', keep, deadline: story.now + 60_000 });
      story.world.kernel.step(leftBehind(GIB));
      expect(story.stops('a')).toHaveLength(stops);
      story.until('done', () => story.world.shutdownDone);
    }
  });
});
