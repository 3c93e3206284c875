/** What happens between two answers of a daemon: things that change, streams that break, strangers under our names. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rejection, stopOptions } from '../../../test/contract/driver/harness.ts';
import { until } from '../../../test/contract/process-harness.ts';
import type { ExitReport } from '../driver.ts';
import { containerSpec, dockerBench, type DockerBench } from '../../../test/support/docker-bench.ts';
import { json } from '../../../test/support/recording-docker.ts';

const identity = (id: string, generation = 1) => ({
  ...{ id, generation, model: 'm', specHash: 'h', reservations: new Map<string, number>() },
});
const ONE = identity('one-1');
const never = (): void => {};
const FOREIGN = 'f'.repeat(64);

let bench: DockerBench;
beforeEach(async () => {
  // A call of 5 s is over in half a second.
  bench = await dockerBench({ speed: 10 });
  // The client library is loaded at the first call, in its own time.
  await bench.driver.list();
  await until(() => bench.docker.watchers === 1);
});
afterEach(async () => {
  await bench.close();
});

describe('a pull', () => {
  it('that is cut off before its first word says nothing about the daemon', async () => {
    const { docker, driver } = bench;
    docker.on('POST', /images\/create$/, never);
    const controller = new AbortController();
    const options = { signal: controller.signal, progress: never };
    const container = { image: 'r.example/vllm:1', volumes: [], shmSize: null };
    const fetch = rejection(driver.fetch({ argv: null, env: {}, container }, options));
    await until(() => docker.of('POST', /images\/create$/).length === 1);
    const reason = new Error('nobody wants it');
    controller.abort(reason);
    expect(await fetch).toBe(reason);
    expect(driver.trouble()).toBeNull();
  });

  it('that a registry never answers fails as an image does, and the daemon is not in trouble', async () => {
    const { docker, driver } = bench;
    docker.on('POST', /images\/create$/, never);
    const container = { image: 'r.example/vllm:1', volumes: [], shmSize: null };
    const options = { signal: new AbortController().signal, progress: never };
    const failure = await rejection(driver.fetch({ argv: null, env: {}, container }, options));
    expect(failure).toMatchObject({ failure: 'image', message: expect.stringContaining('r.example/vllm:1') });
    expect(driver.trouble()).toBeNull();
  });
});

describe('the stream of events', () => {
  it('is one, however often the look at everything fails', async () => {
    const { docker } = bench;
    let looks = 0;
    docker.on('GET', /containers\/json$/, (_asked, response) => {
      looks += 1;
      json(response, 500, { message: 'busy' });
    });
    docker.breakEvents();
    await until(() => looks >= 3);
    expect(docker.watchers).toBeLessThanOrEqual(1);
  });
});

describe('a look at everything', () => {
  it('never removes what was launched while it looked', async () => {
    const { docker, driver, exits } = bench;
    // Something that is over stands before it in the list, and is slow to go.
    await driver.launch(containerSpec(), identity('old-1'));
    await driver.stop(identity('old-1'), stopOptions());
    const body = docker.created()[0];
    if (body === undefined) throw new Error('nothing was created');
    const remains = 'a'.repeat(64);
    docker.containers.set(remains, {
      ...{ id: remains, name: 'remains', body, state: 'exited', exitCode: 0, oomKilled: false },
    });
    let letStart: () => void = never;
    let letRemove: () => void = never;
    docker.on('POST', /start$/, (asked, response) => {
      letStart = () => {
        const found = docker.containers.get(asked.path.split('/')[2] ?? '');
        if (found !== undefined) found.state = 'running';
        response.writeHead(204).end();
      };
    });
    docker.on('DELETE', new RegExp(remains), (_asked, response) => {
      letRemove = () => {
        docker.containers.delete(remains);
        response.writeHead(204).end();
      };
    });
    const launched = driver.launch(containerSpec(), ONE);
    await until(() => letStart !== never);
    docker.breakEvents();
    await until(() => letRemove !== never);
    letStart();
    await launched;
    letRemove();
    await until(() => !docker.containers.has(remains));
    await driver.list();
    await until(() => docker.watchers === 1);
    expect([...docker.containers.values()].map(({ state }) => state)).toEqual(['running']);
    expect(exits.filter(({ replica }) => replica.id === ONE.id)).toEqual([]);
  });
});

describe("somebody else's container", () => {
  it('is left alone by a stop, although a launch whose answer was lost had wanted its name', async () => {
    const { docker, driver } = bench;
    docker.on('POST', /create$/, (_asked, response) => response.destroy());
    await rejection(driver.launch(containerSpec(), ONE));
    const facts = {
      ...{ Id: FOREIGN, Name: '/vllm_server_one-1_1', Config: { Labels: {} }, State: { Running: true } },
      ...{ HostConfig: {}, NetworkSettings: {} },
    };
    docker.others.set('vllm_server_one-1_1', facts);
    docker.others.set(FOREIGN, facts);
    await driver.stop(ONE, stopOptions({ timeout: 4_000 }));
    expect(docker.of('POST', /kill$/)).toEqual([]);
    expect(docker.of('DELETE', /containers/)).toEqual([]);
  });
});

describe('a container that somebody restarted', () => {
  it('is another engine: the one that was launched has ended', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    const [container] = docker.containers.values();
    if (container === undefined) throw new Error('nothing runs');
    container.startedAt = '2026-01-01T00:00:09Z';
    docker.emit({ Type: 'container', Action: 'die', Actor: { ID: container.id } });
    await until(() => exits.length === 1);
    expect(exits[0]?.detail).toContain('restarted by somebody else');
  });

  it('is seen at the next look at everything when no event told [F67]', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    const [container] = docker.containers.values();
    if (container === undefined) throw new Error('nothing runs');
    container.startedAt = '2026-01-01T00:00:09Z';
    await until(() => exits.length === 1);
    expect(exits[0]?.detail).toContain('restarted by somebody else');
  });
});

describe('a container that somebody took out of its network [F73]', () => {
  it('is reached by nobody, so the engine that was launched has ended', async () => {
    const { docker } = bench;
    const exits: ExitReport[] = [];
    const driver = bench.driverWith({ reach: 'network' });
    driver.watch((exit) => exits.push(exit));
    await driver.launch(containerSpec(), ONE);
    const [container] = docker.containers.values();
    if (container === undefined) throw new Error('nothing runs');
    container.disconnected = true;
    await until(() => exits.length === 1);
    expect(exits[0]?.detail).toContain('taken out of its network');
  });
});

describe('a stop', () => {
  it('of a container that ends by itself in that moment, and that somebody else is removing, is done when it is gone [F57] [F59]', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    const [container] = docker.containers.values();
    if (container === undefined) throw new Error('nothing runs');
    docker.on('POST', /kill$/, (_asked, response) => {
      container.state = 'exited';
      json(response, 409, { message: `Cannot kill container: ${container.id}: is not running` });
    });
    let asked = 0;
    docker.on('DELETE', /containers/, (_asked, response) => {
      asked += 1;
      // The other removal needs until we ask a second time.
      if (asked === 2) docker.containers.delete(container.id);
      if (asked < 2) json(response, 409, { message: `removal of container ${container.id} is already in progress` });
      else json(response, 404, { message: `No such container: ${container.id}` });
    });
    await driver.stop(ONE, stopOptions({ timeout: 4_000 }));
    expect(docker.containers.size).toBe(0);
    expect(exits).toMatchObject([{ code: 0 }]);
    expect(asked).toBe(2);
  });
});

describe('an engine that an earlier run reached in another way', () => {
  it('is not usable: this gateway would speak with nobody, or with somebody else', async () => {
    const { driver, driverWith } = bench;
    await driver.launch(containerSpec(), ONE);
    expect(await driverWith({}).list()).toMatchObject([{ usable: true }]);
    const found = await driverWith({ reach: 'network' }).list();
    expect(found).toMatchObject([{ id: ONE.id, usable: expect.stringContaining('cannot be reached') }]);
  });
});

describe('a log whose end does not come', () => {
  it('holds up neither its reader nor a stop', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    docker.on('GET', /logs$/, (_asked, response) => {
      const line = Buffer.from('2026-01-01T00:00:00.000000001Z half\n');
      const head = Buffer.from([1, 0, 0, 0, 0, 0, 0, line.length]);
      response.writeHead(200).write(Buffer.concat([head, line]));
    });
    expect(await driver.tail(ONE, 5)).toEqual(['half']);
    await driver.stop(ONE, stopOptions({ timeout: 30_000 }));
    expect(exits).toHaveLength(1);
    expect(docker.containers.size).toBe(0);
  });
});
