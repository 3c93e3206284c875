import { describe, expect, it } from 'vitest';
import { RecordingSink, type ScriptedFleet } from '../../test/support/scripted-fleet.ts';
import { ScriptedProbe } from '../../test/support/scripted-probe.ts';
import { ask, deviceOf, pass, startedFleet, warm, type WatchedFleetOptions } from '../../test/support/watched-fleet.ts';
import { GIB, MIB, SECOND } from '../units.ts';

const REPORT = { weightBytes: 4 * GIB, kvCacheBytes: 3 * GIB, kvCacheTokens: 4_096, graphBytes: GIB };

const CLASS = { deviceClass: 'pretended, 24576 MiB' };
const SIZING = {
  utilization: 0.4,
  maxModelLen: 4_096,
  kvSequences: 4,
  maxNumSeqs: 4,
  maxBatchedTokens: 2_048,
  kvElementBytes: null,
  weightElementBytes: null,
  colocate: false,
  autoParallel: false,
};

/** One device with nothing on it. */
function probeOf(over: Partial<ScriptedProbe> = {}): ScriptedProbe {
  const probe = new ScriptedProbe();
  Object.assign(probe, over);
  probe.set('gpu-0', 0);
  return probe;
}

/** Launches, and holds it there: not ready yet. */
async function launched(fleet: ScriptedFleet, model = 'a'): Promise<{ id: string; finish: () => Promise<void> }> {
  const { answer } = fleet.platform.http;
  fleet.platform.http.answer = () => ({ status: 503, body: '' });
  const sink = new RecordingSink();
  fleet.controller.desk.acquire(ask(model), sink);
  await pass(fleet, SECOND);
  const id = fleet.driver.launches.at(-1)?.id ?? '';
  return {
    id,
    finish: async () => {
      fleet.platform.http.answer = answer;
      await pass(fleet, SECOND);
      for (const lease of sink.leases) lease.release('completed');
    },
  };
}

const reserved = (fleet: ScriptedFleet, id: string): number =>
  (fleet.controller.state.replicas.get(id)?.reservations.get('gpu-0') ?? NaN) / GIB;

