import { describe, expect, it } from 'vitest';
import { simulatedDevice, simulatedModel } from './scenario.ts';
import { Story } from './story.ts';

const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
const onDevice = (name: string, index: number) => simulatedModel(name, { deviceIds: [`gpu-${index}`] });

describe('operators', () => {
  it('[item 85] load a model without a request, and unload it when its requests have ended', () => {
    const story = new Story({});
    story.act({ kind: 'load', model: 'm' });
    story.act({ kind: 'load', model: 'm' });
    story.untilReady('m');
    expect(story.starts('m')).toBe(1);
    story.ask('m', 1, { workMs: 30_000 });
    story.run(100);
    story.act({ kind: 'unload', model: 'm' });
    story.act({ kind: 'unload', model: 'm' });
    expect(story.stops('m')).toEqual([]);
    story.untilAnswered(1);
    story.until('gone', () => story.state.replicas.size === 0);
    expect(story.tally()).toEqual({ completed: 1 });
    expect(story.stops('m')).toEqual(['unload']);
  });

  it('[item 85] end the rest of a model that failed by loading it', () => {
    const story = new Story({});
    for (let failure = 0; failure < 2; failure += 1) {
      story.act({ kind: 'start_fault', model: 'm', fault: 'exits', cause: 'crashed', share: 0.1 });
      story.act({ kind: 'load', model: 'm' });
      story.until('failed', () => story.decisions('model.backing_off').length === failure + 1);
    }
    story.act({ kind: 'load', model: 'm' });
    story.untilReady('m', 60_000);
  });

  it('[item 85] pin a model, which loads it, and it stays until it is unpinned', () => {
    const story = new Story({ models: [simulatedModel('m', { inactivityTimeout: 30_000 })] });
    story.act({ kind: 'pin', model: 'm' });
    story.untilReady('m');
    story.run(600_000);
    expect(story.phase('m')).toBe('ready');
    story.act({ kind: 'unpin', model: 'm' });
    story.run(30_000);
    expect(story.stops('m')).toEqual(['idle']);
  });

  it('reload: a changed engine is replaced when its leases have ended, a changed limit takes nothing away', () => {
    const story = new Story({ models: [simulatedModel('m', { maxConcurrent: 20 })] });
    story.ask('m', 10, { workMs: 30_000 });
    story.untilReady('m');
    story.act({ kind: 'reload', model: 'm', change: 'limits', value: 40 });
    expect(story.current('m')?.leases.size).toBe(10);
    story.act({ kind: 'reload', model: 'm', change: 'spec', value: 0 });
    story.ask('m');
    story.untilAnswered(11);
    expect(story.tally()).toEqual({ completed: 11 });
    expect(story.effects('replica.launch').map((launch) => launch.specHash)).toEqual(['m#0', 'm#3']);
  });

  it('reload: a removed model drains, its waiting requests are told, and it can come back', () => {
    const story = new Story({ models: [simulatedModel('m', { maxConcurrent: 1 })] });
    story.ask('m', 3, { workMs: 30_000 });
    story.untilReady('m');
    story.act({ kind: 'reload', model: 'm', change: 'removed', value: 0 });
    expect(story.tally()).toEqual({ model_not_found: 2 });
    story.act({ kind: 'reload', model: 'm', change: 'added', value: 0 });
    story.ask('m');
    story.untilAnswered(4);
    expect(story.tally()).toEqual({ model_not_found: 2, completed: 2 });
  });

  it('reload: a model that becomes always_on starts by itself', () => {
    const story = new Story({});
    story.act({ kind: 'reload', model: 'm', change: 'always_on', value: 0 });
    story.untilReady('m');
    story.act({ kind: 'reload', model: 'm', change: 'spec', value: 0 });
    story.until('the new one', () => story.starts('m') === 2);
    story.untilReady('m');
  });
});

describe('shutdown', () => {
  const limit = 30_000;
  const begin = (story: Story, keep: boolean): void =>
    story.world.kernel.step({ kind: 'shutdown.begun', keep: keep ? ['simulated'] : [], deadline: story.now + limit });

  it('[item 74] finishes what was accepted, refuses what comes, and stops the engines then', () => {
    const story = new Story({ devices, models: [onDevice('a', 0), onDevice('b', 1)] });
    story.ask('a', 2, { workMs: 10_000 });
    story.untilReady('a');
    // b is being started for somebody: that goes on.
    story.ask('b', 1, { workMs: 100 });
    story.run(15_000);
    begin(story, false);
    story.ask('a');
    expect(story.tally()['shutting_down']).toBe(1);
    story.until('done', () => story.world.shutdownDone, 60_000);
    expect(story.tally()).toEqual({ completed: 3, shutting_down: 1 });
    expect(story.world.engines.living()).toEqual([]);
    expect(story.state.deadlines.size).toBe(0);
  });

  it('[item 74] tells whoever still runs at the deadline, and ends', () => {
    const story = new Story({ devices, models: [onDevice('a', 0), onDevice('b', 1)] });
    story.ask('a', 2, { workMs: 3_000_000 });
    story.untilReady('a');
    story.act({ kind: 'start_fault', model: 'b', fault: 'hangs', cause: 'crashed', share: 1 });
    story.ask('b', 2);
    begin(story, false);
    const begun = story.now;
    story.until('done', () => story.world.shutdownDone, 60_000);
    expect(story.tally()).toEqual({ shutting_down: 4 });
    expect(story.now - begun).toBeLessThan(limit + 10_000);
  });

  it('[item 74] refuses at once what waits for memory that nobody will free any more', () => {
    const story = new Story({ models: ['a', 'b'].map((name) => simulatedModel(name)) });
    story.ask('a', 1, { workMs: 20_000 });
    story.untilReady('a');
    story.ask('b', 3);
    begin(story, false);
    expect(story.tally()).toEqual({ shutting_down: 3 });
    story.until('done', () => story.world.shutdownDone, 60_000);
    expect(story.tally()).toEqual({ shutting_down: 3, completed: 1 });
  });

  it('[items 73, 74] leaves engines by policy, and the next run adopts them', () => {
    const story = new Story({});
    story.ask('m', 1, { workMs: 5_000 });
    story.untilReady('m');
    begin(story, true);
    story.until('done', () => story.world.shutdownDone, 60_000);
    expect(story.tally()).toEqual({ completed: 1 });
    expect(story.world.engines.living()).toHaveLength(1);
    story.world.restart({ adoptable: true });
    story.ask('m');
    story.untilAnswered(2, 10_000);
    expect(story.tally()).toEqual({ completed: 2 });
    expect(story.starts('m')).toBe(1);
  });
});
