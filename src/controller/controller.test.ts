import { describe, expect, it } from 'vitest';
import {
  createScriptedFleet,
  fleetSettings,
  modelSettings,
  RecordingSink,
  silentLog,
  type ScriptedFleet,
} from '../../test/support/scripted-fleet.ts';
import { LaunchError } from '../drivers/driver.ts';
import { GIB, SECOND } from '../units.ts';
import type { Lease } from './gate.ts';
import { Commands } from './commands.ts';
import { reconcile } from './reconcile.ts';

const ask = (id: string, model = 'a') => ({ id, model, keyId: 'anonymous', stream: false, patience: null });

function leaseOf(value: { readonly kind: string }): Lease {
  expect(value.kind).toBe('lease');
  return value as Lease;
}

async function warm(fleet: ScriptedFleet, model = 'a'): Promise<void> {
  fleet.engineAnswers();
  fleet.controller.post({ kind: 'model.load', model });
  await fleet.flush();
  expect(fleet.controller.modelState(model)).toBe('ready');
}

describe('the gate', () => {
  it('grants at once while a slot is free, without a later call of the sink', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    await warm(fleet);
    const sink = new RecordingSink();
    const lease = leaseOf(fleet.controller.desk.acquire(ask('1'), sink));
    expect(lease.upstream.origin).toBe('http://127.0.0.1:20001');
    await fleet.flush();
    expect(sink.leases).toEqual([]);
    lease.release('completed');
    lease.release('completed');
    expect(fleet.controller.state.leases.size).toBe(0);
    expect(fleet.controller.desk.size).toBe(0);
  });

  it('starts a cold model once for any number of askers and grants them all when it is ready [item 59]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    const sinks = Array.from({ length: 40 }, () => new RecordingSink());
    for (const [index, sink] of sinks.entries())
      expect(fleet.controller.desk.acquire(ask(String(index)), sink).kind).toBe('ticket');
    await fleet.flush();
    expect(fleet.driver.launches).toHaveLength(1);
    fleet.engineAnswers();
    fleet.platform.clock.advance(200);
    await fleet.flush();
    expect(sinks.map((sink) => sink.leases.length)).toEqual(sinks.map(() => 1));
  });

  it('releases a lease that was granted to somebody who has left [F25] [item 32]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a', { maxConcurrent: 1 })]));
    await warm(fleet);
    const first = leaseOf(fleet.controller.desk.acquire(ask('1'), new RecordingSink()));
    const waiting = fleet.controller.desk.acquire(ask('2'), new RecordingSink());
    if (waiting.kind === 'ticket') waiting.abandon();
    if (waiting.kind === 'ticket') waiting.abandon();
    first.release('completed');
    expect(fleet.controller.state.tickets.size).toBe(0);
    expect(fleet.controller.state.leases.size).toBe(0);
  });

  it('gives a lease back to the head of the queue once, and refuses the second time', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    await warm(fleet);
    const sink = new RecordingSink();
    const lease = leaseOf(fleet.controller.desk.acquire(ask('1'), sink));
    const [replica] = fleet.controller.state.replicas.values();
    fleet.driver.exit({ id: replica?.id ?? '', generation: 1 }, 0);
    expect(lease.alive).toBe(false);
    expect(lease.giveBack().kind).toBe('ticket');
    await fleet.flush();
    fleet.platform.clock.advance(200);
    await fleet.flush();
    expect(fleet.driver.launches).toHaveLength(2);
    const [again] = sink.leases;
    expect(again?.giveBack()).toMatchObject({ kind: 'refused', error: { code: 'upstream_lost' } });
  });
});

describe('a start', () => {
  it('that the driver refuses fails all who wait with the cause [item 66]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.driver.failLaunch = new LaunchError('bad_arguments', 'the command vllm does not exist.');
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('1'), sink);
    await fleet.flush();
    expect(sink.refusals).toMatchObject([{ code: 'model_start_failed', cause: 'bad_arguments' }]);
    expect(fleet.controller.desk.acquire(ask('2'), new RecordingSink())).toMatchObject({
      kind: 'refused',
      error: { code: 'model_backing_off' },
    });
  });

  it('that dies is classified from its last log lines [items 66, 69]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.driver.lines = ['CUDA out of memory'];
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('1'), sink);
    await fleet.flush();
    const [replica] = fleet.controller.state.replicas.values();
    fleet.driver.exit({ id: replica?.id ?? '', generation: 1 }, 1);
    await fleet.flush();
    expect(sink.refusals).toMatchObject([{ code: 'model_start_failed', cause: 'out_of_memory' }]);
    expect(sink.refusals[0]?.message).toContain('CUDA out of memory');
  });

  it('of which a stale exit is reported changes nothing [item 64]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    await warm(fleet);
    const [replica] = fleet.controller.state.replicas.values();
    fleet.driver.exit({ id: replica?.id ?? '', generation: 99 }, 1);
    await fleet.flush();
    expect(fleet.controller.modelState('a')).toBe('ready');
  });

  it('answered by a stranger on its port takes another port, without rest [F22]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.engineAnswers();
    const { answer } = fleet.platform.http;
    fleet.platform.http.answer = (url, options) =>
      url === 'http://127.0.0.1:20001/v1/models' ? { status: 401, body: '' } : answer(url, options);
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('1'), sink);
    await fleet.flush();
    expect(sink.leases).toHaveLength(1);
    expect(fleet.controller.snapshot().replicas.get(sink.leases[0]?.replicaId ?? '')?.port).toBe(20_001);
    expect(fleet.controller.journal.recent().map((entry) => entry.kind)).not.toContain('model.backing_off');
    expect(fleet.controller.snapshot().models.get('a')?.lastFailure).toBeNull();
  });
});