describe('a replica that becomes ready', () => {
  it('is entered with what its processes hold, and with the peak on its way there [items 126, 165]', async () => {
    const probe = probeOf();
    const fleet = await startedFleet(probe);
    const { id, finish } = await launched(fleet);
    fleet.driver.processes.set(id, [1, 2]);
    probe.set('gpu-0', 9);
    probe.processes = [
      { deviceId: 'gpu-0', pid: 1, bytes: GIB },
      { deviceId: 'gpu-0', pid: 2, bytes: 8 * GIB },
      { deviceId: 'gpu-0', pid: 99, bytes: 2 * GIB },
    ];
    await pass(fleet, 2 * SECOND);
    expect(reserved(fleet, id)).toBe(10);
    probe.processes = [{ deviceId: 'gpu-0', pid: 2, bytes: 7 * GIB }];
    await finish();
    expect(reserved(fleet, id)).toBe(7);
    expect(fleet.footprints).toMatchObject([
      {
        model: 'a',
        signature: { specHash: 'spec-a', image: null, deviceClass: 'pretended, 24576 MiB', tensorParallel: 1 },
        steadyBytes: 7 * GIB,
        peakBytes: 9 * GIB,
        source: 'process',
      },
    ]);
    expect(fleet.footprints[0]?.startTime).toBeGreaterThan(3 * SECOND);
  });

  it('is measured by the growth of the whole device where processes are not named [items 126, 127]', async () => {
    const probe = probeOf({ processes: null });
    probe.set('gpu-0', 3);
    const fleet = await startedFleet(probe);
    const { id, finish } = await launched(fleet);
    probe.set('gpu-0', 11);
    await finish();
    expect(reserved(fleet, id)).toBe(8);
    expect(fleet.footprints).toMatchObject([{ steadyBytes: 8 * GIB, source: 'device' }]);
    expect(deviceOf(fleet)?.foreignBytes).toBe(3 * GIB);
  });

  it('counts growth only from what evictions have left, when all of it is back [item 127]', async () => {
    const probe = probeOf({ processes: null });
    const fleet = await startedFleet(probe, { models: { memory: 20 * GIB } });
    const first = await launched(fleet, 'a');
    probe.set('gpu-0', 19);
    await first.finish();
    await pass(fleet, 100 * SECOND);
    const second = await launched(fleet, 'b');
    expect(fleet.driver.stops).toHaveLength(1);
    // The engine has ended; its memory comes back later, and only then the next one is launched.
    await pass(fleet, 3 * SECOND);
    expect(fleet.driver.launches).toHaveLength(1);
    probe.set('gpu-0', 0.125);
    await pass(fleet, 2 * SECOND);
    expect(fleet.driver.launches).toHaveLength(2);
    probe.set('gpu-0', 15.125);
    await second.finish();
    expect(fleet.footprints.map(({ model, steadyBytes }) => [model, steadyBytes / GIB])).toEqual([
      ['a', 19],
      ['b', 15],
    ]);
  });

  it('beside which something else moved is not judged by the growth of the device [item 127]', async () => {
    const probe = probeOf({ processes: null });
    const fleet = await startedFleet(probe);
    const neighbour = await warm(fleet, 'b');
    const { id, finish } = await launched(fleet, 'a');
    probe.set('gpu-0', 20);
    fleet.driver.exit({ id: neighbour, generation: 1 }, 1);
    await pass(fleet, SECOND);
    await finish();
    expect(fleet.controller.modelState('a')).toBe('ready');
    expect(reserved(fleet, id)).toBe(10);
    expect(fleet.footprints.map(({ model }) => model)).not.toContain('a');
  });

  it('on two devices is measured on each, and learned by the larger [item 126]', async () => {
    const probe = probeOf();
    probe.set('gpu-1', 0);
    const fleet = await startedFleet(probe, { models: { deviceCount: 2 } });
    const { id, finish } = await launched(fleet);
    fleet.driver.processes.set(id, [1, 2]);
    probe.processes = [
      { deviceId: 'gpu-0', pid: 1, bytes: 7 * GIB },
      { deviceId: 'gpu-1', pid: 2, bytes: 8 * GIB },
    ];
    probe.set('gpu-0', 7);
    probe.set('gpu-1', 8);
    await finish();
    expect(fleet.controller.state.replicas.get(id)?.reservations).toEqual(
      new Map([
        ['gpu-0', 7 * GIB],
        ['gpu-1', 8 * GIB],
      ]),
    );
    expect(fleet.footprints).toMatchObject([{ signature: { tensorParallel: 2 }, steadyBytes: 8 * GIB }]);
  });

  it('is not believed to take next to nothing [item 126]', async () => {
    const probe = probeOf();
    const fleet = await startedFleet(probe);
    const { id, finish } = await launched(fleet);
    fleet.driver.processes.set(id, [1]);
    probe.set('gpu-0', 0.2);
    probe.processes = [{ deviceId: 'gpu-0', pid: 1, bytes: 200 * MIB }];
    await finish();
    expect(reserved(fleet, id)).toBe(10);
    expect(fleet.footprints).toEqual([]);
  });

  it('keeps its promise where nothing can be seen', async () => {
    const probe = probeOf();
    const fleet = await startedFleet(probe);
    const { id, finish } = await launched(fleet);
    probe.failure = 'no answer';
    await finish();
    await pass(fleet, 10 * SECOND);
    expect([fleet.controller.modelState('a'), reserved(fleet, id)]).toEqual(['ready', 10]);
  });
});

