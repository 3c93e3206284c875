import { describe, expect, it } from 'vitest';
import { ScriptedProbe } from '../../test/support/scripted-probe.ts';
import { pass, watchedFleet } from '../../test/support/watched-fleet.ts';
import {
  createScriptedFleet,
  fleetSettings,
  modelSettings,
  RecordingSink,
  ScriptedDriver,
  silentLog,
  type ScriptedFleet,
} from '../../test/support/scripted-fleet.ts';
import type { FoundReplica } from '../core/events.ts';
import { GIB, SECOND } from '../units.ts';
import { Commands } from './commands.ts';
import { reconcile } from './reconcile.ts';

const left: FoundReplica = {
  id: 'a-0000aa',
  generation: 7,
  model: 'a',
  specHash: 'spec-a',
  reservations: new Map([['gpu-0', 20 * GIB]]),
  port: 20_050,
  endpoint: { origin: 'http://127.0.0.1:20050', pathPrefix: '', pid: 4_242, container: null },
  usable: true,
  ageMs: 1_000,
};

const NEVER = new AbortController().signal;

const ask = (id: string, model = 'a') => ({ id, model, keyId: 'anonymous', stream: false, patience: null });

function lookAround({ controller, runtimes, platform }: ScriptedFleet): Promise<boolean> {
  controller.post({ kind: 'adoption.begun' });
  return reconcile({ controller, runtimes, platform, log: silentLog, signal: NEVER, ending: NEVER });
}

describe('a request that arrives while the gateway still looks for what an earlier run left', () => {
  it('waits for the adoption instead of starting a second engine', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.engineAnswers();
    fleet.driver.found = [left];
    const looking = lookAround(fleet);
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('1'), sink);
    await looking;
    await fleet.flush();
    expect(fleet.driver.launches).toEqual([]);
    expect(fleet.driver.stops).toEqual([]);
    expect(sink.leases.map((lease) => lease.replicaId)).toEqual(['a-0000aa']);
  });

  it('starts its model when nothing was found', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.engineAnswers();
    const looking = lookAround(fleet);
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('1'), sink);
    await looking;
    await fleet.flush();
    expect(fleet.driver.launches).toHaveLength(1);
    expect(sink.leases).toHaveLength(1);
  });

  it('starts its model when the search fails', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.engineAnswers();
    fleet.driver.list = async () => {
      throw new Error('input/output error');
    };
    const looking = lookAround(fleet);
    fleet.controller.desk.acquire(ask('1'), new RecordingSink());
    await looking;
    await fleet.flush();
    expect(fleet.driver.launches).toHaveLength(1);
  });

  it('may be a command of an operator: it is obeyed afterwards', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.engineAnswers();
    const commands = new Commands(fleet.controller, fleet.runtimes, () => []);
    const looking = lookAround(fleet);
    const loading = commands.load('a', { wait: true, signal: NEVER });
    expect(await commands.load('a', { wait: false, signal: new AbortController().signal })).toMatchObject({ ok: true });
    await looking;
    expect(await loading).toEqual({ ok: true, state: 'ready' });
    expect(fleet.driver.launches).toHaveLength(1);
  });
});

describe('a gateway that is to end while it still looks', () => {
  it('[I-87] gives drivers a moment more, so that no engine stays behind unknown', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    const { controller, runtimes, platform } = fleet;
    fleet.engineAnswers();
    fleet.driver.list = async () => {
      await platform.clock.sleep(0.8 * SECOND);
      return [left];
    };
    const ending = new AbortController();
    controller.post({ kind: 'adoption.begun' });
    const looking = reconcile({ controller, runtimes, platform, log: silentLog, signal: NEVER, ending: ending.signal });
    await fleet.flush();
    ending.abort();
    await platform.clock.advanceAsync(0.9 * SECOND);
    expect(await looking).toBe(false);
    controller.post({ kind: 'shutdown.begun', keep: [], deadline: controller.now + SECOND });
    await controller.shutdownDone;
    expect(fleet.driver.stops.map(({ replica }) => replica.id)).toEqual([left.id]);
  });

  it('enters what was found, waits a second for the rest, and starts nothing', async () => {
    const slow = new ScriptedDriver('docker');
    slow.list = () => new Promise(() => undefined);
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a'), modelSettings('b')]), { others: [slow] });
    fleet.engineAnswers();
    fleet.driver.found = [left];
    const { controller, runtimes, platform } = fleet;
    const ending = new AbortController();
    controller.post({ kind: 'adoption.begun' });
    const looking = reconcile({
      controller,
      runtimes,
      platform,
      log: silentLog,
      signal: NEVER,
      ending: ending.signal,
    });
    const sink = new RecordingSink();
    controller.desk.acquire(ask('1', 'b'), sink);
    await fleet.flush();
    ending.abort();
    await platform.clock.advanceAsync(SECOND);
    expect(await looking).toBe(false);
    controller.post({ kind: 'shutdown.begun', keep: [], deadline: controller.now + SECOND });
    await controller.shutdownDone;
    expect(fleet.driver.launches).toEqual([]);
    expect(fleet.driver.stops.map(({ replica }) => replica.id)).toEqual([left.id]);
    expect(sink.refusals.map(({ code }) => code)).toEqual(['shutting_down']);
  });
});

