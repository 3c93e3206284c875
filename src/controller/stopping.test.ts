import { describe, expect, it } from 'vitest';
import { RecordingSink, type ScriptedFleet } from '../../test/support/scripted-fleet.ts';
import { ScriptedProbe } from '../../test/support/scripted-probe.ts';
import { ask, deviceOf, pass, startedFleet, warm } from '../../test/support/watched-fleet.ts';
import { GIB, MINUTE, SECOND } from '../units.ts';

interface Bench {
  readonly fleet: ScriptedFleet;
  readonly probe: ScriptedProbe;
  /** The one replica, ready with 9 GiB. */
  readonly id: string;
}

async function ready(named: boolean): Promise<Bench> {
  const probe = new ScriptedProbe();
  probe.set('gpu-0', 0);
  if (!named) probe.processes = null;
  const fleet = await startedFleet(probe);
  const id = await warm(fleet, 'a');
  fleet.driver.processes.set(id, [1]);
  hold(probe, named, 9, true);
  await pass(fleet, 11 * SECOND);
  return { fleet, probe, id };
}

/** What the device shows: GiB in use, by the engine's process or by nobody. */
function hold(probe: ScriptedProbe, named: boolean, used: number, alive: boolean): void {
  probe.set('gpu-0', used);
  if (named) probe.processes = alive ? [{ deviceId: 'gpu-0', pid: 1, bytes: used * GIB }] : [];
}

const unload = ({ fleet }: Bench): void =>
  fleet.controller.post({ kind: 'model.unload', model: 'a', reason: 'unload' });
const phase = ({ fleet, id }: Bench): string | undefined => fleet.controller.state.replicas.get(id)?.phase;

describe.each([
  ['with processes named', true],
  ['by the whole device', false],
])('memory after a stop, %s', (_how, named) => {
  it('is free when it is seen to be, and not before [item 127]', async () => {
    const bench = await ready(named);
    const { fleet, probe } = bench;
    unload(bench);
    await pass(fleet, 5 * SECOND);
    expect([fleet.driver.stops.length, phase(bench)]).toEqual([1, 'stopping']);
    hold(probe, named, 9, false);
    await pass(fleet, 5 * SECOND);
    expect(phase(bench)).toBe('stopping');
    hold(probe, named, 0, false);
    await pass(fleet, 2 * SECOND);
    expect(phase(bench)).toBeUndefined();
    expect(deviceOf(fleet)).toMatchObject({ quarantine: null, foreignBytes: 0 });
  });

  it('that does not come back closes its device with the reason, until it does', async () => {
    const bench = await ready(named);
    const { fleet, probe } = bench;
    unload(bench);
    hold(probe, named, 5, false);
    await pass(fleet, 32 * SECOND);
    expect(phase(bench)).toBe('zombie');
    expect(deviceOf(fleet)?.quarantine).toMatch(/5(\.0)? ?GiB of gpu-0 that it held are not seen to be free/);
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('b'), sink);
    await pass(fleet, 10 * SECOND);
    expect(fleet.driver.launches).toHaveLength(1);
    expect(sink.refusals.every(({ code }) => code === 'no_capacity')).toBe(true);
    hold(probe, named, 0, false);
    await pass(fleet, 6 * SECOND);
    expect(deviceOf(fleet)?.quarantine).toBeNull();
    await warm(fleet, 'b');
  });

  it('that somebody else has by now is theirs in the end: the rest of the device is used again', async () => {
    const bench = await ready(named);
    const { fleet, probe } = bench;
    unload(bench);
    hold(probe, named, 5, false);
    await pass(fleet, 9 * MINUTE);
    expect(phase(bench)).toBe('zombie');
    await pass(fleet, 3 * MINUTE);
    expect(phase(bench)).toBeUndefined();
    expect(deviceOf(fleet)).toMatchObject({ quarantine: null, foreignBytes: 5 * GIB });
    await warm(fleet, 'b');
  });

  it('that cannot be looked at is not free', async () => {
    const bench = await ready(named);
    const { fleet, probe } = bench;
    probe.failure = 'no answer';
    unload(bench);
    await pass(fleet, 70 * SECOND);
    expect(phase(bench)).toBe('zombie');
    expect(deviceOf(fleet)?.quarantine).toMatch(/cannot be read \(no answer\)/);
    probe.failure = null;
    hold(probe, named, 0, false);
    await pass(fleet, 6 * SECOND);
    expect(phase(bench)).toBeUndefined();
  });

  it('is not waited for by a gateway that ends', async () => {
    const bench = await ready(named);
    const { fleet } = bench;
    const { controller } = fleet;
    unload(bench);
    await pass(fleet, 2 * SECOND);
    controller.post({ kind: 'shutdown.begun', keep: [], deadline: controller.now + 30 * SECOND });
    await pass(fleet, SECOND);
    expect(controller.state.shutdown?.done).toBe(true);
  });
});
