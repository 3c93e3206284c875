import { describe, expect, it } from 'vitest';
import { simulatedDevice, simulatedModel } from '../../../test/simulation/scenario.ts';
import { Story } from '../../../test/simulation/story.ts';
import { GIB, MINUTE, SECOND, type Milliseconds } from '../../units.ts';
import { snapshot } from '../snapshot.ts';
import { comingStart, wholeStart, type ComingStart } from './forecast.ts';
import { advanced, expected, leftByPace } from './phase-progress.ts';
import type { StartTimes } from './start-times.ts';

const LOAD_MS = 60_000;

function coming(story: Story, name: string): ComingStart | null {
  const model = story.state.models.get(name);
  if (!model) throw new Error(`no model ${name}`);
  return comingStart(story.state, model, story.now);
}

const etaOf = (story: Story, name: string): Milliseconds | null =>
  snapshot(story.state, story.now).replicas.get(story.current(name)?.id ?? '')?.eta ?? null;

/** One that was started once, and is cold again. */
function experienced(over: Parameters<typeof simulatedModel>[1] = {}): Story {
  const story = new Story({ models: [simulatedModel('m', over, { loadMs: LOAD_MS })] });
  story.ask('m');
  story.untilAnswered(1);
  unload(story, 'm');
  return story;
}

function unload(story: Story, name: string): void {
  story.world.kernel.step({ kind: 'model.unload', model: name, reason: 'unload' });
  story.until(`${name} is gone`, () => story.state.replicas.size === 0);
}

describe('the pace of a bar', () => {
  it('counts from where the bar was first seen, and runs down between its steps', () => {
    let progress = advanced(null, 'weights', 0.5, 0);
    expect(leftByPace(progress, 10_000)).toBeNull();
    progress = advanced(progress, 'weights', 0.6, 10_000);
    expect(leftByPace(progress, 10_000)).toBeCloseTo(40_000);
    expect(leftByPace(progress, 25_000)).toBeCloseTo(25_000);
    // A line that says nothing of it leaves the bar where it is.
    progress = advanced(progress, 'weights', null, 26_000);
    expect(progress.fraction).toBe(0.6);
    expect(leftByPace(progress, 26_000)).toBeCloseTo(24_000);
  });

  it('grows once its time has passed, and ends being known when it is late by all of it', () => {
    const progress = advanced(advanced(null, 'load', 0, 0), 'load', 0.5, 10_000);
    expect(leftByPace(progress, 20_000)).toBeCloseTo(0);
    expect(leftByPace(progress, 23_000)).toBeCloseTo(3_000);
    expect(leftByPace(progress, 29_000)).toBeCloseTo(9_000);
    expect(leftByPace(progress, 31_000)).toBeNull();
    expect([expected(5, 10), expected(0, 10), expected(-4, 10), expected(-11, 10)]).toEqual([5, 0, 4, null]);
  });

  it('is measured anew with another bar of the phase, and not for a small step back', () => {
    let progress = advanced(advanced(null, 'image', 0, 0), 'image', 0.4, 8_000);
    progress = advanced(progress, 'image', 0.3, 9_000);
    expect(leftByPace(progress, 9_000)).toBeCloseTo(21_000);
    progress = advanced(progress, 'image', 0, 30_000);
    expect(leftByPace(progress, 30_000)).toBeNull();
    progress = advanced(progress, 'image', 0.5, 31_000);
    expect(leftByPace(progress, 31_000)).toBeCloseTo(1_000);
  });

  it('says nothing before some of it is done, nor when all of it is, nor where it counts files', () => {
    const barely = advanced(advanced(null, 'load', 0, 0), 'load', 0.01, 60_000);
    const atOnce = advanced(advanced(null, 'load', 0, 0), 'load', 0.9, 10);
    const done = advanced(advanced(null, 'load', 0, 0), 'load', 1, 60_000);
    // Six files of seven are there at once, and the seventh is all of it.
    const files = advanced(advanced(null, 'download', 0, 0), 'download', 0.86, 60_000);
    for (const progress of [barely, done, files]) expect(leftByPace(progress, 60_000)).toBeNull();
    expect(leftByPace(atOnce, 10)).toBeNull();
  });
});