describe('an adopted engine', () => {
  it('that ends before it was seen to be ready is a crash: what waits is kept and starts another at once', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.driver.found = [left];
    await lookAround(fleet);
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('1'), sink);
    fleet.driver.exit({ id: left.id, generation: left.generation }, null);
    fleet.engineAnswers();
    await fleet.flush();
    expect(sink.refusals).toEqual([]);
    expect(fleet.driver.launches).toHaveLength(1);
    expect(sink.leases).toHaveLength(1);
  });
});

describe('what an earlier run left', () => {
  const lists = { devices: { known: null } };

  it.each([
    ['a model that is not configured any more', 'gone'],
    ['a model that another driver runs now', 'a'],
  ])('is stopped by the driver that found it: of %s', async (_of, model) => {
    const docker = new ScriptedDriver('docker');
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]), { others: [docker] });
    docker.found = [{ ...left, model, specHash: 'as it was then' }];
    await lookAround(fleet);
    await fleet.flush();
    expect(docker.stops.map(({ replica }) => replica.id)).toEqual([left.id]);
    expect(fleet.driver.stops).toEqual([]);
    expect(fleet.controller.state.replicas.size).toBe(0);
  });

  it('is found under the devices as they are called now, by its processes', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 9);
    probe.processes = [{ deviceId: 'gpu-0', pid: 4_242, bytes: 9 * GIB }];
    const fleet = watchedFleet(probe, lists);
    fleet.driver.found = [{ ...left, reservations: new Map([['GPU-by-its-uuid', 10 * GIB]]) }];
    fleet.driver.processes.set(left.id, [4_242]);
    await lookAround(fleet);
    await pass(fleet, SECOND);
    const { state } = fleet.controller;
    expect(state.replicas.get(left.id)).toMatchObject({ phase: 'ready', adopted: true });
    expect(state.replicas.get(left.id)?.reservations).toEqual(new Map([['gpu-0', 9 * GIB]]));
    // Its memory is ours from the first look on.
    expect(state.devices.get('gpu-0')?.foreignBytes).toBe(0);
    expect(fleet.footprints).toEqual([]);
  });

  it.each([
    ['finds nothing', async () => []],
    ['does not answer', () => Promise.reject(new Error('the daemon is away'))],
  ])('is asked for once where no model uses the driver, and it %s', async (_what, list) => {
    const docker = new ScriptedDriver('docker');
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]), { others: [docker] });
    let asked = 0;
    let closed = false;
    docker.list = () => {
      asked += 1;
      return list();
    };
    docker.close = async () => {
      closed = true;
    };
    await lookAround(fleet);
    await pass(fleet, 60 * SECOND);
    expect([asked, closed, fleet.platform.clock.pending]).toEqual([1, true, 0]);
  });

  it('is asked for again and again where a driver does not answer', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 9);
    const fleet = watchedFleet(probe, lists);
    const { driver } = fleet;
    let answers = false;
    driver.list = async () => {
      if (!answers) throw new Error('the daemon is away');
      return [left];
    };
    await lookAround(fleet);
    expect(fleet.controller.state.adopting).toBe(false);
    await pass(fleet, 12 * SECOND);
    answers = true;
    await pass(fleet, 6 * SECOND);
    expect(fleet.controller.state.replicas.get(left.id)?.phase).toBe('ready');
  });
});