describe('ports that strangers hold', () => {
  const fleetOf = (taken: number) => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.engineAnswers();
    const launch = fleet.driver.launch.bind(fleet.driver);
    fleet.driver.launch = async (spec, identity) => {
      const endpoint = await launch(spec, identity);
      if (fleet.driver.launches.length <= taken) throw new LaunchError('port_in_use', 'its port is taken.');
      return endpoint;
    };
    return fleet;
  };

  it('are skipped while nothing was spawned on them, without rest', async () => {
    const fleet = fleetOf(7);
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('1'), sink);
    await fleet.flush();
    expect(sink.leases).toHaveLength(1);
    expect(fleet.controller.snapshot().replicas.get(sink.leases[0]?.replicaId ?? '')?.port).toBe(20_007);
  });

  it('fail the start in the end, when there are too many of them', async () => {
    const fleet = fleetOf(1_000);
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('1'), sink);
    for (let round = 0; round < 20; round += 1) await fleet.flush();
    expect(sink.refusals).toMatchObject([{ code: 'model_start_failed', cause: 'port_in_use' }]);
    expect(fleet.driver.launches.length).toBeLessThan(100);
  });
});

describe('a stop', () => {
  it('that fails keeps its bytes and quarantines the device until a later try succeeds [items 76, 77]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a'), modelSettings('b')]));
    await warm(fleet);
    let fails = true;
    fleet.driver.stopping = async () => {
      if (fails) throw new Error('2 processes are still there');
    };
    fleet.controller.post({ kind: 'model.unload', model: 'a', reason: 'unload' });
    await fleet.flush();
    expect(fleet.controller.snapshot().devices.get('gpu-0')).toMatchObject({
      state: 'quarantined',
      reservedBytes: 20 * GIB,
    });
    const commands = new Commands(fleet.controller, fleet.runtimes, () => []);
    expect(commands.health().reasons.join()).toContain('2 processes are still there');
    fails = false;
    fleet.platform.clock.advance(10 * SECOND);
    await fleet.flush();
    expect(fleet.controller.snapshot().devices.get('gpu-0')).toMatchObject({ state: 'free', reservedBytes: 0 });
  });
});

describe('commands', () => {
  it('load with wait answers at the end, whatever the end is [item 85]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.driver.failLaunch = new LaunchError('model_files', 'no weights.');
    const commands = new Commands(fleet.controller, fleet.runtimes, () => []);
    const options = { wait: true, signal: new AbortController().signal };
    expect(await commands.load('a', options)).toMatchObject({
      ok: false,
      error: { code: 'model_start_failed', cause: 'model_files' },
    });
    fleet.driver.failLaunch = null;
    fleet.engineAnswers();
    expect(await commands.load('a', options)).toEqual({ ok: true, state: 'ready' });
    expect(await commands.unload('a', options)).toEqual({ ok: true, state: 'cold' });
    expect(fleet.controller.state.replicas.size).toBe(0);
  });

  it('unload with wait answers everybody when the engine is gone, not only the first [item 76]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.engineAnswers();
    const commands = new Commands(fleet.controller, fleet.runtimes, () => []);
    const options = { wait: true, signal: new AbortController().signal };
    await commands.load('a', options);
    let gone = (): void => undefined;
    fleet.driver.stopping = () =>
      new Promise((resolve) => {
        gone = resolve;
      });
    const left: number[] = [];
    const unloads = [1, 2].map(async () => {
      const result = await commands.unload('a', options);
      left.push(fleet.controller.state.replicas.size);
      return result;
    });
    await fleet.flush();
    expect(left).toEqual([]);
    expect(await commands.unload('a', { ...options, wait: false })).toEqual({ ok: true, state: 'cold' });
    gone();
    const done = { ok: true, state: 'cold' };
    expect(await Promise.all(unloads)).toEqual([done, done]);
    expect(left).toEqual([0, 0]);
  });

  it('pin loads, writes the pin down and keeps the model from idling [item 85]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a', { inactivityTimeout: 60 * SECOND })]));
    fleet.engineAnswers();
    const commands = new Commands(fleet.controller, fleet.runtimes, () => []);
    await commands.pin('a', { wait: true, signal: new AbortController().signal });
    expect(fleet.pins).toEqual([['a']]);
    fleet.platform.clock.advance(3600 * SECOND);
    await fleet.flush();
    expect(fleet.controller.modelState('a')).toBe('ready');
    await commands.unpin('a');
    fleet.platform.clock.advance(61 * SECOND);
    await fleet.flush();
    expect(fleet.controller.modelState('a')).toBe('cold');
  });
});

