import { describe, expect, it } from 'vitest';
import { snapshot } from '../../src/core/snapshot.ts';
import { GIB } from '../../src/units.ts';
import { simulatedDevice, simulatedModel, UNREAD } from './scenario.ts';
import { Story } from './story.ts';

const devices = ['gpu-0', 'gpu-1'].map((id) => simulatedDevice(id, 24));
const deviceIds = devices.map(({ id }) => id);
const on = (name: string, ids = deviceIds, gib = 15) => simulatedModel(name, { memory: gib * GIB, deviceIds: ids });
const places = (story: Story, model: string) => [...(story.current(model)?.reservations.keys() ?? [])];
const deviceOf = (story: Story, id: string) => snapshot(story.state, story.now).devices.get(id);

describe('a device that cannot be read', () => {
  it('[items 97, 98] takes no start, while what is ready there serves, and says why', () => {
    const story = new Story({ devices: devices.slice(0, 1), models: [on('a', ['gpu-0'], 8), on('b', ['gpu-0'], 8)] });
    story.ask('a');
    story.untilReady('a');
    story.act({ kind: 'silent', device: 'gpu-0', lastsMs: 60_000 });
    expect(deviceOf(story, 'gpu-0')).toMatchObject({ state: 'stale', silent: 'nvidia-smi does not answer' });
    story.ask('a', 5);
    story.ask('b');
    story.run(30_000);
    expect(story.tally('a')).toEqual({ completed: 6 });
    expect(story.starts('b')).toBe(0);
    expect(snapshot(story.state, story.now).models.get('b')?.waitingFor).toContain('nvidia-smi does not answer');
    story.untilAnswered(7);
    expect(story.tally('b')).toEqual({ completed: 1 });
    expect(story.decisions('device.silent')).toHaveLength(1);
    expect(story.decisions('device.seen')).toHaveLength(1);
    expect(deviceOf(story, 'gpu-0')?.state).toBe('free');
  });

  it('keeps nobody from another device, for the sake of one that needs both', () => {
    const pair = simulatedModel('pair', { memory: 15 * GIB, deviceIds, deviceCount: 2, alwaysOn: true });
    const story = new Story({ devices, models: [pair, on('b')] });
    story.act({ kind: 'silent', device: 'gpu-1', lastsMs: 3_600_000 });
    story.act({ kind: 'unload', model: 'pair' });
    story.until('gone', () => story.state.replicas.size === 0);
    story.act({ kind: 'load', model: 'pair' });
    expect(story.state.unplaced.has('pair')).toBe(true);
    story.ask('b');
    story.untilAnswered(1, 60_000);
    expect(story.tally('b')).toEqual({ completed: 1 });
  });

  it('gives what is reserved there a place elsewhere', () => {
    const models = [on('a', ['gpu-0'], 8), on('b'), on('big', ['gpu-1'], 20)];
    const story = new Story({ devices, models });
    story.ask('a');
    story.until('a loads', () => story.phase('a') === 'starting');
    story.act({ kind: 'foreign', device: 'gpu-1', share: 0.9 });
    story.ask('b');
    story.run(100);
    story.act({ kind: 'foreign', device: 'gpu-1', share: 0 });
    story.act({ kind: 'silent', device: 'gpu-0', lastsMs: 600_000 });
    story.untilAnswered(2);
    expect(places(story, 'b')).toEqual(['gpu-1']);
  });
});

describe('processes of others', () => {
  it('[items 100, 106] are respected, wait for room or refuse, and never cost a ready model', () => {
    const story = new Story({ devices: devices.slice(0, 1), models: [on('a', ['gpu-0'], 8), on('b', ['gpu-0'], 12)] });
    story.ask('a');
    story.untilReady('a');
    story.act({ kind: 'foreign', device: 'gpu-0', share: 0.6 });
    story.ask('b');
    expect(story.errors()[0]?.code).toBe('no_capacity');
    expect(story.errors()[0]?.message).toContain('processes outside the gateway (14.4GiB)');
    expect(story.phase('a')).toBe('ready');
    story.act({ kind: 'foreign', device: 'gpu-0', share: 0 });
    story.ask('b');
    story.until('b answered', () => story.tally('b')['completed'] === 1);
    expect(story.state.counters.evictions).toBe(0);
  });

  it('[item 101] are not what a start is taken for: it counts once, with its peak, until it is ready', () => {
    const story = new Story({ devices: devices.slice(0, 1), models: [on('a', ['gpu-0'])], probe: 'devices' });
    story.ask('a');
    story.until('a has measured', () => story.current('a')?.milestone === 'profiled');
    story.run(2_500);
    expect(deviceOf(story, 'gpu-0')).toMatchObject({ usedBytes: 15 * GIB, foreignBytes: 0, reservedBytes: 15 * GIB });
  });
});

