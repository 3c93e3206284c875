/** The daemon is killed, restarted, absent: engines are not forgotten, nothing is left, and nothing waits for ever. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LaunchError, type ExitReport } from '../../src/drivers/driver.ts';
import { allLines, identityOf, never, ONE, rejection, stopOptions, TWO } from '../contract/driver/harness.ts';
import { dockerHere, startDaemon, type DockerDaemon } from '../support/docker-daemon.ts';
import { containersOf, dockerHarness, type DockerHarness } from './docker-harness.ts';

const here = dockerHere();

interface World {
  readonly harness: DockerHarness;
  readonly exits: ExitReport[];
}

async function worldOf(daemon: DockerDaemon): Promise<World> {
  const harness = await dockerHarness(daemon);
  const exits: ExitReport[] = [];
  harness.driver.watch((exit) => exits.push(exit));
  return { harness, exits };
}

async function started(liveRestore: boolean): Promise<DockerDaemon> {
  const daemon = await startDaemon({ liveRestore });
  await daemon.loadFakeVllmImage();
  return daemon;
}

describe.runIf(here)('a daemon that is killed, whose containers live on', () => {
  let daemon: DockerDaemon;
  let world: World;
  beforeAll(async () => {
    daemon = await started(true);
  });
  afterAll(async () => {
    await daemon.stop();
  });
  beforeEach(async () => {
    world = await worldOf(daemon);
  });
  afterEach(async () => {
    await world.harness.close();
  });

  it('costs no engine: what ended meanwhile is told when it is back, the rest goes on [item 153] [F63] [F66] [F67] [I-92]', async () => {
    const { harness, exits } = world;
    const { driver } = harness;
    const endpoint = await driver.launch(await harness.spec('serve'), ONE);
    await driver.launch(await harness.spec('serve'), TWO);
    const [doomed] = await driver.pids(TWO);
    expect(driver.trouble()).toBeNull();

    await daemon.kill();
    const failure = await rejection(driver.launch(await harness.spec('serve'), identityOf('three-3')));
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({ failure: 'driver_unavailable' });
    await harness.until(() => driver.trouble() !== null);
    expect(driver.trouble()).toMatch(/^Docker does not answer/);
    expect(await rejection(driver.list())).toMatchObject({ message: expect.stringContaining('Docker') });
    const fetch = driver.fetch(await harness.fetchSpec('bars'), { signal: never(), progress: () => {} });
    expect(await rejection(fetch)).toMatchObject({ failure: 'driver_unavailable' });
    // Nothing was made, so there is nothing to stop.
    await driver.stop(identityOf('three-3'), stopOptions());
    // It is up and answers all the while.
    expect(exits).toEqual([]);
    expect(await driver.launch(await harness.spec('serve'), ONE)).toEqual(endpoint);
    process.kill(doomed ?? 0, 'SIGKILL');

    await daemon.start();
    await harness.until(() => exits.length === 1 && driver.trouble() === null);
    expect(exits).toMatchObject([{ replica: { id: TWO.id } }]);
    expect(await driver.list()).toMatchObject([{ id: ONE.id, usable: true, endpoint }]);
    await driver.launch(await harness.spec('serve'), identityOf('three-3'));
    for (const identity of [ONE, TWO, identityOf('three-3')]) await driver.stop(identity, stopOptions());
    expect(await containersOf(daemon)).toEqual([]);
  });

  it('lets a follower of a log read on, and nothing is lost or told twice', async () => {
    const { harness } = world;
    const script = 'i=0; while [ $i -lt 60 ]; do echo "line $i"; i=$((i+1)); sleep 0.1; done';
    await harness.driver.launch(harness.shell(script), ONE);
    const lines: string[] = [];
    const followed = (async () => {
      const options = { tail: 1_000, follow: true, signal: never() };
      for await (const line of harness.driver.logs(ONE, options)) lines.push(line);
    })();
    await harness.until(() => lines.length > 5);
    await daemon.restart();
    await followed;
    expect(lines).toEqual(Array.from({ length: 60 }, (_, index) => `line ${index}`));
  });

  it('fails a stop with the reason, and lets it be done once the daemon is back', async () => {
    const { harness, exits } = world;
    await harness.driver.launch(await harness.spec('serve'), ONE);
    await daemon.kill();
    const failure = await rejection(harness.driver.stop(ONE, stopOptions({ timeout: 1_000 })));
    expect(String(failure)).toContain('Docker does not answer');
    expect(exits).toEqual([]);
    const stop = harness.driver.stop(ONE, stopOptions({ timeout: 30_000 }));
    await daemon.start();
    await stop;
    expect(exits).toHaveLength(1);
    expect(await containersOf(daemon)).toEqual([]);
  });

  it('that is killed again and again under load leaves nothing that nobody knows', async () => {
    const { harness, exits } = world;
    const { driver } = harness;
    const spec = await harness.spec('serve');
    const outcomes = { launched: 0 };
    let over = false;
    const worker = async (name: string): Promise<void> => {
      for (let generation = 1; !over; generation += 1) {
        const identity = identityOf(name, generation);
        try {
          await driver.launch(spec, identity);
          outcomes.launched += 1;
        } catch (error) {
          expect(error).toBeInstanceOf(LaunchError);
        }
        await driver.stop(identity, stopOptions({ timeout: 30_000 }));
      }
    };
    const workers = ['a-1', 'b-1', 'c-1'].map((name) => worker(name));
    for (let turn = 1; turn <= 2; turn += 1) {
      await harness.until(() => outcomes.launched >= turn * 4);
      await daemon.kill();
      // Not a refusal: all of them may be in the middle of a stop, which waits.
      await harness.until(() => driver.trouble() !== null);
      await daemon.start();
    }
    await harness.until(() => outcomes.launched >= 12);
    over = true;
    await Promise.all(workers);
    await harness.until(async () => (await containersOf(daemon)).length === 0);
    expect(await driver.list()).toEqual([]);
    const told = exits.map(({ replica }) => `${replica.id}/${replica.generation}`);
    expect(new Set(told).size).toBe(told.length);
    expect(exits).toHaveLength(outcomes.launched);
  });

  it('keeps nothing from starting later [item 153]', async () => {
    const { harness } = world;
    await harness.driver.launch(await harness.spec('serve'), ONE);
    await daemon.terminate();
    const next = await harness.restart();
    expect(String(await rejection(next.list()))).toContain('Docker does not answer: nothing listens on its socket');
    expect(next.trouble()).toContain('Docker does not answer');
    expect(await next.tail(ONE, 10)).toEqual([]);
    expect(await allLines(next.logs(ONE, { tail: 10, follow: true, signal: never() }))).toEqual([]);
    await daemon.start();
    await harness.until(() => next.trouble() === null);
    expect(await next.list()).toMatchObject([{ id: ONE.id, usable: true }]);
  });
});

describe.runIf(here)('a daemon whose containers end with it', () => {
  it('tells of every exit when it is back, and starts engines again [F64]', async () => {
    const daemon = await started(false);
    const { harness, exits } = await worldOf(daemon);
    try {
      await harness.driver.launch(await harness.spec('serve'), ONE);
      await harness.driver.launch(await harness.spec('ignore-term'), TWO);
      await daemon.restart();
      await harness.until(() => exits.length === 2);
      expect(exits.map(({ replica }) => replica.id).toSorted()).toEqual([ONE.id, TWO.id]);
      await harness.driver.stop(ONE, stopOptions());
      expect(await harness.driver.tail(ONE, 1)).toEqual(['started']);
      await harness.driver.launch(await harness.spec('serve'), ONE);
      expect(await harness.living(ONE)).toBe(1);
    } finally {
      await harness.close();
      await daemon.stop();
    }
  });
});
