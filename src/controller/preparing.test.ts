import { describe, expect, it } from 'vitest';
import {
  createScriptedFleet,
  fleetSettings,
  modelSettings,
  RecordingSink,
  type ScriptedFleet,
  type ScriptedFleetOptions,
} from '../../test/support/scripted-fleet.ts';
import { ask, pass } from '../../test/support/watched-fleet.ts';
import type { FetchSpec } from '../core/launch.ts';
import type { ModelSize } from '../core/memory/model-shape.ts';
import { LaunchError, type FetchOptions } from '../drivers/driver.ts';
import { GIB, SECOND } from '../units.ts';

const SPEC: FetchSpec = { argv: ['fetch'], env: {}, container: null };
const SIZING = {
  utilization: 0.9,
  maxModelLen: 4_096,
  kvSequences: 4,
  maxNumSeqs: 4,
  maxBatchedTokens: 2_048,
  kvElementBytes: null,
  weightElementBytes: null,
  colocate: false,
  autoParallel: false,
};
const SHAPE: ModelSize = {
  kind: 'shape',
  shape: { weightBytes: 4 * GIB, kv: [], kvElementBytes: 2, nativeLength: null, attentionHeads: null, notes: [] },
};

interface Fetch {
  readonly options: FetchOptions;
  readonly done: (image: string | null) => void;
  readonly fail: (error: Error) => void;
}

/** Two profiles of one repo; every fetch waits for the test. */
function bench(size: ModelSize = SHAPE): { fleet: ScriptedFleet; fetches: Fetch[] } {
  const models = ['a', 'b'].map((name) =>
    modelSettings(name, { memory: null, sizing: SIZING, needsPreparation: true }),
  );
  const runtime: NonNullable<ScriptedFleetOptions['runtime']> = {
    size: () => Promise.resolve(size),
    fetchSpec: () => SPEC,
  };
  const fleet = createScriptedFleet(fleetSettings(models), { runtime });
  fleet.engineAnswers();
  const fetches: Fetch[] = [];
  fleet.driver.fetch = (_spec, options) =>
    new Promise<{ readonly image: string | null }>((resolve, reject) => {
      options.signal.addEventListener('abort', () => reject(options.signal.reason as Error));
      fetches.push({ options, done: (image) => resolve({ image }), fail: reject });
    });
  return { fleet, fetches };
}

function wants(fleet: ScriptedFleet, model = 'a'): { sink: RecordingSink; leave: () => void } {
  const sink = new RecordingSink();
  const answer = fleet.controller.desk.acquire(ask(model), sink);
  return { sink, leave: () => answer.kind === 'ticket' && answer.abandon() };
}

describe('what a start needs', () => {
  it('is made present before any memory is taken, in plain sight [item 166]', async () => {
    const { fleet, fetches } = bench();
    wants(fleet);
    await pass(fleet, SECOND);
    expect([fleet.controller.state.replicas.size, fetches.length]).toEqual([0, 1]);
    fetches[0]?.options.progress('image', null);
    fetches[0]?.options.progress('weights', 0.25);
    expect(fleet.controller.state.models.get('a')?.preparation?.progress).toMatchObject({
      phase: 'weights',
      fraction: 0.25,
    });
    fetches[0]?.done('sha256:abc');
    await pass(fleet, SECOND);
    expect(fleet.driver.launches).toHaveLength(1);
    expect(fleet.controller.state.models.get('a')).toMatchObject({ image: 'sha256:abc', size: SHAPE, prepared: true });
  });

  it('is told often enough, not for every byte', async () => {
    const { fleet, fetches } = bench();
    wants(fleet);
    await pass(fleet, SECOND);
    const seen = (): number | null | undefined =>
      fleet.controller.state.models.get('a')?.preparation?.progress.fraction;
    fetches[0]?.options.progress('weights', 0.1);
    fetches[0]?.options.progress('weights', 0.2);
    expect(seen()).toBe(0.1);
    fleet.platform.clock.advance(SECOND);
    fetches[0]?.options.progress('weights', 0.3);
    expect(seen()).toBe(0.3);
  });

  it('that cannot be had fails all who wait with the cause', async () => {
    const { fleet, fetches } = bench();
    const { sink } = wants(fleet);
    await pass(fleet, SECOND);
    fetches[0]?.fail(new LaunchError('image', 'there is no such image.'));
    await pass(fleet, SECOND);
    expect(sink.refusals).toMatchObject([{ code: 'model_start_failed', cause: 'image' }]);
    expect(sink.refusals[0]?.message).toContain('there is no such image');
    expect(fleet.controller.state.replicas.size).toBe(0);
  });

  it('is given up when nobody wants it any more, and begun anew for who comes later', async () => {
    const { fleet, fetches } = bench();
    const first = wants(fleet);
    await pass(fleet, SECOND);
    first.leave();
    await pass(fleet, SECOND);
    expect(fetches[0]?.options.signal.aborted).toBe(true);
    wants(fleet);
    await pass(fleet, SECOND);
    expect(fetches).toHaveLength(2);
    fetches[1]?.done(null);
    await pass(fleet, SECOND);
    expect(fleet.driver.launches).toHaveLength(1);
  });

  it('is fetched once for two profiles of one repo, and both see how far it is [item 133]', async () => {
    const { fleet, fetches } = bench();
    wants(fleet, 'a');
    wants(fleet, 'b');
    await pass(fleet, SECOND);
    expect(fetches).toHaveLength(1);
    fetches[0]?.options.progress('weights', 0.5);
    expect(fleet.controller.state.models.get('b')?.preparation?.progress).toMatchObject({
      phase: 'weights',
      fraction: 0.5,
    });
    fetches[0]?.done(null);
    await pass(fleet, SECOND);
    // The second looks for itself, and finds what is there.
    expect(fetches).toHaveLength(2);
    fetches[1]?.done(null);
    await pass(fleet, SECOND);
    expect(fleet.controller.state.models.get('b')?.prepared).toBe(true);
  });

  it('may leave the size unknown: then the model is measured', async () => {
    const { fleet, fetches } = bench({ kind: 'unknown', reason: 'the hub answers 401', passing: true });
    wants(fleet);
    await pass(fleet, SECOND);
    fetches[0]?.done(null);
    await pass(fleet, SECOND);
    expect(fleet.driver.launches).toHaveLength(1);
    const told = fleet.controller.journal.recent().find(({ kind }) => kind === 'model.sized');
    expect(told?.reason).toContain('the hub answers 401');
  });
});
