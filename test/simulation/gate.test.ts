import { describe, expect, it } from 'vitest';
import { snapshot } from '../../src/core/snapshot.ts';
import { GIB } from '../../src/units.ts';
import { simulatedDevice, simulatedModel } from './scenario.ts';
import { Story } from './story.ts';

const devices = [simulatedDevice('gpu-0', 48)];
const small = (
  name: string,
  over: Parameters<typeof simulatedModel>[2] = {},
  keys: Parameters<typeof simulatedModel>[1] = {},
) => simulatedModel(name, { memory: 8 * GIB, ...keys }, { loadMs: 20_000, ...over });
const gate = (story: Story) => snapshot(story.state, story.now).devices.get('gpu-0');
const milestone = (story: Story, model: string) => story.current(model)?.milestone;

function ready(story: Story, ...models: string[]): void {
  for (const model of models) story.ask(model);
  for (const model of models) story.untilReady(model);
  story.run(5_000);
}

describe('a start that the gateway finds in its middle', () => {
  it('holds those of its devices that nobody else holds, and a start beside it waits until it has measured', () => {
    const story = new Story({
      devices: [simulatedDevice('gpu-0', 24), simulatedDevice('gpu-1', 24)],
      models: [
        simulatedModel('small', { memory: 4 * GIB, deviceIds: ['gpu-1'] }),
        simulatedModel('wide', { memory: 4 * GIB, deviceCount: 2, deviceIds: ['gpu-0', 'gpu-1'] }, { loadMs: 100_000 }),
        simulatedModel('late', { memory: 4 * GIB, deviceIds: ['gpu-0'] }),
      ],
    });
    story.ask('small');
    story.untilReady('small');
    story.ask('wide');
    story.until('loading', () => story.current('wide')?.milestone === 'loading');
    story.world.restart({ adoptable: true });
    story.untilReady('small');
    story.ask('late');
    story.until('launched', () => story.starts('late') === 1);
    const wide = story.current('wide');
    expect([wide?.phase, wide?.milestone]).toEqual(['starting', 'profiled']);
  });
});

describe('the gate of a device', () => {
  it('[items 83, 84] is held from launch until the engine has measured, and shows by whom and since when', () => {
    const story = new Story({ devices, models: [small('a'), small('b')] });
    story.ask('a');
    story.ask('b');
    expect(gate(story)).toMatchObject({ state: 'busy', gateHolder: story.current('a')?.id, gateSince: 0 });
    expect(story.phase('b')).toBe('reserved');
    story.until('a has measured', () => milestone(story, 'a') === 'profiled');
    expect(story.phase('a')).toBe('starting');
    expect(story.phase('b')).toBe('starting');
    expect(gate(story)).toMatchObject({ gateHolder: story.current('b')?.id, gateSince: story.now });
    story.untilAnswered(2);
    expect(gate(story)).toMatchObject({ state: 'free', gateHolder: null, gateSince: null });
  });

  it('is what the refusal names when waiting for it took too long', () => {
    const story = new Story({
      devices,
      models: [small('a', { loadMs: 100_000 }), small('b', {}, { queueTimeout: 10_000 })],
    });
    story.ask('a');
    story.ask('b');
    story.until('b is refused', () => story.errors().length > 0);
    expect(story.errors()[0]).toMatchObject({ code: 'queue_timeout' });
    expect(story.errors()[0]?.message).toContain(
      'it waited for memory that others are leaving, or the start of a neighbour',
    );
  });

  it('is held until ready by an engine that says nothing of its start', () => {
    const story = new Story({ devices, models: [small('a', { milestones: false }), small('b')] });
    story.ask('a');
    story.ask('b');
    story.until('a starts', () => story.phase('a') === 'starting');
    story.until('b starts', () => story.phase('b') === 'starting');
    expect(story.phase('a')).toBe('ready');
  });

  it('is passed by a stop while a start has not begun to load, and never by another start', () => {
    const models = [small('old'), small('slow', { loadMs: 200_000 }), small('next')];
    const story = new Story({ devices, models });
    ready(story, 'old');
    story.ask('slow');
    const slow = story.current('slow');
    story.act({ kind: 'unload', model: 'old' });
    story.ask('next');
    expect(story.stops('old')).toEqual(['unload']);
    expect(gate(story)?.gateHolder).not.toBe(slow?.id);
    story.until('old gone', () => story.state.replicas.size === 2, 20_000);
    expect(gate(story)?.gateHolder).toBe(slow?.id);
    expect(story.phase('next')).toBe('reserved');
    story.until('slow has measured', () => milestone(story, 'slow') === 'profiled');
    expect(story.current('slow')).toBe(slow);
    expect(story.phase('next')).toBe('starting');
  });

  it('is not passed by a stop once the start has begun to load', () => {
    const story = new Story({ devices, models: [small('old'), small('new')] });
    ready(story, 'old');
    story.ask('new');
    story.until('new loads', () => milestone(story, 'new') === 'loading');
    story.act({ kind: 'unload', model: 'old' });
    story.run(1_000);
    expect(story.stops('old')).toEqual([]);
    story.until('new has measured', () => milestone(story, 'new') === 'profiled');
    expect(story.stops('old')).toEqual(['unload']);
  });
});

