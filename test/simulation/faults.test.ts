import { describe, expect, it } from 'vitest';
import { HEALTH_STRIKES } from '../../src/core/lifecycle/liveness.ts';
import { simulatedDevice, simulatedModel } from './scenario.ts';
import { Story } from './story.ts';

const HEALTH_PERIOD = 5_000;

describe('engines that die', () => {
  it('[item 71] are seen at once, and the next request starts them again', () => {
    const story = new Story({});
    story.ask('m');
    story.untilAnswered(1);
    story.act({ kind: 'crash', model: 'm' });
    story.run(1_000);
    expect(story.phase('m')).toBe('none');
    story.ask('m');
    story.untilAnswered(2);
    expect(story.tally()).toEqual({ completed: 2 });
    expect(story.starts('m')).toBe(2);
  });

  it('[items 62, 71] give back what has shown nothing to its client, once, to the head of the queue', () => {
    const story = new Story({ models: [simulatedModel('m', { maxConcurrent: 4 })] });
    const first = story.ask('m', 4, { workMs: 60_000 });
    story.untilReady('m');
    const second = story.ask('m', 4, { workMs: 60_000 });
    story.run(2_000);
    story.act({ kind: 'crash', model: 'm' });
    story.untilAnswered(8);
    expect(story.tally()).toEqual({ completed: 8 });
    const granted = story.effects('ticket.granted').map((grant) => grant.id);
    expect(granted.slice(4)).toEqual([...first, ...second]);
  });

  it('[item 72] rest when they die again and again, and what is always on comes back by itself', () => {
    const story = new Story({ models: [simulatedModel('m', { alwaysOn: true })] });
    const rests: number[] = [];
    for (let crash = 1; crash <= 5; crash += 1) {
      story.untilReady('m');
      story.act({ kind: 'crash', model: 'm' });
      story.until('seen', () => story.decisions('replica.crashed').length === crash);
      const until = story.state.models.get('m')?.backoff.until ?? null;
      rests.push(until === null ? 0 : until - story.now);
    }
    expect(rests[0]).toBe(0);
    rests.slice(1).forEach((rest, index) => {
      expect(rest).toBeGreaterThanOrEqual(750 * 2 ** index);
      expect(rest).toBeLessThanOrEqual(1_250 * 2 ** index);
    });
    story.untilReady('m');
    expect(story.starts('m')).toBe(6);
  });
});

describe('engines that hang', () => {
  it('are ended when they refuse and are silent by turns, and never answer', () => {
    const story = new Story({});
    story.ask('m');
    story.untilAnswered(1);
    const { id = '', generation = 0 } = story.current('m') ?? {};
    for (let look = 0; look < 2 * HEALTH_STRIKES - 1; look += 1) {
      expect(story.phase('m')).toBe('ready');
      const report = { health: look % 2 === 0 ? 'refused' : 'slow', countersMoved: false, bytesMoved: false } as const;
      story.world.kernel.step({ kind: 'replica.checked', replica: { id, generation }, report });
    }
    expect(story.stops('m')).toEqual(['unhealthy']);
  });

  it('are ended by the stall rule although their health says 200, and the next request is served within stall + load', () => {
    const story = new Story({ models: [simulatedModel('m', { stallTimeout: 30_000 })] });
    story.ask('m', 2, { workMs: 10_000 });
    story.untilReady('m');
    story.run(1_000);
    story.act({ kind: 'hang', model: 'm' });
    const hung = story.now;
    story.untilAnswered(2);
    expect(story.now - hung).toBeLessThanOrEqual(30_000 + 3 * HEALTH_PERIOD);
    expect(story.tally()).toEqual({ upstream_timeout: 2 });
    story.ask('m');
    story.untilAnswered(3, 45_000);
    expect(story.tally()).toEqual({ upstream_timeout: 2, completed: 1 });
  });

  it('are told from engines with a prefill of twenty minutes that moves counters only', () => {
    const story = new Story({ models: [simulatedModel('m', { stallTimeout: 30_000 })] });
    story.ask('m', 1, { workMs: 1_200_000 });
    story.untilAnswered(1, 1_300_000);
    expect(story.tally()).toEqual({ completed: 1 });
  });

  it('are left alone while they have no work', () => {
    const story = new Story({ models: [simulatedModel('m', { stallTimeout: 30_000 })] });
    story.ask('m');
    story.untilAnswered(1);
    story.act({ kind: 'hang', model: 'm' });
    story.run(600_000);
    expect(story.phase('m')).toBe('ready');
  });

  it.each(['sick', 'slow_health'] as const)('leave after three strikes of health that is %s, not after two', (kind) => {
    const story = new Story({});
    story.ask('m');
    story.untilAnswered(1);
    story.act({ kind, model: 'm' });
    const since = story.now;
    story.run((HEALTH_STRIKES - 1) * HEALTH_PERIOD - 100);
    expect(story.phase('m')).toBe('ready');
    story.until('unhealthy', () => story.decisions('replica.unhealthy').length > 0);
    expect(story.now - since).toBeLessThanOrEqual(HEALTH_STRIKES * HEALTH_PERIOD + 100);
  });

  it('may be slow to say that they are well as long as anything moves', () => {
    const story = new Story({});
    story.ask('m', 1, { workMs: 600_000 });
    story.untilReady('m');
    story.run(1_000);
    story.act({ kind: 'slow_health', model: 'm' });
    story.untilAnswered(1);
    expect(story.tally()).toEqual({ completed: 1 });
  });
});

describe('a gateway that dies', () => {
  const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
  const models = devices.map(({ id }, index) => simulatedModel(`m${index}`, { deviceIds: [id] }));

  it('[item 73] finds its engines again: adopts what is ours and unchanged, doubles none', () => {
    const story = new Story({ devices, models });
    story.ask('m0');
    story.untilAnswered(1);
    story.ask('m1');
    story.run(1_000);
    const ids = [story.current('m0')?.id, story.current('m1')?.id];
    story.act({ kind: 'killed', adoptable: true });
    expect([story.current('m0')?.id, story.current('m1')?.id]).toEqual(ids);
    story.ask('m0');
    story.ask('m1');
    story.until('answers', () => story.tally()['completed'] === 3);
    expect(story.effects('replica.launch')).toHaveLength(2);
    expect(story.decisions('replica.ready').filter((decision) => decision.reason.includes('adopted'))).toHaveLength(2);
  });

  it('[item 73] ends what it may not adopt, and launches nothing before its memory is back', () => {
    const story = new Story({ devices, models });
    story.ask('m0');
    story.untilAnswered(1);
    story.act({ kind: 'stop_fault', model: 'm0', fault: 'slow', lastsMs: 20_000 });
    story.act({ kind: 'killed', adoptable: false });
    expect(story.decisions('replica.not_adopted')).toHaveLength(1);
    story.ask('m0');
    story.run(10_000);
    expect(story.phase('m0')).toBe('reserved');
    story.until('answer', () => story.tally()['completed'] === 2);
  });

  it('[item 85] keeps pins, and loads what is to be on always', () => {
    const story = new Story({
      devices,
      models: [...models.slice(0, 1), simulatedModel('on', { deviceIds: ['gpu-1'], alwaysOn: true })],
    });
    story.untilReady('on');
    story.act({ kind: 'pin', model: 'm0' });
    story.untilReady('m0');
    story.act({ kind: 'killed', adoptable: false });
    story.untilReady('on');
    story.untilReady('m0');
    expect(story.state.models.get('m0')?.pinned).toBe(true);
  });
});
