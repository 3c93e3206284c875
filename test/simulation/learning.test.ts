import { describe, expect, it } from 'vitest';
import { snapshot } from '../../src/core/snapshot.ts';
import { GIB, MIB } from '../../src/units.ts';
import { simulatedDevice, simulatedModel, simulatedSizing, sizeOfWeights, type SimulatedModel } from './scenario.ts';
import { Story } from './story.ts';

const devices = [simulatedDevice('gpu-0', 48, 1)];
const sized = (name: string, over: Partial<Omit<SimulatedModel, 'settings'>> = {}) =>
  simulatedModel(
    name,
    { memory: null, sizing: simulatedSizing({ utilization: 0.5 }), needsPreparation: true },
    { size: sizeOfWeights(20 * GIB), measured: 'bytes', truth: { steady: 0.5, peak: 0.75 }, ...over },
  );
const estimated = 22.25 * GIB;
const bytes = (story: Story, model: string) => story.current(model)?.reservations.get('gpu-0');
const untilMeasured = (story: Story, times = 1): void =>
  story.until('measured', () => story.decisions('replica.measured').length === times);

describe('what an engine was seen to take', () => {
  it('[items 126, 165] replaces what was promised in the step that says so, and others start in what it leaves', () => {
    const story = new Story({ devices, models: [sized('a'), sized('b'), sized('c', { measured: 'never' })] });
    story.ask('a');
    story.untilReady('a');
    expect(bytes(story, 'a')).toBe(estimated);
    untilMeasured(story);
    expect(bytes(story, 'a')).toBe(estimated / 2);
    expect(story.current('a')?.measured).toBe(true);
    expect(snapshot(story.state, story.now).devices.get('gpu-0')?.reservedBytes).toBe(estimated / 2);
    story.ask('b');
    story.untilReady('b');
    untilMeasured(story, 2);
    story.ask('c');
    story.untilAnswered(3);
    expect(story.state.counters.evictions).toBe(0);
  });

  it('[items 123, 128] is what the next start is planned with, peak apart from steady, and is told to be written down', () => {
    const story = new Story({ devices, models: [sized('a')] });
    story.ask('a');
    untilMeasured(story);
    const [learned] = story.effects('footprint.learned');
    expect(learned?.footprint).toMatchObject({ steadyBytes: estimated / 2, peakBytes: estimated * 0.75 });
    story.act({ kind: 'unload', model: 'a' });
    story.ask('a');
    story.untilReady('a');
    const replica = story.current('a');
    expect(replica?.reservations.get('gpu-0')).toBe(estimated / 2);
    expect(replica?.peaks.get('gpu-0')).toBe(estimated * 0.75);
    // The share is that of the first start: one that followed what was seen would shrink or grow with every run.
    const shares = story.effects('replica.launch').map(({ share }) => share.utilization);
    expect(shares[1]).toBe(shares[0]);
  });

  it('[item 164] is not used again once the configuration has changed', () => {
    const story = new Story({ devices, models: [sized('a')] });
    story.ask('a');
    untilMeasured(story);
    story.act({ kind: 'reload', model: 'a', change: 'spec', value: 0 });
    story.ask('a');
    story.until('anew', () => story.starts('a') === 2);
    expect(bytes(story, 'a')).toBe(estimated);
    untilMeasured(story, 2);
    expect(story.effects('footprint.learned')).toHaveLength(2);
  });

  it('is loaded from earlier runs, the newest of each kind, and forgotten for models that are not there', () => {
    const story = new Story({ devices, models: [sized('a')] });
    const footprint = {
      model: 'a',
      signature: { specHash: 'a#0', image: null, deviceClass: 'card of 48 GiB', tensorParallel: 1 },
      ...{ steadyBytes: 9 * GIB, peakBytes: 10 * GIB, utilization: 0.4, kvCacheBytes: 2 * GIB, kvCacheTokens: null },
      ...{ startTime: 20_000, measuredAt: 5, source: 'process' as const },
    };
    const older = { ...footprint, steadyBytes: 4 * GIB, measuredAt: 4 };
    const footprints = [older, footprint, older, { ...footprint, model: 'gone' }];
    story.world.kernel.step({ kind: 'footprints.loaded', footprints });
    expect(snapshot(story.state, story.now).models.get('a')).toMatchObject({
      need: { basis: 'footprint', totalBytes: 9 * GIB, peakBytes: 10 * GIB },
      footprint: { measuredAt: 5 },
    });
    story.ask('a');
    story.until('launched', () => story.starts('a') === 1);
    expect(story.effects('replica.launch')[0]?.share).toMatchObject({ utilization: 0.4, kvCacheBytes: 2 * GIB });
  });

  it('makes the device full, and is said once, when it is more than was promised and than there is', () => {
    const large = sized('large', { truth: { steady: 1.1, peak: 1.1 }, size: sizeOfWeights(28 * GIB) });
    const story = new Story({
      devices,
      models: [large, sized('b', { size: sizeOfWeights(12 * GIB), truth: { steady: 1, peak: 1 } })],
    });
    story.ask('b');
    story.untilReady('b');
    untilMeasured(story);
    story.ask('large');
    story.untilReady('large');
    untilMeasured(story, 2);
    const words = story.decisions('device.overrun');
    expect(words).toHaveLength(0);
    // A start that would have fitted what was promised waits for it now.
    story.world.kernel.step({
      kind: 'replica.measured',
      replica: { id: story.current('large')?.id ?? '', generation: 1 },
      steady: new Map([['gpu-0', 40 * GIB]]),
      footprint: null,
    });
    expect(story.decisions('device.overrun')).toHaveLength(1);
    expect(story.decisions('device.overrun')[0]?.reason).toContain('which has 48GiB to give');
    expect(story.phase('b')).toBe('ready');
    expect(story.phase('large')).toBe('ready');
  });

  it('leaves the promise of a device that was not read', () => {
    const both = [...devices, simulatedDevice('gpu-1', 48, 1)];
    const deviceIds = both.map(({ id }) => id);
    const wide = simulatedModel('wide', { memory: 20 * GIB, deviceIds, deviceCount: 2 });
    const story = new Story({ devices: both, models: [wide] });
    story.ask('wide');
    story.untilReady('wide');
    const replica = { id: story.current('wide')?.id ?? '', generation: 1 };
    const steady = new Map([['gpu-1', 12 * GIB]]);
    story.world.kernel.step({ kind: 'replica.measured', replica, steady, footprint: null });
    expect(new Map(story.current('wide')?.reservations)).toEqual(new Map([['gpu-0', 20 * GIB], ...steady]));
  });

  it('is not believed of devices on which it does not stand, nor of one that is not up', () => {
    const story = new Story({ devices: [...devices, simulatedDevice('gpu-1', 48, 1)], models: [sized('a')] });
    story.ask('a');
    story.until('launched', () => story.phase('a') === 'starting');
    const say = (on: string): void =>
      story.world.kernel.step({
        kind: 'replica.measured',
        replica: { id: story.current('a')?.id ?? '', generation: 1 },
        steady: new Map([[on, GIB]]),
        footprint: null,
      });
    say('gpu-0');
    expect(bytes(story, 'a')).toBe(estimated);
    story.untilReady('a');
    say('gpu-1');
    expect([...(story.current('a')?.reservations ?? [])]).toEqual([['gpu-0', estimated]]);
  });
});

