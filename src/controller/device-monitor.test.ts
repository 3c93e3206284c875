import { describe, expect, it } from 'vitest';
import { RecordingSink } from '../../test/support/scripted-fleet.ts';
import { ScriptedProbe } from '../../test/support/scripted-probe.ts';
import { ask, deviceOf, pass, startedFleet, warm, watchedFleet } from '../../test/support/watched-fleet.ts';
import type { ProbeReading } from '../probes/probe.ts';
import { GIB, MINUTE, SECOND } from '../units.ts';
import { UnknownDevices } from './device-monitor.ts';

describe('devices at the start of the gateway', () => {
  it('are those that were read, before anything may start on them', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 3);
    const fleet = await startedFleet(probe);
    expect([...fleet.controller.state.devices.keys()]).toEqual(['gpu-0']);
    expect(deviceOf(fleet)).toMatchObject({ foreignBytes: 3 * GIB, usedBytes: 3 * GIB, silent: null });
    await warm(fleet, 'a');
    expect(fleet.driver.launches[0]?.reservations).toEqual(new Map([['gpu-0', 10 * GIB]]));
  });

  it('that cannot be read leave one model at a time, until they can [items 97, 113]', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 0);
    probe.failure = 'the driver is not loaded';
    const fleet = await startedFleet(probe);
    expect(fleet.controller.devices.trouble).toMatch(/driver is not loaded.*one model runs at a time/);
    const first = await warm(fleet, 'a');
    expect([...(fleet.controller.state.replicas.get(first)?.reservations.keys() ?? [])]).toEqual(['gpus']);

    fleet.driver.processes.set(first, [1]);
    probe.set('gpu-0', 12);
    probe.processes = [{ deviceId: 'gpu-0', pid: 1, bytes: 9 * GIB }];
    probe.failure = null;
    await pass(fleet, 12 * SECOND);
    expect(fleet.controller.devices.trouble).toBeNull();
    expect([...fleet.controller.state.devices.keys()]).toEqual(['gpu-0']);
    expect(fleet.controller.state.replicas.get(first)?.reservations).toEqual(new Map([['gpu-0', 9 * GIB]]));
    expect(deviceOf(fleet)?.foreignBytes).toBe(3 * GIB);
    // 24 GiB less 2 of the budget, less what both hold: room for no other of 10; with what others leave there is.
    probe.set('gpu-0', 9);
    await pass(fleet, 12 * SECOND);
    await warm(fleet, 'b');
    expect(fleet.controller.modelState('a')).toBe('ready');
  });

  it('that are listed without their size are not read: models are not started as if there were none [item 97]', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 0, { totalBytes: 0, usedBytes: null, trouble: 'its total memory is [N/A]' });
    const fleet = await startedFleet(probe);
    expect(fleet.controller.devices.trouble).toMatch(/gpu-0: its total memory is \[N\/A\].*one model runs at a time/);
    expect([...fleet.controller.state.devices.keys()]).toEqual(['gpus']);
    probe.set('gpu-0', 3);
    await pass(fleet, 12 * SECOND);
    expect([...fleet.controller.state.devices.keys()]).toEqual(['gpu-0']);
    expect(fleet.controller.devices.trouble).toBeNull();
  });

  it('without names of processes: what ran alone is entered on what is full', async () => {
    const probe = new ScriptedProbe();
    probe.processes = null;
    probe.set('gpu-0', 0);
    probe.set('gpu-1', 0);
    probe.failure = 'no answer';
    const fleet = await startedFleet(probe);
    const first = await warm(fleet, 'a');
    probe.set('gpu-1', 11);
    probe.failure = null;
    await pass(fleet, 12 * SECOND);
    expect(fleet.controller.state.replicas.get(first)?.reservations).toEqual(new Map([['gpu-1', 11 * GIB]]));
  });

  it('that the configuration names and the machine has not got end the start; later they are only told', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 0);
    const told: boolean[] = [];
    const checkNames = (_reading: ProbeReading, booting: boolean): void => {
      told.push(booting);
      if (booting) throw new UnknownDevices('no GPU-x');
    };
    const fleet = watchedFleet(probe, { devices: { checkNames } });
    await expect(fleet.controller.devices.settle()).rejects.toThrow(UnknownDevices);
    const later = watchedFleet(probe, { devices: { checkNames } });
    probe.failure = 'no answer';
    const settled = later.controller.devices.settle();
    await pass(later, 3 * SECOND);
    await settled;
    probe.failure = null;
    await later.controller.devices.watch();
    expect(told).toEqual([true, false]);
    expect([...later.controller.state.devices.keys()]).toEqual(['gpu-0']);
  });

  it('that are none at all are looked for again now and then', async () => {
    const probe = new ScriptedProbe();
    const fleet = await startedFleet(probe);
    expect(fleet.controller.state.devices.size).toBe(0);
    const { reads } = probe;
    await pass(fleet, 50 * SECOND);
    expect(probe.reads).toBe(reads);
    probe.set('gpu-0', 0);
    await pass(fleet, MINUTE);
    expect([...fleet.controller.state.devices.keys()]).toEqual(['gpu-0']);
  });
});