describe('the forecast of a start', () => {
  it('knows nothing of a first start but how far its phase is, and the second one to its end', () => {
    const story = new Story({ models: [simulatedModel('m', {}, { loadMs: LOAD_MS })] });
    story.ask('m');
    story.run(LOAD_MS * 0.6);
    expect(coming(story, 'm')).toMatchObject({ stage: 'starting', phase: 'load', left: null });
    expect(coming(story, 'm')?.phaseLeft).toBeGreaterThan(0);
    expect(etaOf(story, 'm')).toBeNull();
    story.untilAnswered(1);
    unload(story, 'm');
    expect(coming(story, 'm')).toBeNull();
    const took = (story.effects('start.learned')[0]?.times.phases ?? []).reduce((sum, { lasted }) => sum + lasted, 0);
    const begun = story.now;
    story.ask('m');
    story.run(SECOND);
    // Starts of this world differ by a fifth to either side.
    expect(etaOf(story, 'm')).toBeGreaterThan(took - 2 * SECOND);
    expect(etaOf(story, 'm')).toBeLessThanOrEqual(took);
    story.until('most of it is loaded', () => story.current('m')?.progress?.fraction === 0.75);
    const told = etaOf(story, 'm') ?? Infinity;
    const at = story.now;
    story.untilReady('m');
    expect(at - begun + told).toBeGreaterThan(0.8 * (story.now - begun));
    expect(at - begun + told).toBeLessThan(1.2 * (story.now - begun));
    expect(etaOf(story, 'm')).toBeNull();
  });

  it('is not taken over by another launch line, and there again when the old one comes back', () => {
    const story = experienced();
    const change = (specHash: string): void => {
      const { settings } = story.state;
      const model = settings.models.get('m');
      if (!model) throw new Error('no model');
      const models = new Map([['m', { ...model, specHash }]]);
      story.world.kernel.step({ kind: 'settings.replaced', settings: { ...settings, models } });
    };
    change('m#1');
    story.ask('m');
    story.run(SECOND);
    expect(coming(story, 'm')).toMatchObject({ stage: 'starting', left: null });
    story.untilAnswered(2);
    unload(story, 'm');
    change('m#0');
    story.ask('m');
    story.run(SECOND);
    expect(coming(story, 'm')?.left).toBeGreaterThan(0);
  });

  it('comes from earlier runs, of which a few per model are kept, and what this run has seen is newer', () => {
    const story = experienced();
    const [learned] = story.effects('start.learned').map(({ times }) => times);
    if (!learned) throw new Error('nothing was learned');
    const other = (specHash: string): StartTimes => ({ ...learned, signature: { ...learned.signature, specHash } });
    const old = { ...learned, phases: [{ phase: 'load', lasted: 9 * MINUTE }] };
    const loaded = [old, ...Array.from({ length: 20 }, (_, index) => other(`old#${index}`))];
    story.world.kernel.step({ kind: 'start_times.loaded', times: [...loaded, { ...old, model: 'nobody' }] });
    const known = story.state.models.get('m')?.startTimes ?? [];
    expect(known).toHaveLength(8);
    expect(known.at(-1)).toEqual(learned);
  });

  it('of one that an earlier run launched is unknown: nobody saw when', () => {
    const story = experienced();
    story.ask('m');
    story.run(LOAD_MS * 0.6);
    expect(coming(story, 'm')?.left).toBeGreaterThan(0);
    const next = new Story({ models: [simulatedModel('m', {}, { loadMs: LOAD_MS })] });
    const times = story.effects('start.learned').map((effect) => effect.times);
    next.world.kernel.step({ kind: 'start_times.loaded', times });
    for (const found of story.world.engines.found(true)) next.world.kernel.step({ kind: 'replica.found', found });
    expect(next.state.models.get('m')?.startTimes).toEqual(times);
    expect(coming(next, 'm')).toMatchObject({ stage: 'starting', left: null });
    const adopted = next.current('m');
    if (!adopted) throw new Error('it is not adopted');
    next.world.kernel.step({ kind: 'replica.ready', replica: { id: adopted.id, generation: adopted.generation } });
    expect(next.phase('m')).toBe('ready');
    // It was ready at once: no start takes no time.
    expect(next.effects('start.learned')).toEqual([]);
    expect(next.state.models.get('m')?.startTimes).toEqual(times);
  });

  it('before it has a place is by the newest start of the same launch line and image', () => {
    const { state } = new Story({ models: [simulatedModel('m', { needsPreparation: true })] });
    const model = state.models.get('m');
    if (!model) throw new Error('no model');
    const learned = (specHash: string, image: string | null, lasted: Milliseconds): StartTimes => ({
      model: 'm',
      signature: { specHash, image, deviceClass: 'card of 24 GiB', tensorParallel: 1 },
      phases: [{ phase: 'launch', lasted }],
    });
    model.startTimes.push(learned('m#0', 'sha256:old', 10_000), learned('m#0', 'sha256:new', 20_000));
    model.startTimes.push(learned('m#1', 'sha256:new', 30_000));
    // Which image it will be is not known before it was looked for.
    expect([model.image, model.prepared, wholeStart(model)]).toEqual([null, false, 20_000]);
    model.prepared = true;
    expect(wholeStart(model)).toBeNull();
    model.image = 'sha256:old';
    expect(wholeStart(model)).toBe(10_000);
    model.image = 'sha256:another';
    expect(wholeStart(model)).toBeNull();
  });

  it('of one that waits for a neighbour comes after its start', () => {
    const devices = [simulatedDevice('gpu-0', 80)];
    const half = { memory: 30 * GIB, deviceIds: ['gpu-0'], deviceCount: 1 };
    const models = ['a', 'b'].map((name) => simulatedModel(name, half, { loadMs: LOAD_MS }));
    const story = new Story({ devices, models });
    for (const name of ['a', 'b']) {
      story.ask(name);
      story.untilReady(name);
    }
    for (const name of ['a', 'b']) unloadOne(story, name);
    story.ask('a');
    story.run(SECOND);
    story.ask('b');
    story.run(SECOND);
    expect(story.phase('b')).toBe('reserved');
    const alone = (story.state.models.get('b')?.startTimes[0]?.phases ?? []).reduce((sum, it) => sum + it.lasted, 0);
    expect(coming(story, 'b')).toMatchObject({ stage: 'reserved', phase: null });
    expect(coming(story, 'b')?.left).toBe(alone + (coming(story, 'a')?.left ?? NaN));
  });

  it('of one that waits on two devices comes after the longer of the starts there', () => {
    const devices = [simulatedDevice('gpu-0', 80), simulatedDevice('gpu-1', 80)];
    const on = (name: string, deviceIds: readonly string[]) =>
      simulatedModel(name, { memory: 30 * GIB, deviceIds, deviceCount: deviceIds.length }, { loadMs: LOAD_MS });
    const story = new Story({ devices, models: [on('a', ['gpu-0']), on('b', ['gpu-1']), on('w', ['gpu-0', 'gpu-1'])] });
    const times = Object.entries({ a: 90_000, b: 20_000, w: 50_000 }).map(([model, lasted]): StartTimes => {
      const tensorParallel = model === 'w' ? 2 : 1;
      const signature = { specHash: `${model}#0`, image: null, deviceClass: 'card of 80 GiB', tensorParallel };
      return { model, signature, phases: [{ phase: 'launch', lasted }] };
    });
    story.world.kernel.step({ kind: 'start_times.loaded', times });
    for (const name of ['a', 'b', 'w']) {
      story.ask(name);
      story.run(10);
    }
    expect(['a', 'b', 'w'].map((name) => coming(story, name)?.stage)).toEqual(['starting', 'starting', 'reserved']);
    expect(coming(story, 'w')?.left).toBe(50_000 + (coming(story, 'a')?.left ?? NaN));
  });

  it('of one that is to have its turn is unknown while requests run where it goes', () => {
    const limits = { maxInFlight: 150, maxTurn: 10_000, minResidency: 0, drainTimeout: 10 * MINUTE };
    const models = ['a', 'b'].map((name) => simulatedModel(name, {}, { loadMs: LOAD_MS }));
    const story = new Story({ limits, models });
    story.ask('b');
    story.untilAnswered(1);
    story.ask('a', 1, { workMs: 5 * MINUTE });
    story.untilReady('a');
    story.ask('b');
    story.until('b has the place', () => story.phase('b') === 'reserved');
    expect(coming(story, 'b')).toMatchObject({ stage: 'reserved', left: null });
    story.until('a has ended', () => story.phase('b') === 'starting');
    expect(coming(story, 'b')?.left).toBeGreaterThan(0);
  });

  it('of its files is by their pace, and then as long as its starts take', () => {
    const model = simulatedModel('m', { needsPreparation: true }, { loadMs: LOAD_MS, prepareMs: 100_000 });
    const story = new Story({ models: [model] });
    story.ask('m');
    const half = (): boolean => story.state.models.get('m')?.preparation?.progress.fraction === 0.5;
    story.until('half of it is there', half);
    const first = coming(story, 'm');
    expect(first).toMatchObject({ stage: 'preparing', phase: 'weights', fraction: 0.5, left: null });
    expect(first?.phaseLeft).toBeGreaterThan(0);
    const seen = (): Milliseconds | null => snapshot(story.state, story.now).models.get('m')?.preparation?.eta ?? null;
    expect(seen()).toBe(first?.phaseLeft);
    const signature = { specHash: 'm#0', image: null, deviceClass: 'card of 24 GiB', tensorParallel: 1 };
    const times = { model: 'm', signature, phases: [{ phase: 'load', lasted: 70_000 }] };
    story.world.kernel.step({ kind: 'start_times.loaded', times: [times] });
    expect(coming(story, 'm')?.left).toBe((first?.phaseLeft ?? NaN) + 70_000);
    expect(seen()).toBe((first?.phaseLeft ?? NaN) + 70_000);
    // Behind an image come weights, of which nobody knows how many are missing.
    for (const [fraction, span] of [
      [0.1, 10_000],
      [0.2, 0],
    ] as const) {
      story.world.kernel.step({ kind: 'model.prepare_progressed', model: 'm', phase: 'image', fraction });
      story.run(span);
    }
    expect(coming(story, 'm')).toMatchObject({ stage: 'preparing', phase: 'image', left: null });
    expect(coming(story, 'm')?.phaseLeft).toBeGreaterThan(0);
  });
});

function unloadOne(story: Story, name: string): void {
  story.world.kernel.step({ kind: 'model.unload', model: name, reason: 'unload' });
  story.until(`${name} is gone`, () => ![...story.state.replicas.values()].some(({ model }) => model === name));
}
