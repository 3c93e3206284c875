import { describe, expect, it } from 'vitest';
import { snapshot } from '../../src/core/snapshot.ts';
import { GIB, MINUTE } from '../../src/units.ts';
import { simulatedDevice, simulatedModel, simulatedSizing, sizeOfWeights } from './scenario.ts';
import { Story } from './story.ts';

const devices = [simulatedDevice('gpu-0', 24)];
const fetched = (name: string, over: Parameters<typeof simulatedModel>[1] = {}, prepareMs = 100_000) =>
  simulatedModel(name, { memory: 15 * GIB, needsPreparation: true, ...over }, { prepareMs });
const seen = (story: Story, name: string) => snapshot(story.state, story.now).models.get(name);

describe('files', () => {
  it('[items 69, 166] are fetched before memory is promised, with the phase shown, and the wait counts as a cold start', () => {
    const story = new Story({ devices, models: [fetched('m', { queueTimeout: 10_000 })] });
    story.ask('m', 3);
    story.run(60_000);
    expect(story.state.replicas.size).toBe(0);
    expect(seen(story, 'm')).toMatchObject({
      state: 'starting',
      waitingFor: 'its files (weights, 50 %)',
      preparation: { phase: 'weights', fraction: 0.5, since: 0 },
    });
    story.untilAnswered(3);
    expect(story.tally()).toEqual({ completed: 3 });
    for (const { coldStartMs } of story.effects('ticket.granted')) expect(coldStartMs).toBeGreaterThan(100_000);
    expect(story.effects('model.prepare')).toHaveLength(1);
    expect(seen(story, 'm')?.preparation).toBeNull();
  });

  it('evict nobody while they are fetched, and delay neither stops nor starts beside them', () => {
    const story = new Story({ devices, models: [fetched('slow'), simulatedModel('a', { memory: 15 * GIB })] });
    story.act({ kind: 'prepare_fault', model: 'slow', fault: 'hangs', cause: 'image' });
    story.ask('slow');
    story.ask('a');
    story.untilAnswered(1, 60_000);
    story.act({ kind: 'unload', model: 'a' });
    story.until('a gone', () => story.state.replicas.size === 0, 10_000);
    expect(story.state.counters.evictions).toBe(0);
    expect(story.state.models.get('slow')?.preparation).not.toBeNull();
  });

  it('[items 64, 66, 67] that are not to be had fail all who wait with one cause, and the model rests', () => {
    const story = new Story({ devices, models: [fetched('m')] });
    story.act({ kind: 'prepare_fault', model: 'm', fault: 'fails', cause: 'image' });
    story.ask('m', 4);
    story.untilAnswered(4);
    expect(story.tally()).toEqual({ model_start_failed: 4 });
    expect(new Set(story.errors().map(({ cause }) => cause))).toEqual(new Set(['image']));
    story.ask('m');
    expect(story.tally()).toEqual({ model_start_failed: 4, model_backing_off: 1 });
    expect(story.starts('m')).toBe(0);
    story.run(2_000);
    story.ask('m');
    story.untilAnswered(6);
    expect(story.tally()['completed']).toBe(1);
  });

  it('[item 70] that hang are given up after start_stall_timeout, and after start_timeout however alive they look', () => {
    const model = fetched('m', { startStallTimeout: MINUTE, startTimeout: 5 * MINUTE });
    for (const [fault, limit, words] of [
      ['hangs', MINUTE, 'no progress for 60 s'],
      ['slow', 5 * MINUTE, 'not there within 300 s'],
    ] as const) {
      const story = new Story({ devices, models: [model] });
      story.act({ kind: 'prepare_fault', model: 'm', fault, cause: 'image' });
      story.ask('m');
      story.untilAnswered(1);
      expect(story.now).toBe(limit);
      expect(story.errors()[0]).toMatchObject({ code: 'model_start_failed', cause: 'start_timeout' });
      expect(story.errors()[0]?.message).toContain(words);
      expect(story.effects('model.prepare_cancelled')).toHaveLength(1);
      expect(story.world.files.isFetching('m')).toBe(false);
    }
  });

  it('are no longer fetched when nobody waits for them, unless an operator or always_on wants them', () => {
    const story = new Story({ devices, models: [fetched('m')] });
    story.ask('m', 2, { leavesAfter: 5_000 });
    story.run(6_000);
    expect(story.effects('model.prepare_cancelled')).toHaveLength(1);
    expect(story.world.files.isFetching('m')).toBe(false);
    story.act({ kind: 'load', model: 'm' });
    story.ask('m', 1, { leavesAfter: 5_000 });
    story.run(10_000);
    expect(story.world.files.isFetching('m')).toBe(true);
    story.act({ kind: 'unload', model: 'm' });
    expect(story.world.files.isFetching('m')).toBe(false);
    story.act({ kind: 'pin', model: 'm' });
    story.run(10_000);
    // Pinning has loaded it, which goes on.
    story.act({ kind: 'unpin', model: 'm' });
    expect(story.world.files.isFetching('m')).toBe(true);
    story.act({ kind: 'unload', model: 'm' });
    expect(story.effects('model.prepare')).toHaveLength(3);
    expect(story.effects('model.prepare_cancelled')).toHaveLength(3);
  });

  it('are looked for again after a start that failed for want of them, and not after one that failed otherwise', () => {
    const story = new Story({ devices, models: [fetched('m', {}, 1_000)] });
    const failAndAsk = (cause: 'model_files' | 'crashed'): void => {
      story.act({ kind: 'start_fault', model: 'm', fault: 'exits', cause, share: 0.5 });
      const answers = story.answers.length;
      story.ask('m');
      story.untilAnswered(answers + 1);
      story.run(MINUTE);
    };
    failAndAsk('crashed');
    expect(story.effects('model.prepare')).toHaveLength(1);
    failAndAsk('model_files');
    expect(story.effects('model.prepare')).toHaveLength(1);
    failAndAsk('crashed');
    expect(story.effects('model.prepare')).toHaveLength(2);
  });

  it('[item 124] of a size that could not be read for a passing reason are looked at again at the next start only', () => {
    const lost = (passing: boolean) => ({ kind: 'unknown', reason: 'the hub does not answer', passing }) as const;
    const one = { memory: null, sizing: simulatedSizing(), needsPreparation: true };
    for (const [passing, times] of [
      [true, 2],
      [false, 1],
    ] as const) {
      const story = new Story({ devices, models: [simulatedModel('m', one, { size: lost(passing) })] });
      story.ask('m', 2);
      story.untilAnswered(2);
      expect(story.effects('model.prepare')).toHaveLength(1);
      expect(seen(story, 'm')?.sizeUnknown).toBe('the hub does not answer');
      story.act({ kind: 'unload', model: 'm' });
      story.ask('m');
      story.untilAnswered(3);
      expect(story.effects('model.prepare')).toHaveLength(times);
    }
  });

  it('tell the size that the start is planned with', () => {
    const model = simulatedModel(
      'm',
      { memory: null, sizing: simulatedSizing(), needsPreparation: true },
      { size: sizeOfWeights(10 * GIB) },
    );
    const story = new Story({ devices, models: [model] });
    expect(seen(story, 'm')?.need?.basis).toBe('discovery');
    story.ask('m');
    story.untilReady('m');
    expect(seen(story, 'm')?.need).toMatchObject({ basis: 'estimate', totalBytes: 11.25 * GIB });
    expect(story.current('m')?.reservations.get('gpu-0')).toBe(11.25 * GIB);
  });

  it('are let go at shutdown, and by a reload that changes or removes the model', () => {
    const models = [fetched('m'), fetched('n'), fetched('o')];
    const story = new Story({ devices, models });
    for (const model of ['m', 'n', 'o']) story.ask(model);
    story.run(1_000);
    story.act({ kind: 'reload', model: 'm', change: 'spec', value: 0 });
    expect(story.effects('model.prepare').map(({ model }) => model)).toEqual(['m', 'n', 'o', 'm']);
    story.act({ kind: 'reload', model: 'n', change: 'removed', value: 0 });
    expect(story.tally('n')).toEqual({ model_not_found: 1 });
    story.act({ kind: 'reload', model: 'o', change: 'unstartable', value: 0 });
    expect(story.tally('o')).toEqual({ model_start_failed: 1 });
    story.world.kernel.step({ kind: 'shutdown.begun', keep: [], deadline: story.now + 1_000 });
    expect(story.tally('m')).toEqual({ shutting_down: 1 });
    for (const model of ['m', 'n', 'o']) expect(story.world.files.isFetching(model)).toBe(false);
    expect(story.world.shutdownDone).toBe(true);
  });
});

describe('an engine of an earlier run that is found late', () => {
  it('ends the preparation of its model', () => {
    const story = new Story({ models: [simulatedModel('a', { needsPreparation: true }, { prepareMs: 60_000 })] });
    story.ask('a');
    story.run(5_000);
    expect(story.state.models.get('a')?.preparation).not.toBeNull();
    story.world.kernel.step({
      kind: 'replica.found',
      found: {
        ...{ id: 'a-left', generation: 1, model: 'a', specHash: 'a#0', reservations: new Map([['gpu-0', GIB]]) },
        ...{ port: null, endpoint: { origin: 'sim://a-left', pathPrefix: '', pid: 1, container: null } },
        ...{ usable: true, ageMs: null },
      },
    });
    expect(story.state.models.get('a')?.preparation).toBeNull();
    expect(story.effects('model.prepare_cancelled')).toHaveLength(1);
    expect(story.current('a')?.id).toBe('a-left');
  });
});
