import { describe, expect, it } from 'vitest';
import { snapshot } from '../../src/core/snapshot.ts';
import { GIB } from '../../src/units.ts';
import { simulatedDevice, simulatedModel, type StartFault } from './scenario.ts';
import { Story } from './story.ts';

const fault = (model: string, kind: StartFault, share = 0.5) =>
  ({ kind: 'start_fault', model, fault: kind, cause: 'out_of_memory', share }) as const;

describe('starts', () => {
  it('[item 59] [S8] starts three cold models at once, each once', () => {
    const devices = ['gpu-0', 'gpu-1', 'gpu-2'].map((id) => simulatedDevice(id, 24));
    const models = devices.map(({ id }, index) => simulatedModel(`m${index}`, { deviceIds: [id] }));
    const story = new Story({ devices, models });
    for (const { settings } of models) story.ask(settings.name, 20);
    for (const { settings } of models) expect(story.phase(settings.name)).toBe('starting');
    story.untilAnswered(60);
    for (const { settings } of models) expect(story.starts(settings.name)).toBe(1);
    expect(story.tally()).toEqual({ completed: 60 });
  });

  it('[items 30, 64, 66, 69] fails all waiters of a failed start with one cause, and gives its memory back', () => {
    const story = new Story({});
    story.act(fault('m', 'exits'));
    story.ask('m', 40);
    story.untilAnswered(40);
    expect(story.tally()).toEqual({ model_start_failed: 40 });
    expect(new Set(story.errors().map((error) => `${error.cause} ${error.message}`)).size).toBe(1);
    expect(story.errors()[0]?.cause).toBe('out_of_memory');
    expect(story.starts('m')).toBe(1);
    story.until('gone', () => story.state.replicas.size === 0);
    expect(story.world.engines.memory.used('gpu-0')).toBe(0);
  });

  it('[item 66] rests longer after each failure, up to five minutes, and tells when the next attempt is', () => {
    const story = new Story({});
    const rests: number[] = [];
    for (let failure = 1; failure <= 12; failure += 1) {
      story.act(fault('m', 'exits', 0.1));
      story.ask('m');
      story.until('the failure', () => story.decisions('model.backing_off').length === failure);
      const rest = (story.state.models.get('m')?.backoff.until ?? 0) - story.now;
      rests.push(rest);
      story.ask('m');
      const error = story.errors().at(-1);
      expect(error?.code).toBe('model_backing_off');
      expect(error?.retryAfterMs).toBe(Math.min(60_000, Math.max(1_000, rest)));
      story.run(rest + 1);
    }
    rests.forEach((rest, index) => {
      const nominal = Math.min(300_000, 1_000 * 2 ** index);
      expect(rest).toBeGreaterThanOrEqual(0.75 * nominal);
      expect(rest).toBeLessThanOrEqual(1.25 * nominal);
    });
  });

  it('[item 66] begins anew after a replica that was ready for a minute, and not after one that died at once', () => {
    const story = new Story({});
    const failOnce = (): void => {
      story.act(fault('m', 'exits', 0.1));
      story.ask('m');
      story.until('none', () => story.phase('m') === 'none');
      story.run(400_000);
    };
    failOnce();
    failOnce();
    expect(story.state.models.get('m')?.backoff.failures).toBe(2);
    story.ask('m');
    story.untilReady('m');
    story.run(20_000);
    expect(story.state.models.get('m')?.backoff.failures).toBe(2);
    story.run(60_000);
    story.act({ kind: 'unload', model: 'm' });
    expect(story.state.models.get('m')?.backoff.failures).toBe(0);
  });

  it('[item 68] evicts nobody for a model that rests', () => {
    const models = ['a', 'b'].map((name) => simulatedModel(name, {}, { loadMs: 5_000 }));
    const story = new Story({ models });
    for (let failure = 1; failure <= 6; failure += 1) {
      story.act(fault('b', 'exits', 0.1));
      story.ask('b');
      story.until('the failure', () => story.decisions('model.backing_off').length === failure);
      if (failure < 6) story.run((story.state.models.get('b')?.backoff.until ?? 0) - story.now + 1);
    }
    story.ask('a');
    story.untilReady('a');
    story.run(2_000);
    // a is idle and may leave, but b rests for more than twenty seconds.
    story.ask('b', 5);
    expect(story.tally('b')).toEqual({ model_start_failed: 6, model_backing_off: 5 });
    story.run((story.state.models.get('b')?.backoff.until ?? 0) - story.now - 1);
    expect(story.state.counters.evictions).toBe(0);
    expect(story.phase('a')).toBe('ready');
    story.run(1);
    story.ask('b');
    expect(story.stops('a')).toEqual(['evicted']);
  });

  it('tries once more, on another port and without a rest, when a stranger took the port', () => {
    const story = new Story({});
    story.act(fault('m', 'port_taken'));
    story.ask('m', 3);
    story.untilAnswered(3);
    expect(story.tally()).toEqual({ completed: 3 });
    const ports = story.effects('replica.launch').map((launch) => launch.port);
    expect(ports).toEqual([20_000, 20_001]);
    expect(story.decisions('model.backing_off')).toEqual([]);
  });

  it('takes the ports from where its range is begun, and goes round', () => {
    const models = ['a', 'b'].map((name) => simulatedModel(name));
    const story = new Story({ models, ports: { first: 20_000, last: 20_009, begin: 20_009 } });
    story.ask('a');
    story.ask('b');
    story.untilAnswered(2);
    expect(story.effects('replica.launch').map((launch) => launch.port)).toEqual([20_009, 20_000]);
  });

  it('rests when the second port is taken too', () => {
    const story = new Story({});
    story.act(fault('m', 'port_taken'));
    story.act(fault('m', 'port_taken'));
    story.ask('m', 3);
    story.untilAnswered(3);
    expect(story.tally()).toEqual({ model_start_failed: 3 });
    expect(story.errors()[0]?.cause).toBe('port_in_use');
    expect(story.starts('m')).toBe(2);
  });

  it('wait for a port that somebody who leaves still holds, and fail when nobody who holds one leaves', () => {
    const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
    const models = devices.map(({ id }, index) => simulatedModel(`m${index}`, { deviceIds: [id] }));
    const story = new Story({ devices, models, ports: { first: 20_000, last: 20_000 } });
    story.ask('m0');
    story.untilAnswered(1);
    story.act({ kind: 'unload', model: 'm0' });
    expect(story.state.ports.size).toBe(1);
    story.ask('m1');
    story.untilAnswered(2);
    expect(story.tally()).toEqual({ completed: 2 });
    expect(story.starts('m1')).toBe(1);
    story.ask('m0');
    story.untilAnswered(3);
    expect(story.errors()[0]).toMatchObject({ code: 'model_start_failed', cause: 'port_in_use' });
  });

  it('[item 70] ends a start that shows no progress after start_stall_timeout', () => {
    const story = new Story({ models: [simulatedModel('m', { startStallTimeout: 60_000, startTimeout: 600_000 })] });
    story.act(fault('m', 'hangs'));
    story.ask('m');
    story.untilAnswered(1);
    expect(story.errors()[0]).toMatchObject({ code: 'model_start_failed', cause: 'start_timeout' });
    expect(story.errors()[0]?.message).toContain('no progress for 60 s');
    expect(story.now).toBeLessThan(100_000);
    story.until('gone', () => story.state.replicas.size === 0);
    expect(story.world.engines.living()).toEqual([]);
  });

  it('[item 70] lets progress extend the stall limit and never the hard one [I-29]', () => {
    const story = new Story({ models: [simulatedModel('m', { startStallTimeout: 60_000, startTimeout: 600_000 })] });
    story.act(fault('m', 'crawls'));
    story.ask('m');
    story.untilAnswered(1);
    expect(story.errors()[0]?.message).toContain('not ready within 600 s');
    expect(story.now).toBe(600_000);
  });

  it('[items 36, 37] stops the queue clock during a start, and counts the wait for memory', () => {
    const model = simulatedModel('m', { queueTimeout: 10_000 }, { loadMs: 100_000 });
    const story = new Story({ models: [model, simulatedModel('n', {}, { loadMs: 30_000 })] });
    story.ask('m');
    story.untilAnswered(1);
    expect(story.tally()).toEqual({ completed: 1 });
    story.ask('m', 1, { workMs: 5_000_000 });
    story.ask('n');
    // n waits for memory; its own limit is the default.
    story.run(11_000);
    expect(story.tally('n')).toEqual({});
    const other = new Story({ models: [simulatedModel('m'), simulatedModel('n', { queueTimeout: 10_000 })] });
    other.ask('m', 1, { workMs: 5_000_000 });
    other.untilReady('m');
    const asked = other.now;
    other.ask('n');
    other.untilAnswered(1);
    expect(other.now - asked).toBe(10_000);
    expect(other.errors()[0]?.code).toBe('no_capacity');
    expect(other.errors()[0]?.message).toContain('m (21.6GiB, busy with');
  });

  it('[item 36] ends a ticket with queue_timeout when its model is ready and busy', () => {
    const story = new Story({ models: [simulatedModel('m', { maxConcurrent: 1, queueTimeout: 10_000 })] });
    story.ask('m', 1, { workMs: 60_000 });
    story.untilReady('m');
    story.ask('m', 2);
    story.untilAnswered(2);
    expect(story.tally()).toEqual({ queue_timeout: 2 });
    expect(story.errors()[0]?.message).toMatch(/longer than limits.queue_timeout allows; it waited for a free slot\.$/);
    expect(story.state.models.get('m')?.queue.size).toBe(0);
  });

  it('name the lease that a request waited for when slots were free and max_in_flight was reached', () => {
    const devices = [simulatedDevice('gpu-0', 48)];
    const models = ['a', 'b'].map((name) =>
      simulatedModel(name, { memory: 8 * GIB, ...(name === 'b' ? { queueTimeout: 10_000 } : {}) }),
    );
    const limits = { maxInFlight: 1, maxTurn: 60_000, minResidency: 90_000, drainTimeout: 300_000 };
    const story = new Story({ devices, models, limits });
    story.ask('b');
    story.untilAnswered(1);
    story.ask('a', 1, { workMs: 300_000 });
    story.until('a runs', () => story.state.leases.size === 1);
    const waitingFor = (): string | null | undefined => snapshot(story.state, story.now).models.get('b')?.waitingFor;
    expect(waitingFor()).toBeNull();
    story.ask('b');
    expect(waitingFor()).toBe('a lease: max_in_flight is reached');
    story.until('b is refused', () => story.errors().length > 0);
    expect(story.errors()[0]).toMatchObject({ code: 'queue_timeout' });
    expect(story.errors()[0]?.message).toContain('it waited for a lease: max_in_flight is reached');
  });

  it("[item 36] ends a ticket when its client's own patience is over, even during a start", () => {
    const story = new Story({ models: [simulatedModel('m', {}, { loadMs: 120_000 })] });
    story.ask('m', 1, { patience: 30_000 });
    story.ask('m', 1);
    story.untilAnswered(1);
    expect(story.now).toBe(30_000);
    expect(story.tally()).toEqual({ queue_timeout: 1 });
    story.untilAnswered(2);
    expect(story.tally()).toEqual({ queue_timeout: 1, completed: 1 });
  });

  it('[items 31, 32] goes on with a start whose last waiter left, and counts idleness from ready', () => {
    const story = new Story({ models: [simulatedModel('m', { inactivityTimeout: 40_000 }, { loadMs: 100_000 })] });
    story.ask('m', 1, { leavesAfter: 5_000 });
    story.run(10_000);
    expect(story.phase('m')).toBe('starting');
    expect(story.state.tickets.size).toBe(0);
    story.untilReady('m');
    const ready = story.now;
    story.until('idle', () => story.decisions('replica.idle').length > 0);
    expect(story.now - ready).toBe(40_000);
  });

  it('[items 31, 81] gives a start without waiters up when another model waits for those bytes', () => {
    const story = new Story({ models: ['a', 'b'].map((name) => simulatedModel(name, {}, { loadMs: 100_000 })) });
    story.ask('a', 1, { leavesAfter: 5_000 });
    story.run(10_000);
    story.ask('b');
    expect(story.stops('a')).toEqual(['abandoned']);
    story.untilAnswered(2);
    expect(story.tally('b')).toEqual({ completed: 1 });
    // The other way round: b waits already when the last waiter of a leaves.
    const other = new Story({ models: ['a', 'b'].map((name) => simulatedModel(name, {}, { loadMs: 100_000 })) });
    other.ask('a', 1, { leavesAfter: 50_000 });
    other.ask('b');
    other.run(49_000);
    expect(other.stops('a')).toEqual([]);
    other.run(2_000);
    expect(other.stops('a')).toEqual(['abandoned']);
  });

  it('[item 31] withdraws a reservation when its last waiter leaves [I-32]', () => {
    const story = new Story({ models: ['a', 'b'].map((name) => simulatedModel(name)) });
    story.ask('a', 1, { workMs: 150_000 });
    story.untilReady('a');
    story.ask('b', 1, { leavesAfter: 100_000 });
    story.until('b reserved', () => story.phase('b') === 'reserved');
    story.until('b left', () => story.phase('b') === 'none');
    expect(story.starts('b')).toBe(0);
    expect(story.decisions('replica.withdrawn')).toHaveLength(1);
  });

  it('[items 83, 84] lets a start that hangs on one device keep nobody from another one', () => {
    const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
    const models = devices.map(({ id }, index) => simulatedModel(`m${index}`, { deviceIds: [id] }));
    const story = new Story({ devices, models });
    story.act(fault('m0', 'hangs'));
    story.ask('m0');
    story.ask('m1', 5);
    story.untilAnswered(5, 60_000);
    expect(story.tally('m1')).toEqual({ completed: 5 });
    expect(story.phase('m0')).toBe('starting');
  });

  it('[item 83] holds one start at a time per device, and lets nobody pass one that waits for two', () => {
    const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
    const on = (name: string, deviceIds: string[]) => simulatedModel(name, { memory: 8 * GIB, deviceIds });
    const pair = simulatedModel('pair', { memory: 4 * GIB, deviceCount: 2, deviceIds: ['gpu-0', 'gpu-1'] });
    const story = new Story({ devices, models: [on('a', ['gpu-0']), on('b', ['gpu-0']), on('c', ['gpu-1']), pair] });
    for (const model of ['a', 'b', 'pair', 'c']) story.ask(model);
    expect(['a', 'b', 'c', 'pair'].map((model) => story.phase(model))).toEqual([
      'starting',
      'reserved',
      // c came after pair, which waits for both gates: it does not pass it.
      'reserved',
      'reserved',
    ]);
    story.untilAnswered(4);
    expect(story.tally()).toEqual({ completed: 4 });
  });
});