describe('what an engine says of itself', () => {
  const options = (over: WatchedFleetOptions = {}): WatchedFleetOptions => ({
    runtime: { readMemoryReport: () => REPORT, readKvCacheTokens: () => 5_000 },
    ...over,
  });

  it('goes into the footprint, with what it was told [items 112, 128]', async () => {
    const probe = probeOf();
    const fleet = await startedFleet(probe, options());
    const { id, finish } = await launched(fleet);
    fleet.driver.processes.set(id, [1]);
    probe.set('gpu-0', 9);
    probe.processes = [{ deviceId: 'gpu-0', pid: 1, bytes: 9 * GIB }];
    await finish();
    expect(fleet.footprints).toMatchObject([{ kvCacheBytes: 3 * GIB, kvCacheTokens: 5_000 }]);
    expect(fleet.footprints[0]?.utilization).toBeCloseTo(10 / 24, 3);
  });

  it('speaks against growth of a device that somebody else has left meanwhile', async () => {
    for (const [left, source, taken] of [
      [6, 'engine', 9],
      [0, 'device', 9.5],
    ] as const) {
      const probe = probeOf({ processes: null });
      probe.set('gpu-0', left);
      const fleet = await startedFleet(probe, options({ models: { memory: null, sizing: SIZING } }));
      const { id, finish } = await launched(fleet);
      probe.set('gpu-0', 9.5);
      await finish();
      expect(reserved(fleet, id)).toBe(taken);
      expect(fleet.footprints).toMatchObject([{ steadyBytes: taken * GIB, source }]);
    }
  });

  it('of a KV cache that it was given is no news: rounded again and again it would creep', async () => {
    const probe = probeOf();
    const fleet = await startedFleet(probe, options({ models: { memory: null, sizing: SIZING } }));
    const known = { steadyBytes: 9 * GIB, peakBytes: 9 * GIB, utilization: 0.4, kvCacheBytes: 3 * GIB - MIB };
    fleet.controller.post({
      kind: 'footprints.loaded',
      footprints: [
        {
          ...{ model: 'a', signature: { specHash: 'spec-a', image: null, ...CLASS, tensorParallel: 1 }, ...known },
          ...{ kvCacheTokens: null, startTime: 1, measuredAt: 1, source: 'process' },
        },
      ],
    });
    const { id, finish } = await launched(fleet);
    fleet.driver.processes.set(id, [1]);
    probe.set('gpu-0', 9);
    probe.processes = [{ deviceId: 'gpu-0', pid: 1, bytes: 9 * GIB }];
    await finish();
    expect(fleet.footprints).toMatchObject([{ kvCacheBytes: 3 * GIB - MIB }]);
  });

  it('is what remains where nobody sees more, but for what was declared [item 126]', async () => {
    const models = { memory: null, sizing: SIZING };
    const unseen = await startedFleet(probeOf({ observes: false }), options({ models }));
    const first = await launched(unseen);
    await first.finish();
    // Weights, KV cache and graphs, and what the rules add for context and libraries.
    expect(reserved(unseen, first.id)).toBe(9);
    expect(unseen.footprints).toMatchObject([{ steadyBytes: 9 * GIB, source: 'engine' }]);

    const declared = await startedFleet(probeOf({ observes: false }), options());
    const second = await launched(declared);
    await second.finish();
    expect([reserved(declared, second.id), declared.footprints]).toEqual([10, []]);
  });
});

it('a start whose memory grows is alive, though it prints nothing', async () => {
  const probe = probeOf();
  const fleet = await startedFleet(probe, { models: { startStallTimeout: 10 * SECOND } });
  const { id } = await launched(fleet);
  fleet.driver.processes.set(id, [1]);
  for (let gib = 1; gib <= 12; gib += 1) {
    probe.set('gpu-0', gib / 2);
    probe.processes = [{ deviceId: 'gpu-0', pid: 1, bytes: (gib / 2) * GIB }];
    await pass(fleet, 2 * SECOND);
  }
  expect(fleet.controller.state.replicas.get(id)?.phase).toBe('starting');
  await pass(fleet, 11 * SECOND);
  expect(fleet.controller.state.replicas.get(id)?.phase).not.toBe('starting');
});