describe('devices that nobody can read at the start', () => {
  const unread = { devices, unreadUntil: 200_000, probe: 'processes' as const };

  it('[items 97, 113] run one model at a time, until they can be read; then each stands where it is seen', () => {
    const models = [
      simulatedModel('a', { memory: 8 * GIB, deviceIds: ['gpu-1'] }, { measured: 'bytes' }),
      simulatedModel('b', { memory: 8 * GIB, deviceIds }, { measured: 'bytes' }),
    ];
    const story = new Story({ ...unread, models });
    story.ask('a');
    story.untilAnswered(1);
    story.run(2_000);
    expect(places(story, 'a')).toEqual([UNREAD]);
    expect(deviceOf(story, UNREAD)).toMatchObject({ unmeasured: true, state: 'free' });
    story.ask('b');
    expect(story.stops('a')).toEqual(['evicted']);
    story.untilReady('b');
    expect(story.state.replicas.size).toBe(1);
    story.until('devices are seen', () => story.state.devices.has('gpu-0'));
    expect(places(story, 'b')).toEqual(['gpu-0']);
    expect(story.state.devices.has(UNREAD)).toBe(false);
    story.ask('a');
    story.ask('b');
    story.untilAnswered(4);
    expect(places(story, 'a')).toEqual(['gpu-1']);
    expect(story.stops('b')).toEqual([]);
  });

  it('let no start begin beside one that nobody can see', () => {
    const models = [
      simulatedModel('a', { memory: 8 * GIB, deviceIds: ['gpu-0'] }, { measured: 'bytes', loadMs: 400_000 }),
      simulatedModel('b', { memory: 8 * GIB, deviceIds: ['gpu-1'] }),
    ];
    const story = new Story({ ...unread, models });
    story.ask('a');
    story.until('devices are seen', () => story.state.devices.has('gpu-0'));
    expect(places(story, 'a')).toEqual([UNREAD]);
    story.ask('b');
    story.run(10_000);
    expect(story.phase('b')).toBe('reserved');
    story.until('a has measured', () => story.current('a')?.milestone === 'profiled');
    expect(story.phase('b')).toBe('starting');
    story.untilAnswered(2);
    story.until('a is seen', () => places(story, 'a')[0] === 'gpu-0');
  });

  it('are adopted onto by a run that cannot read them, however many stand there', () => {
    const story = new Story({ devices, models: [on('a', ['gpu-0']), on('b', ['gpu-1'])] });
    story.ask('a');
    story.ask('b');
    story.untilAnswered(2);
    const next = new Story({ devices, unreadUntil: 500_000, models: [on('a', ['gpu-0']), on('b', ['gpu-1'])] });
    for (const found of story.world.engines.found(true)) next.world.kernel.step({ kind: 'replica.found', found });
    for (const model of ['a', 'b']) {
      expect(next.phase(model)).toBe('starting');
      expect(places(next, model)).toEqual([UNREAD]);
    }
    expect(next.decisions('replica.not_adopted')).toEqual([]);
  });
});

describe('devices that come and go with the configuration', () => {
  it('go when nothing stands there any more; what is ready there serves to its end', () => {
    const story = new Story({ devices, models: [on('a', ['gpu-1']), on('b')] });
    story.ask('a');
    story.untilReady('a');
    story.act({ kind: 'reload', model: 'a', change: 'device_lost', value: 1 });
    story.ask('a');
    story.untilAnswered(2);
    expect(places(story, 'a')).toEqual(['gpu-1']);
    story.ask('b');
    story.untilReady('b');
    expect(places(story, 'b')).toEqual(['gpu-0']);
    story.act({ kind: 'unload', model: 'a' });
    story.until('gone', () => !story.state.devices.has('gpu-1'));
    story.ask('a');
    expect(story.errors().at(-1)).toMatchObject({ code: 'no_capacity', shouldRetry: false });
    story.act({ kind: 'reload', model: 'a', change: 'devices_back', value: 0 });
    story.ask('a');
    story.until('answered', () => story.tally('a')['completed'] === 3);
  });
});

describe('a stop that cannot be verified', () => {
  it('keeps a device closed until the last of several is gone, and names one that is there', () => {
    const models = [on('a', ['gpu-0'], 8), on('b', ['gpu-0'], 8)];
    const story = new Story({ devices: devices.slice(0, 1), models });
    for (const model of ['a', 'b']) {
      story.ask(model);
      story.untilReady(model);
    }
    const gone = ['a', 'b'].map((model) => ({ id: story.current(model)?.id ?? '', generation: 1 }));
    story.act({ kind: 'stop_fault', model: 'a', fault: 'stuck', lastsMs: 900_000 });
    story.act({ kind: 'stop_fault', model: 'b', fault: 'stuck', lastsMs: 300_000 });
    for (const model of ['a', 'b']) story.act({ kind: 'unload', model });
    story.until('both stuck', () => gone.every(({ id }) => story.state.replicas.get(id)?.phase === 'zombie'));
    story.until('b gone', () => !story.state.replicas.has(gone[1]?.id ?? ''));
    expect(story.state.devices.get('gpu-0')?.quarantine).toContain(gone[0]?.id);
    story.until('a gone', () => story.state.replicas.size === 0, 1_200_000);
    expect(story.state.devices.get('gpu-0')?.quarantine).toBeNull();
  });

  it('[items 76, 77] tells the bytes that stay promised, and closes the device until they are seen back', () => {
    const story = new Story({ devices: devices.slice(0, 1), models: [on('a', ['gpu-0']), on('b', ['gpu-0'], 4)] });
    story.ask('a');
    story.untilReady('a');
    story.act({ kind: 'stop_fault', model: 'a', fault: 'late', lastsMs: 300_000 });
    story.act({ kind: 'unload', model: 'a' });
    story.until('stuck', () => story.decisions('replica.stuck').length === 1);
    const { quarantine, reservedBytes, state } = deviceOf(story, 'gpu-0') ?? {};
    expect(state).toBe('quarantined');
    expect(reservedBytes).toBe(15 * GIB);
    expect(quarantine).toContain('with 15GiB is not seen to be gone: 12GiB are still seen.');
    story.ask('b');
    story.run(1_000);
    expect(story.starts('b')).toBe(0);
    story.until('back', () => deviceOf(story, 'gpu-0')?.state === 'free');
    story.ask('b');
    story.until('answered', () => story.tally('b')['completed'] === 1);
  });
});
