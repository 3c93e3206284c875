import { describe, expect, it } from 'vitest';
import { createScriptedFleet, fleetSettings, modelSettings } from '../../test/support/scripted-fleet.ts';
import { ScriptedProbe } from '../../test/support/scripted-probe.ts';
import { pass, startedFleet, warm } from '../../test/support/watched-fleet.ts';
import { LaunchError } from '../drivers/driver.ts';
import { SECOND } from '../units.ts';
import { Commands } from './commands.ts';

describe('the log of a model', () => {
  it('is there when its start failed: that of the replica that is gone, by its id or by the name of the model', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    fleet.driver.failLaunch = new LaunchError('model_files', 'no weights.');
    const commands = new Commands(fleet.controller, fleet.runtimes, () => []);
    fleet.driver.lines = ['Traceback'];
    const signal = new AbortController().signal;
    const read = async (id: string): Promise<string[]> => {
      const found: string[] = [];
      for await (const line of commands.logs(id, { tail: 10, follow: false, signal }) ?? []) found.push(line);
      return found;
    };
    expect(commands.logs('a', { tail: 10, follow: false, signal })).toBeUndefined();
    await commands.load('a', { wait: true, signal });
    await fleet.flush();
    expect(fleet.controller.state.replicas.size).toBe(0);
    const gone = commands.recent().find(({ kind }) => kind === 'replica.start_failed')?.replica ?? '';
    expect(await read(gone)).toEqual(['Traceback']);
    expect(await read('a')).toEqual(['Traceback']);
    expect(commands.logs('a-ffffff', { tail: 10, follow: false, signal })).toBeUndefined();
  });
});

describe('a command with wait', () => {
  it('of somebody who has left already ends at once, and the start goes on [I-32]', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    const commands = new Commands(fleet.controller, fleet.runtimes, () => []);
    const loaded = commands.load('a', { wait: true, signal: AbortSignal.abort() });
    expect(await loaded).toEqual({ ok: true, state: 'starting' });
    fleet.engineAnswers();
    await fleet.flush();
    fleet.platform.clock.advance(200);
    await fleet.flush();
    expect(fleet.controller.modelState('a')).toBe('ready');
  });

  it('ends when its asker leaves', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a')]));
    const commands = new Commands(fleet.controller, fleet.runtimes, () => []);
    const asker = new AbortController();
    const loaded = commands.load('a', { wait: true, signal: asker.signal });
    await fleet.flush();
    asker.abort();
    expect(await loaded).toEqual({ ok: true, state: 'starting' });
  });

  it('says that the gateway ends when it does, and not that memory is short', async () => {
    const fleet = createScriptedFleet(fleetSettings([modelSettings('a', { needsPreparation: true })]));
    const commands = new Commands(fleet.controller, fleet.runtimes, () => []);
    fleet.driver.fetch = () => new Promise(() => undefined);
    const loaded = commands.load('a', { wait: true, signal: new AbortController().signal });
    await fleet.flush();
    fleet.controller.post({ kind: 'shutdown.begun', keep: [], deadline: fleet.controller.now + SECOND });
    expect(await loaded).toMatchObject({ ok: false, error: { code: 'shutting_down' } });
  });
});

describe('health', () => {
  it('names models that can never start, and is not ready when there is no other [item 137]', () => {
    const unstartable = { cause: 'driver_unavailable', message: 'there is no such driver.' } as const;
    const broken = modelSettings('broken', { unstartable });
    const one = createScriptedFleet(fleetSettings([broken, modelSettings('a')]));
    const reasons = ["model 'broken' cannot be started: there is no such driver."];
    expect(new Commands(one.controller, one.runtimes, () => []).health()).toEqual({ ready: true, reasons });
    const none = createScriptedFleet(fleetSettings([broken]));
    expect(new Commands(none.controller, none.runtimes, () => []).health()).toEqual({ ready: false, reasons });
  });

  it('names devices that cannot be read, and a driver in trouble with no other to start by [items 97, 137]', async () => {
    const probe = new ScriptedProbe();
    probe.set('gpu-0', 0);
    const fleet = await startedFleet(probe);
    const health = () => new Commands(fleet.controller, fleet.runtimes, () => []).health();
    expect(health()).toEqual({ ready: true, reasons: [] });
    probe.failure = 'no answer';
    await pass(fleet, 20 * SECOND);
    expect(health()).toMatchObject({
      ready: true,
      reasons: [
        'the GPUs cannot be read (no answer): nothing is started',
        expect.stringMatching(/^device gpu-0 takes no start: no reading for \d+ s: no answer$/),
      ],
    });
    probe.failure = null;
    await pass(fleet, 5 * SECOND);
    Object.assign(fleet.driver, { trouble: () => 'the daemon does not answer' });
    expect(health()).toEqual({ ready: false, reasons: ['driver process: the daemon does not answer'] });
    await warm(fleet, 'a');
    expect(health().ready).toBe(true);
  });
});