describe('what an earlier run left', () => {
  const left = {
    id: 'a-0000aa',
    generation: 7,
    model: 'a',
    specHash: 'spec-a',
    reservations: new Map([['gpu-0', 20 * GIB]]),
    port: 20_007,
    endpoint: { origin: 'http://127.0.0.1:20007', pathPrefix: '', pid: 77, container: null },
    usable: true as const,
    ageMs: null,
  };

  it('is adopted when it is ours and unchanged, and serves without a start [item 73]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.engineAnswers();
    fleet.driver.found = [left];
    await reconcile({
      controller: fleet.controller,
      runtimes: fleet.runtimes,
      platform: fleet.platform,
      log: silentLog,
      signal: new AbortController().signal,
      ending: new AbortController().signal,
    });
    await fleet.flush();
    expect(fleet.driver.adopted).toEqual([{ id: 'a-0000aa', generation: 7 }]);
    expect(leaseOf(fleet.controller.desk.acquire(ask('1'), new RecordingSink())).replicaId).toBe('a-0000aa');
    expect(fleet.driver.launches).toHaveLength(0);
  });

  it('is ended when its configuration changed, with its bytes on the ledger until it is gone [item 73]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.engineAnswers();
    let gone: () => void = () => undefined;
    fleet.driver.stopping = () => new Promise((resolve) => (gone = resolve));
    fleet.driver.found = [{ ...left, specHash: 'other' }];
    await reconcile({
      controller: fleet.controller,
      runtimes: fleet.runtimes,
      platform: fleet.platform,
      log: silentLog,
      signal: new AbortController().signal,
      ending: new AbortController().signal,
    });
    const sink = new RecordingSink();
    fleet.controller.desk.acquire(ask('1'), sink);
    await fleet.flush();
    expect(fleet.driver.launches).toHaveLength(0);
    gone();
    await fleet.flush();
    fleet.platform.clock.advance(200);
    await fleet.flush();
    expect(fleet.driver.launches).toHaveLength(1);
    expect(sink.leases).toHaveLength(1);
  });
});

describe('a ready replica', () => {
  it('that refuses three health checks in a row is ended and its waiting work restarts it [item 71]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    await warm(fleet);
    fleet.platform.http.answer = () => {
      throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
    };
    for (let round = 0; round < 3; round += 1) {
      fleet.platform.clock.advance(6 * SECOND);
      await fleet.flush();
    }
    expect(fleet.driver.stops).toHaveLength(1);
    expect(fleet.controller.modelState('a')).toBe('cold');
  });

  it('that hangs with work in hand is ended after the stall time, and its leases are cut [item 71]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a', { stallTimeout: 20 * SECOND })]));
    await warm(fleet);
    const sink = new RecordingSink();
    leaseOf(fleet.controller.desk.acquire(ask('1'), sink));
    for (let round = 0; round < 6; round += 1) {
      fleet.platform.clock.advance(6 * SECOND);
      await fleet.flush();
    }
    expect(sink.cuts).toMatchObject([{ code: 'upstream_timeout' }]);
    expect(fleet.driver.stops).toHaveLength(1);
  });

  it('whose bytes move is never taken for a hanging one', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a', { stallTimeout: 20 * SECOND })]));
    await warm(fleet);
    const sink = new RecordingSink();
    const lease = leaseOf(fleet.controller.desk.acquire(ask('1'), sink));
    for (let round = 0; round < 20; round += 1) {
      lease.touch();
      fleet.platform.clock.advance(6 * SECOND);
      await fleet.flush();
    }
    expect(sink.cuts).toEqual([]);
  });
});

describe('shutdown', () => {
  it('lets accepted work end, then stops the engines, then is done [item 74]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    await warm(fleet);
    const lease = leaseOf(fleet.controller.desk.acquire(ask('1'), new RecordingSink()));
    let done = false;
    void fleet.controller.shutdownDone.then(() => (done = true));
    fleet.controller.post({ kind: 'shutdown.begun', keep: [], deadline: fleet.controller.now + 30 * SECOND });
    expect(fleet.controller.desk.accepting).toBe(false);
    expect(fleet.controller.desk.acquire(ask('2'), new RecordingSink())).toMatchObject({
      kind: 'refused',
      error: { code: 'shutting_down' },
    });
    await fleet.flush();
    expect(done).toBe(false);
    lease.release('completed');
    await fleet.flush();
    expect(done).toBe(true);
    expect(fleet.driver.stops).toHaveLength(1);
  });

  it('cuts what outlives the deadline [item 74]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    await warm(fleet);
    const sink = new RecordingSink();
    leaseOf(fleet.controller.desk.acquire(ask('1'), sink));
    fleet.controller.post({ kind: 'shutdown.begun', keep: ['process'], deadline: fleet.controller.now + 30 * SECOND });
    fleet.platform.clock.advance(31 * SECOND);
    await fleet.flush();
    expect(sink.cuts).toMatchObject([{ code: 'shutting_down' }]);
  });
});
