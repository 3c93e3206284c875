import { describe, expect, it } from 'vitest';
import { GIB } from '../../src/units.ts';
import { simulatedDevice, simulatedModel } from './scenario.ts';
import { Story } from './story.ts';

const devices = [simulatedDevice('gpu-0', 24)];
const of = (name: string, gib = 15) => simulatedModel(name, { memory: gib * GIB }, { loadMs: 20_000 });
const breaks = (model: string) =>
  ({ kind: 'start_fault', model, fault: 'exits', cause: 'crashed', share: 0.5 }) as const;

/** a is up and idle, and has been for longer than anybody protects it. */
function restingFleet(...more: ReturnType<typeof of>[]): Story {
  const story = new Story({ devices, models: [of('a'), of('b'), ...more] });
  story.ask('a');
  story.untilAnswered(1);
  story.run(100_000);
  return story;
}

describe('a start that fails after it has moved others out', () => {
  it('brings the idle one back that it had evicted', () => {
    const story = restingFleet();
    story.act(breaks('b'));
    story.ask('b');
    expect(story.stops('a')).toEqual(['evicted']);
    story.until('b failed', () => story.tally('b')['model_start_failed'] === 1);
    expect(story.decisions('model.restored').map(({ model }) => model)).toEqual(['a']);
    story.untilReady('a', 60_000);
    expect(story.state.restoring.size).toBe(0);
  });

  it('starts the one with requests of its own at once, before any courtesy', () => {
    const story = restingFleet();
    story.act(breaks('b'));
    story.ask('b');
    story.run(5_000);
    story.ask('a');
    story.untilAnswered(3);
    expect(story.tally()).toEqual({ completed: 2, model_start_failed: 1 });
    expect(story.decisions('model.restored')).toEqual([]);
  });

  it('leaves the place to others who want it', () => {
    const story = restingFleet(of('c'));
    story.act(breaks('b'));
    story.ask('b');
    story.run(5_000);
    story.ask('c');
    story.untilAnswered(3);
    expect(story.tally('c')).toEqual({ completed: 1 });
    expect(story.decisions('model.restored')).toEqual([]);
    expect(story.state.restoring.size).toBe(0);
  });

  it('brings all back that fit, and forgets those whose place went to somebody else', () => {
    const story = new Story({ devices, models: [of('a', 7), of('b', 7), of('large', 20), of('small', 14)] });
    story.ask('a');
    story.ask('b');
    story.untilAnswered(2);
    story.run(100_000);
    story.act(breaks('large'));
    story.ask('large');
    story.until('large starts', () => story.phase('large') === 'starting');
    story.ask('small');
    story.until('small ready', () => story.phase('small') === 'ready');
    story.until('one is back', () => story.phase('a') === 'ready' || story.phase('b') === 'ready');
    story.run(60_000);
    expect(story.decisions('model.restored')).toHaveLength(1);
    expect(story.state.restoring.size).toBe(0);
  });

  it('does so when a second try on another port fails as well, and not when that works', () => {
    for (const times of [1, 2]) {
      const story = restingFleet();
      const taken = { kind: 'start_fault', model: 'b', fault: 'port_taken', cause: 'port_in_use', share: 0.5 } as const;
      for (let time = 0; time < times; time += 1) story.act(taken);
      story.ask('b');
      story.untilAnswered(2);
      story.run(60_000);
      expect(story.decisions('model.restored')).toHaveLength(times - 1);
      expect(story.phase('a')).toBe(times === 2 ? 'ready' : 'none');
    }
  });

  it('costs others less than one in a hundred of their requests, however often it is tried', () => {
    const story = new Story({ devices, models: [of('good'), of('bad')] });
    for (let failure = 0; failure < 1_000; failure += 1) story.act(breaks('bad'));
    const hour = 3_600_000;
    story.act({ kind: 'closed_loop', model: 'good', clients: 4, workMs: 1_000, thinkMs: 2_000, lastsMs: hour });
    story.act({ kind: 'closed_loop', model: 'bad', clients: 2, workMs: 1_000, thinkMs: 1_000, lastsMs: hour });
    story.run(hour);
    const { completed = 0, ...others } = story.tally('good');
    const failed = Object.values(others).reduce((sum, count) => sum + count, 0);
    expect(completed).toBeGreaterThan(1_000);
    expect(failed / (completed + failed)).toBeLessThan(0.01);
    expect(story.tally('bad')['completed']).toBeUndefined();
    expect(story.starts('bad')).toBeGreaterThan(5);
  });
});

