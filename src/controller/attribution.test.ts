import { describe, expect, it } from 'vitest';
import type { ReplicaPhase } from '../core/state.ts';
import type { ProbeReading } from '../probes/probe.ts';
import { GIB } from '../units.ts';
import { Attributor, type Owner } from './attribution.ts';

type Rows = Readonly<Record<number, number>> | null;

/** One device of 24 GiB: used GiB, and GiB by process id. */
function reading(used: number, rows: Rows): ProbeReading {
  return {
    devices: [{ id: 'gpu', uuid: 'GPU-0', name: 'X', totalBytes: 24 * GIB, usedBytes: used * GIB, trouble: null }],
    processes:
      rows && Object.entries(rows).map(([pid, gib]) => ({ deviceId: 'gpu', pid: Number(pid), bytes: gib * GIB })),
    driverVersion: '580',
  };
}

function owner(id: string, phase: ReplicaPhase, gib: number, pids: readonly number[] = [], peak = gib): Owner {
  return {
    id,
    phase,
    pids,
    settling: false,
    reservations: new Map([['gpu', gib * GIB]]),
    peaks: new Map([['gpu', peak * GIB]]),
  };
}

/** GiB of others after each reading in turn. */
function foreign(...looks: readonly (readonly [number, Rows, readonly Owner[]])[]): readonly number[] {
  const attributor = new Attributor();
  return looks.map(([used, rows, owners]) => {
    const share = attributor.attribute(reading(used, rows), owners).devices.get('gpu');
    return (share?.foreignBytes ?? NaN) / GIB;
  });
}

describe('where processes are told apart', () => {
  it('what is neither ours nor promised is foreign, to the byte [items 96, 100]', () => {
    expect(foreign([13, { 1: 8, 99: 5 }, [owner('a', 'ready', 9, [1])]])).toEqual([5]);
  });

  it('memory that no process is named for belongs to others', () => {
    expect(foreign([9, { 1: 8 }, [owner('a', 'ready', 8, [1])]])).toEqual([1]);
  });

  it('a start that grows is not foreign, a tenant that comes meanwhile is [items 100, 101]', () => {
    const ready = owner('a', 'ready', 8, [1]);
    const starting = owner('b', 'starting', 10, [2]);
    expect(
      foreign(
        [8, { 1: 8 }, [ready]],
        [12, { 1: 8, 2: 4 }, [ready, starting]],
        [15, { 1: 8, 2: 4, 99: 3 }, [ready, starting]],
      ),
    ).toEqual([0, 0, 3]);
  });

  it('a start is not foreign while its processes are not listed yet, or were listed before it grew [item 101]', () => {
    const ready = owner('a', 'ready', 8, [1]);
    const both = [ready, owner('b', 'starting', 10, [2])];
    expect(
      foreign(
        [9, { 1: 8 }, [ready]],
        [13, { 1: 8 }, both],
        [16, { 1: 8, 2: 1 }, both],
        // What not even its whole promise explains.
        [21, { 1: 8, 2: 1 }, both],
        [21, { 1: 8, 2: 10 }, [ready, owner('b', 'ready', 10, [2])]],
      ),
    ).toEqual([1, 1, 1, 3, 3]);
  });

  it('memory that is still used after its process ended stays with the replica that is stopping', () => {
    const leaving = (phase: ReplicaPhase): Owner => owner('a', phase, 8, [1]);
    expect(foreign([9, { 1: 8 }, [leaving('ready')]], [9, {}, [leaving('stopping')]], [1, {}, []])).toEqual([1, 1, 1]);
  });

  it('what an engine holds beyond its promise is not free', () => {
    expect(foreign([10, { 1: 10 }, [owner('a', 'ready', 8, [1])]])).toEqual([2]);
    expect(foreign([10, { 1: 10 }, [owner('a', 'starting', 8, [1], 10)]])).toEqual([0]);
  });

  it('an engine whose processes are not to be seen counts with its promise', () => {
    const owners = [owner('a', 'ready', 8, [1]), owner('hidden', 'ready', 6)];
    expect(foreign([15, { 1: 8 }, owners])).toEqual([1]);
    const moving = (phase: ReplicaPhase): readonly Owner[] => [...owners, owner('c', phase, 4, [3])];
    expect(foreign([15, { 1: 8 }, owners], [17, { 1: 8, 3: 1 }, moving('starting')])).toEqual([1, 1]);
    expect(foreign([15, { 1: 8 }, owners], [17, { 1: 8 }, moving('stopping')])).toEqual([1, 1]);
  });
});

describe('where processes are not told apart', () => {
  it('what promises do not explain is foreign; less than promised is free of nobody [item 100]', () => {
    expect(foreign([10, null, [owner('a', 'ready', 8)]], [5, null, [owner('a', 'ready', 8)]])).toEqual([2, 0]);
  });

  it('what is foreign is not judged anew while something starts or stops [item 101]', () => {
    const ready = owner('a', 'ready', 8);
    expect(
      foreign(
        [10, null, [ready]],
        [14, null, [ready, owner('b', 'starting', 10)]],
        [20, null, [ready, owner('b', 'ready', 10)]],
        [12, null, [ready, owner('b', 'stopping', 10)]],
        [10, null, [ready]],
      ),
    ).toEqual([2, 2, 2, 2, 2]);
  });

  it('what not even all promises together explain is foreign at once', () => {
    const owners = [owner('a', 'ready', 8), owner('b', 'starting', 6)];
    expect(foreign([8, null, [owner('a', 'ready', 8)]], [20, null, owners])).toEqual([0, 6]);
  });

  it('a list of processes in which ours never appear says nothing, as in a container', () => {
    const ready = owner('a', 'ready', 8, [1]);
    expect(foreign([9, {}, [ready]], [9, { 77: 8 }, [ready]])).toEqual([1, 1]);
  });

  it('what an earlier run left, and is still being looked at, is ours', () => {
    expect(foreign([9, null, [owner('a', 'starting', 8)]])).toEqual([1]);
  });
});

it('a device in trouble has no share', () => {
  const { devices, ...rest } = reading(1, null);
  const broken = { ...rest, devices: devices.map((device) => ({ ...device, trouble: 'split into MIG instances' })) };
  expect(new Attributor().attribute(broken, []).devices.size).toBe(0);
});

it('memory is added up per replica and device over all of its processes [item 126]', () => {
  const { seen, pids } = new Attributor().attribute(reading(9, { 1: 3, 2: 4, 99: 2 }), [
    owner('a', 'ready', 8, [1, 2]),
  ]);
  expect(seen.get('a')?.get('gpu')).toBe(7 * GIB);
  expect([...pids]).toEqual([1, 2, 99]);
});

it('38: only own processes count, added up on each card; who has none takes nothing [items 126, 146]', () => {
  const { devices, ...rest } = reading(9, null);
  const cards = ['gpu', 'gpu-1'].flatMap((id) => devices.map((device) => ({ ...device, id })));
  const row = (deviceId: string, pid: number, gib: number) => ({ deviceId, pid, bytes: gib * GIB });
  const processes = [row('gpu', 1, 3), row('gpu', 2, 1), row('gpu-1', 1, 4), row('gpu', 77, 2), row('gpu-1', 78, 1)];
  const { seen } = new Attributor().attribute({ ...rest, devices: cards, processes }, [
    owner('a', 'ready', 8, [1, 2]),
    owner('b', 'ready', 8, [5]),
  ]);
  expect(seen.get('a')).toEqual(
    new Map([
      ['gpu', 4 * GIB],
      ['gpu-1', 4 * GIB],
    ]),
  );
  expect(seen.has('b')).toBe(false);
});
