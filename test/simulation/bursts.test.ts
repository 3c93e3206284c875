import { describe, expect, it } from 'vitest';
import { GIB } from '../../src/units.ts';
import { simulatedDevice, simulatedModel } from './scenario.ts';
import { Story } from './story.ts';

describe('bursts', () => {
  it('[items 30, 59, 60] answers 1000 first requests to one cold model with one start when the queue holds them', () => {
    const story = new Story({ models: [simulatedModel('m', { maxQueueSize: 1_000 })] }, { checkEvery: 97 });
    story.ask('m', 1_000);
    expect(story.state.tickets.size).toBe(1_000);
    story.untilAnswered(1_000);
    expect(story.tally()).toEqual({ completed: 1_000 });
    expect(story.starts('m')).toBe(1);
  });

  it('[items 29, 30] holds exactly 250 of 1000 first requests with the defaults and refuses 750 at once', () => {
    const story = new Story({}, { checkEvery: 97 });
    story.ask('m', 1_000);
    expect(story.tally()).toEqual({ queue_full: 750 });
    expect(story.state.tickets.size).toBe(250);
    for (const error of story.errors()) {
      expect(error.queue).toEqual({ depth: 250, max: 250 });
      expect(error.retryAfterMs).toBeGreaterThanOrEqual(1_000);
      expect(error.retryAfterMs).toBeLessThanOrEqual(60_000);
    }
    story.untilAnswered(1_000);
    expect(story.tally()).toEqual({ queue_full: 750, completed: 250 });
    expect(story.starts('m')).toBe(1);
  });

  it('[items 29, 30] accepts the same burst warm as cold', () => {
    const story = new Story({}, { checkEvery: 97 });
    story.ask('m');
    story.untilAnswered(1);
    story.ask('m', 1_000);
    expect(story.tally()).toEqual({ completed: 1, queue_full: 750 });
    story.untilAnswered(1_001);
    expect(story.tally()).toEqual({ completed: 251, queue_full: 750 });
    expect(story.state.tickets.size + story.state.leases.size).toBe(0);
  });

  it('answers or refuses with a reason ten cold models at once on devices that fit four, without over-commit', () => {
    const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
    const names = Array.from({ length: 10 }, (_, index) => `m${index}`);
    const models = names.map((name) =>
      simulatedModel(name, { memory: 10 * GIB, deviceIds: ['gpu-0', 'gpu-1'], inactivityTimeout: 60_000 }),
    );
    // The true memory of the devices is checked at every launch.
    const story = new Story({ devices, models });
    for (const name of names) story.ask(name, 20);
    expect(story.state.replicas.size).toBe(4);
    story.untilAnswered(200, 1_800_000);
    const { completed = 0, no_capacity: refused = 0 } = story.tally();
    expect(completed + refused).toBe(200);
    expect(completed).toBeGreaterThan(0);
    for (const error of story.errors()) expect(error.message).toMatch(/needs 10GiB on a device.*Held by/);
  });

  it('[items 37, 38] [S8] lets four models of fifty clients each progress without errors when three fit into max_in_flight', () => {
    const devices = [0, 1, 2, 3].map((index) => simulatedDevice(`gpu-${index}`, 24));
    const models = devices.map(({ id }, index) => simulatedModel(`m${index}`, { deviceIds: [id] }));
    const story = new Story({ devices, models }, { checkEvery: 61 });
    for (const { settings } of models) {
      const { name: model } = settings;
      story.act({ kind: 'closed_loop', model, clients: 50, workMs: 500, thinkMs: 0, lastsMs: 120_000 });
    }
    story.run(130_000);
    const done = models.map(({ settings }) => story.tally(settings.name));
    const counts = done.map((tally) => tally['completed'] ?? 0);
    for (const tally of done) expect(Object.keys(tally)).toEqual(['completed']);
    // 150 leases over four models that want 50 each: nobody gets less than three quarters of the best.
    expect(Math.min(...counts)).toBeGreaterThan(0.75 * Math.max(...counts));
  });
});

describe('[S2] leases gateway-wide', () => {
  it.each([
    [50, 3],
    [1, 1],
    [100, 10],
  ])(
    'are at most max_concurrent × max_models_concurrent = %i × %i, and as many when there is work',
    (slots, models) => {
      const devices = Array.from({ length: models + 1 }, (_, index) => simulatedDevice(`gpu-${index}`, 24));
      const all = devices.map(({ id }, index) =>
        simulatedModel(`m${index}`, { deviceIds: [id], maxConcurrent: slots, maxQueueSize: 1_000 }),
      );
      const story = new Story(
        {
          devices,
          models: all,
          limits: { maxInFlight: slots * models, maxTurn: 60_000, minResidency: 0, drainTimeout: 60_000 },
        },
        { checkEvery: 97 },
      );
      for (const { settings } of all) story.ask(settings.name, slots + 5, { workMs: 20_000 });
      story.until('every lease in use', () => story.state.leases.size === slots * models);
      for (const { settings } of all) expect(story.current(settings.name)?.leases.size).toBeLessThanOrEqual(slots);
      story.untilAnswered(all.length * (slots + 5), 3_600_000);
      expect(story.tally()).toEqual({ completed: all.length * (slots + 5) });
    },
  );
});