describe('a start whose neighbour moves while it measures', () => {
  it('[item 127] is begun anew when a stop that passed it is not over when it begins to load, and is not passed again', () => {
    const story = new Story({ devices, models: [small('old'), small('other'), small('new', { loadMs: 40_000 })] });
    ready(story, 'old', 'other');
    story.act({ kind: 'stop_fault', model: 'old', fault: 'slow', lastsMs: 20_000 });
    story.ask('new');
    const first = story.current('new')?.id;
    story.act({ kind: 'unload', model: 'old' });
    story.until('disturbed', () => story.decisions('replica.disturbed').length === 1);
    expect(story.current('new')?.id).not.toBe(first);
    story.until('again', () => story.phase('new') === 'starting');
    story.act({ kind: 'unload', model: 'other' });
    expect(story.stops('other')).toEqual([]);
    story.untilAnswered(3);
    expect(story.tally('new')).toEqual({ completed: 1 });
    expect(story.state.models.get('new')?.backoff.failures).toBe(0);
    expect(story.state.models.get('new')?.disturbed).toBe(0);
  });

  it('is begun anew when word of its beginning comes in the moment after one that passed it has gone', () => {
    for (const [after, times] of [
      [500, 1],
      [3_000, 0],
    ] as const) {
      const story = new Story({ devices, models: [small('old'), small('new', { loadMs: 400_000 })] });
      ready(story, 'old');
      story.ask('new');
      story.act({ kind: 'unload', model: 'old' });
      story.until('old gone', () => story.state.replicas.size === 1);
      story.run(after);
      const { id = '', generation = 0 } = story.current('new') ?? {};
      const late = { phase: 'load', fraction: null, milestone: 'loading' } as const;
      story.world.kernel.step({ kind: 'replica.progressed', replica: { id, generation }, ...late });
      expect(story.decisions('replica.disturbed')).toHaveLength(times);
    }
  });

  it('is begun anew when it fails over memory that one that passed it gave back, before word of its loading came', () => {
    const story = new Story({ devices, models: [small('old'), small('new', { loadMs: 400_000 })] });
    ready(story, 'old');
    story.ask('new');
    story.act({ kind: 'unload', model: 'old' });
    story.until('old gone', () => story.state.replicas.size === 1);
    story.run(3_000);
    const ends = (): void => {
      const { id = '', generation = 0 } = story.current('new') ?? {};
      const how = { detail: 'Memory came back while it measured.', cause: 'out_of_memory', shortage: null } as const;
      story.world.kernel.step({ kind: 'replica.exited', replica: { id, generation }, ...how });
    };
    const first = story.current('new')?.id;
    ends();
    expect(story.decisions('replica.disturbed')).toHaveLength(1);
    expect(story.state.models.get('new')?.backoff.failures).toBe(0);
    story.until('again', () => story.phase('new') === 'starting' && story.current('new')?.id !== first);
    // Nothing moved beside this one: it has too little memory, and whoever waits is told.
    ends();
    expect(story.decisions('replica.start_failed')).toHaveLength(1);
    expect(story.tally('new')).toEqual({ model_start_failed: 1 });
  });

  it('[item 127] is begun anew when the neighbour crashes', () => {
    const story = new Story({ devices, models: [small('old'), small('new')] });
    ready(story, 'old');
    story.ask('new');
    story.until('new loads', () => milestone(story, 'new') === 'loading');
    story.act({ kind: 'crash', model: 'old' });
    story.untilAnswered(2);
    expect(story.decisions('replica.disturbed')).toHaveLength(1);
    expect(story.starts('new')).toBe(2);
    expect(story.tally('new')).toEqual({ completed: 1 });
  });

  it('goes on when it was told its KV cache in bytes, because then it measures nothing', () => {
    const learned = simulatedModel(
      'new',
      { memory: null, sizing: null },
      { measured: 'cache', truth: { steady: 0.3, peak: 0.3 } },
    );
    const story = new Story({ devices, models: [small('old'), learned] });
    story.ask('new');
    story.until('measured', () => story.decisions('replica.measured').length === 1);
    story.act({ kind: 'unload', model: 'new' });
    ready(story, 'old');
    story.ask('new');
    story.until('new loads', () => milestone(story, 'new') === 'loading');
    expect(story.current('new')?.share.kvCacheBytes).toBeGreaterThan(0);
    story.act({ kind: 'crash', model: 'old' });
    story.untilAnswered(3);
    expect(story.decisions('replica.disturbed')).toEqual([]);
    expect(story.starts('new')).toBe(2);
  });

  it('goes to one that died when the start that held it has measured, and lets no other begin before that memory is back', () => {
    const learned = simulatedModel(
      'new',
      { memory: null, sizing: null },
      { measured: 'cache', truth: { steady: 0.3, peak: 0.3 } },
    );
    const story = new Story({ devices, models: [small('old'), learned, small('next')] });
    story.ask('new');
    story.until('measured', () => story.decisions('replica.measured').length === 1);
    story.act({ kind: 'unload', model: 'new' });
    ready(story, 'old');
    story.ask('new');
    story.until('new loads', () => milestone(story, 'new') === 'loading');
    story.act({ kind: 'stop_fault', model: 'old', fault: 'late', lastsMs: 30_000 });
    const old = story.current('old')?.id;
    story.act({ kind: 'crash', model: 'old' });
    story.untilReady('new');
    expect(gate(story)?.gateHolder).toBe(old);
    story.ask('next');
    story.run(10_000);
    expect(story.phase('next')).toBe('reserved');
    story.until('launched', () => story.starts('next') === 1);
    expect(old !== undefined && story.state.replicas.has(old)).toBe(false);
  });

  it('lets no start begin beside one that died, before its memory is back', () => {
    const story = new Story({ devices, models: [small('old'), small('new')] });
    ready(story, 'old');
    story.act({ kind: 'stop_fault', model: 'old', fault: 'late', lastsMs: 30_000 });
    story.act({ kind: 'crash', model: 'old' });
    story.until('seen', () => story.decisions('replica.crashed').length === 1);
    story.ask('new');
    story.run(20_000);
    expect(story.phase('new')).toBe('reserved');
    story.untilAnswered(2);
  });
});