describe('a start that ran out of memory', () => {
  const lack = (story: Story, shortage: number): void => {
    story.run(400_000);
    story.ask('a');
    story.until('launched', () => story.phase('a') === 'starting');
    const { id = '', generation = 0 } = story.current('a') ?? {};
    const message = 'no room for the KV cache.';
    story.world.kernel.step({
      ...{ kind: 'replica.start_failed', replica: { id, generation }, cause: 'out_of_memory' },
      ...{ message, shortage },
    });
  };

  it('[item 125] raises the next estimate by what it lacked, and says so', () => {
    const story = new Story({ devices, models: [sized('a')] });
    lack(story, 512 * MIB);
    expect(story.decisions('model.resized')[0]?.reason).toContain('lacked 512MiB');
    story.run(400_000);
    story.ask('a');
    story.until('launched', () => story.phase('a') === 'starting');
    expect(bytes(story, 'a')).toBe(estimated + 512 * MIB);
    untilMeasured(story);
    // Now it is known better.
    expect(story.state.models.get('a')?.shortage).toBe(0);
  });

  it('[item 125] raises it by half at most, and never past the budget', () => {
    const story = new Story({ devices, models: [sized('a')] });
    for (let failure = 0; failure < 4; failure += 1) lack(story, 5 * GIB);
    expect(story.state.models.get('a')?.shortage).toBe(estimated / 2);
    const tight = new Story({ devices: [simulatedDevice('gpu-0', 24, 1)], models: [sized('a')] });
    for (let failure = 0; failure < 2; failure += 1) lack(tight, 5 * GIB);
    expect(tight.state.models.get('a')?.shortage).toBe(1.75 * GIB);
  });
});

describe('a footprint that does not hold', () => {
  it('is not believed again after a start that was planned with it ran out of memory', () => {
    const story = new Story({ devices, models: [sized('a')] });
    story.ask('a');
    untilMeasured(story);
    story.act({ kind: 'unload', model: 'a' });
    for (let failure = 1; failure <= 2; failure += 1) {
      expect(story.decisions('footprint.doubted')).toEqual([]);
      story.act({ kind: 'start_fault', model: 'a', fault: 'exits', cause: 'out_of_memory', share: 0.5 });
      story.ask('a');
      story.until('failed', () => story.tally('a')['model_start_failed'] === failure);
      expect(bytes(story, 'a')).toBeUndefined();
      story.run(10_000);
    }
    expect(story.decisions('footprint.doubted')[0]?.reason).toContain('11.1GiB');
    story.ask('a');
    story.untilReady('a');
    expect(bytes(story, 'a')).toBe(estimated);
    untilMeasured(story, 2);
    expect(story.effects('footprint.learned')).toHaveLength(2);
  });
});