describe('a look at the devices', () => {
  it('comes every ten seconds at rest, and every two while something moves [item 99]', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 0);
    const fleet = await startedFleet(probe);
    const count = async (time: number): Promise<number> => {
      const before = probe.reads;
      await pass(fleet, time);
      return probe.reads - before;
    };
    await pass(fleet, 10 * SECOND);
    expect(await count(30 * SECOND)).toBe(3);
    fleet.platform.http.answer = () => ({ status: 503, body: '' });
    fleet.controller.desk.acquire(ask('a'), new RecordingSink());
    await pass(fleet, 2 * SECOND);
    expect(await count(20 * SECOND)).toBe(10);
  });

  it('that fails a few times blocks new starts with the reason, not what is ready [items 97, 98]', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 0);
    const fleet = await startedFleet(probe);
    await warm(fleet, 'a');
    probe.failure = 'nvidia-smi: it did not answer within 5 s';
    await pass(fleet, 20 * SECOND);
    expect(deviceOf(fleet)?.silent).toMatch(/no reading for \d+ s: nvidia-smi: it did not answer/);
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('b'), sink);
    await pass(fleet, 5 * SECOND);
    expect(fleet.driver.launches).toHaveLength(1);
    expect(fleet.controller.desk.acquire(ask('a'), new RecordingSink()).kind).toBe('lease');
    probe.failure = null;
    await pass(fleet, 5 * SECOND);
    expect(deviceOf(fleet)?.silent).toBeNull();
    expect(fleet.driver.launches).toHaveLength(2);
  });

  it('in which a device is in trouble, or missing, silences that one alone', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 0);
    probe.set('gpu-1', 0);
    const fleet = await startedFleet(probe);
    probe.set('gpu-0', 0, { trouble: 'split into MIG instances' });
    await pass(fleet, 11 * SECOND);
    expect([deviceOf(fleet)?.silent, deviceOf(fleet, 'gpu-1')?.silent]).toEqual(['split into MIG instances', null]);
    probe.devices = probe.devices.filter(({ id }) => id === 'gpu-0').map((one) => ({ ...one, trouble: null }));
    await pass(fleet, 11 * SECOND);
    expect(deviceOf(fleet)?.silent).toBeNull();
    expect(deviceOf(fleet, 'gpu-1')?.silent).toMatch(/not among the devices any more/);
    expect(fleet.controller.state.devices.size).toBe(2);
  });

  it('that shows a new device, or a changed one, enters it in the books', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 0);
    const fleet = await startedFleet(probe);
    probe.set('gpu-1', 1);
    await pass(fleet, 11 * SECOND);
    expect(deviceOf(fleet, 'gpu-1')).toMatchObject({ foreignBytes: GIB, totalBytes: 24 * GIB });
    probe.set('gpu-1', 1, { totalBytes: 48 * GIB });
    await pass(fleet, 11 * SECOND);
    expect(deviceOf(fleet, 'gpu-1')).toMatchObject({ totalBytes: 48 * GIB, budgetBytes: 46 * GIB });
  });

  it('is shared by all who ask for it while one is under way', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 0);
    const fleet = await startedFleet(probe);
    let go: () => void = () => undefined;
    probe.held = new Promise((resolve) => (go = resolve));
    const { devices } = fleet.controller;
    const before = probe.reads;
    const first = devices.look();
    const others = [devices.look(), devices.look(), devices.look()];
    go();
    const [begun, ...asked] = await Promise.all([first, ...others]);
    // A look that was begun before the question is no answer to it.
    expect(probe.reads).toBe(before + 2);
    expect(new Set(asked).size).toBe(1);
    expect(asked[0]).not.toBe(begun);
  });
});