describe('what the original did wrong', () => {
  it('[item 157] an unknown model moves nobody out who need not leave', () => {
    const both = [simulatedDevice('gpu-0', 24), simulatedDevice('gpu-1', 24)];
    const deviceIds = ['gpu-0', 'gpu-1'];
    const on = (name: string, memory: number | null) => simulatedModel(name, { memory, deviceIds });
    const story = new Story({ devices: both, models: [on('a', 15 * GIB), on('unknown', null), on('b', 4 * GIB)] });
    story.ask('a', 1, { workMs: 100_000 });
    story.untilReady('a');
    story.ask('b');
    story.untilAnswered(1);
    story.run(2_000);
    story.ask('unknown');
    story.untilAnswered(2);
    expect(story.stops('a')).toEqual([]);
    expect(story.stops('b')).toEqual(['evicted']);
  });

  it('[item 156] min_residency counts from ready, and 0 protects nobody', () => {
    for (const [minResidency, young] of [
      [90_000, 'b'],
      [0, 'a'],
    ] as const) {
      const { limits } = new Story({}).world.scenario;
      const story = new Story({
        devices,
        models: [of('a', 8), of('b', 8), of('c', 8)],
        limits: { ...limits, minResidency },
      });
      story.ask('b');
      story.untilAnswered(1);
      story.run(100_000);
      story.ask('a');
      story.untilAnswered(2);
      story.run(2_000);
      story.ask('b');
      story.untilAnswered(3);
      story.run(2_000);
      // b was used last; a is the younger.
      story.ask('c');
      expect(story.stops(young)).toEqual(['evicted']);
      story.untilAnswered(4);
    }
  });

  it('[item 163] a replica that leaves in the very moment in which a request comes never gets it', () => {
    const story = new Story({ devices, models: [simulatedModel('a', { inactivityTimeout: 10_000 })] });
    story.ask('a');
    story.untilAnswered(1);
    const old = story.current('a')?.id;
    story.until('idle', () => story.phase('a') === 'none');
    story.ask('a');
    story.untilAnswered(2);
    expect(story.tally()).toEqual({ completed: 2 });
    expect(story.effects('ticket.granted').at(-1)?.replica.id).not.toBe(old);
  });
});

describe('a courtesy', () => {
  it('moves nobody else out', () => {
    const story = new Story({ devices, models: [of('a'), of('small', 6), of('bad')] });
    story.ask('a');
    story.untilAnswered(1);
    story.ask('small');
    story.untilAnswered(2);
    story.run(100_000);
    story.act(breaks('bad'));
    story.ask('bad');
    expect(story.stops('a')).toEqual(['evicted']);
    story.until('bad loads', () => story.phase('bad') === 'starting');
    story.act({ kind: 'foreign', device: 'gpu-0', share: 0.2 });
    story.until('bad failed', () => story.tally('bad')['model_start_failed'] === 1);
    story.run(60_000);
    expect([story.phase('small'), story.phase('a')]).toEqual(['ready', 'none']);
    expect(story.stops('small')).toEqual([]);
    expect(story.state.restoring.size).toBe(0);
  });

  it('takes nothing that one who waits already will need', () => {
    const story = new Story({ devices, models: [of('busy', 6), of('a', 6), of('bad', 12), of('c', 18)] });
    story.ask('a');
    story.untilAnswered(1);
    story.ask('busy', 1, { workMs: 140_000 });
    story.untilReady('busy');
    story.run(100_000);
    story.act(breaks('bad'));
    story.ask('bad');
    story.run(100);
    expect(story.stops('a')).toEqual(['evicted']);
    story.ask('c');
    story.until('bad failed', () => story.tally('bad')['model_start_failed'] === 1);
    story.untilAnswered(4);
    expect(story.tally('c')).toEqual({ completed: 1 });
    expect(story.decisions('model.restored')).toEqual([]);
    expect(story.starts('a')).toBe(1);
  });
});
