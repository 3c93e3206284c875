/** Answers that no real daemon gives on demand: hangs, refusals, broken streams, forgotten events. */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rejection, stopOptions } from '../../../test/contract/driver/harness.ts';
import { until } from '../../../test/contract/process-harness.ts';
import { containerSpec, dockerBench, type DockerBench } from '../../../test/support/docker-bench.ts';
import { json } from '../../../test/support/recording-docker.ts';
import { LaunchError, type FetchOptions } from '../driver.ts';

const identity = (id: string, generation = 1) => ({
  ...{ id, generation, model: 'm', specHash: 'h', reservations: new Map<string, number>() },
});
const ONE = identity('one-1');
const never = (): void => {};
const told: [string, number | null][] = [];
const options = (signal: AbortSignal = new AbortController().signal): FetchOptions => ({
  ...{ signal, progress: (phase, fraction) => told.push([phase, fraction]) },
});

let bench: DockerBench;
beforeEach(async () => {
  told.length = 0;
  // A call of 5 s is over in half a second.
  bench = await dockerBench({ speed: 10 });
  // The client library is loaded at the first call, in its own time.
  await bench.driver.list();
  await until(() => bench.docker.watchers === 1);
});
afterEach(async () => {
  await bench.close();
});

describe('a daemon that does not answer', () => {
  it('ends a launch with the reason, and what comes of it later is removed [F69]', async () => {
    const { docker, driver } = bench;
    docker.on('POST', /create$/, never);
    const failure = await rejection(driver.launch(containerSpec(), ONE));
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({ failure: 'driver_unavailable', message: expect.stringContaining('60 s') });
    // The daemon has done it all the same.
    const [body] = docker.created();
    if (body !== undefined) {
      const id = 'e'.repeat(64);
      docker.containers.set(id, {
        ...{ id, name: 'vllm_server_one-1_1', body, state: 'running', exitCode: 0, oomKilled: false },
      });
    }
    await driver.stop(ONE, stopOptions());
    expect(docker.containers.size).toBe(0);
  });

  it('ends a stop with the reason, in its time [F69]', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    docker.on('GET', /containers\/.+\/json$/, never);
    let cuts = 0;
    const stop = driver.stop(ONE, stopOptions({ timeout: 4_000, cutConnections: () => (cuts += 1) }));
    expect(String(await rejection(stop))).toContain('Docker');
    expect(cuts).toBe(1);
    expect(exits).toEqual([]);
  });

  it('is asked four things of a kind at once, not more [F69]', async () => {
    const { docker, driver } = bench;
    const waiting: ServerResponse[] = [];
    docker.on('POST', /create$/, (_asked, response) => waiting.push(response));
    docker.mostOpen = 0;
    const launches = Array.from({ length: 12 }, (_, index) => driver.launch(containerSpec(), identity(`x-${index}`)));
    const failures = Promise.all(launches.map(rejection));
    await until(() => waiting.length >= 4);
    expect(docker.mostOpen).toBeLessThanOrEqual(8);
    expect(waiting).toHaveLength(4);
    await until(() => {
      for (const response of waiting.splice(0)) json(response, 500, { message: 'no space left on device' });
      return docker.created().length === 12;
    });
    for (const response of waiting.splice(0)) json(response, 500, { message: 'no space left on device' });
    await failures;
  });

  it('is named as the reason why nothing can be launched, until it answers again', async () => {
    const { docker, driver } = bench;
    expect(driver.trouble()).toBeNull();
    docker.on('GET', /containers\/json$/, never);
    expect(String(await rejection(driver.list()))).toContain('Docker does not answer');
    expect(driver.trouble()).toContain('Docker does not answer');
    docker.on('GET', /containers\/json$/, (_asked, response) => json(response, 200, []));
    await driver.list();
    expect(driver.trouble()).toBeNull();
  });
});

describe('a daemon that was restarted', () => {
  it('is asked anew what it can do', async () => {
    const { docker, driver } = bench;
    const spec = containerSpec({ deviceUuids: null });
    await driver.launch(spec, ONE);
    docker.info = { Runtimes: { runc: {}, nvidia: {} } };
    docker.breakEvents();
    await until(() => docker.watchers === 1 && docker.of('GET', /^\/info$/).length > 1);
    await driver.launch(spec, identity('two-2'));
    const requests = docker.created().map(({ HostConfig }) => HostConfig.DeviceRequests?.length ?? 0);
    expect(requests).toEqual([0, 1]);
  });
});

describe('a daemon that refuses', () => {
  it.each([
    [404, 'No such image: vllm/vllm-openai:v0.16.0', 'image', 'not on this machine'],
    [500, 'could not select device driver "" with capabilities: [[gpu]]', 'driver_unavailable', 'Toolkit'],
    [400, 'OCI runtime create failed: exec: "vllm": executable file not found in $PATH', 'bad_arguments', "'vllm'"],
    [500, 'write /var/lib/docker/tmp/x: no space left on device', 'driver_unavailable', 'disk of Docker is full'],
    [400, 'unknown or invalid runtime name: nvidia', 'driver_unavailable', 'runtime'],
    [400, 'invalid mount config for type "bind"', 'bad_arguments', 'volumes'],
    [500, 'driver failed: bind for 127.0.0.1:32768 failed: port is already allocated', 'port_in_use', 'port'],
    [500, 'error mounting /home/somebody/secret.txt', 'driver_unavailable', '…/secret.txt'],
  ])('at the start, with %i %s', async (status, message, failure, text) => {
    const { docker, driver } = bench;
    docker.on('POST', /start$/, (_asked, response) => json(response, status, { message }));
    const refused = await rejection(driver.launch(containerSpec(), ONE));
    expect(refused).toMatchObject({ failure, message: expect.stringContaining(text) });
    expect(String(refused)).not.toContain('/home/somebody');
    // Made, and not started: it does not stay.
    expect(docker.containers.size).toBe(0);
  });

  it('to remove what is over costs no memory: the stop is done, and the rest is removed later', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    let refuse = true;
    docker.on('DELETE', /containers/, (asked, response) => {
      if (refuse) json(response, 500, { message: 'device or resource busy' });
      else {
        docker.containers.delete(asked.path.split('/').at(-1) ?? '');
        response.writeHead(204).end();
      }
    });
    await driver.stop(ONE, stopOptions({ timeout: 4_000 }));
    expect(exits).toHaveLength(1);
    expect(await driver.list()).toEqual([]);
    refuse = false;
    await until(() => docker.containers.size === 0);
  });

  it('to kill keeps the bytes promised: the stop fails with the reason', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    docker.on('POST', /kill$/, (_asked, response) => json(response, 500, { message: 'cannot kill: operation denied' }));
    const failure = await rejection(driver.stop(ONE, stopOptions({ timeout: 4_000 })));
    expect(String(failure)).toContain('Docker refuses: cannot kill: operation denied');
    expect(exits).toEqual([]);
    expect(docker.containers.size).toBe(1);
  });
});

describe('exits', () => {
  /** The one engine that runs ends; returns the id of its container. */
  function end(how: { readonly exitCode: number; readonly oomKilled?: boolean }): string {
    const [container] = bench.docker.containers.values();
    if (container === undefined) throw new Error('nothing runs');
    Object.assign(container, { state: 'exited', ...how });
    return container.id;
  }

  it('are seen by an event within moments', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    const container = end({ exitCode: 1 });
    docker.emit({ Type: 'container', Action: 'die', Actor: { ID: container } });
    await until(() => exits.length === 1);
    expect(exits).toMatchObject([{ replica: { id: 'one-1' }, code: 1, detail: 'exit code 1' }]);
  });

  it('that no event told are seen at the next look at everything [item 153] [F68] [I-36]', async () => {
    const { driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    end({ exitCode: 139 });
    await until(() => exits.length === 1);
    expect(exits).toMatchObject([{ code: null, signal: 'SIGSEGV' }]);
  });

  it('during a gap of events are seen as soon as the stream is open again [F68]', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    end({ exitCode: 0 });
    docker.breakEvents();
    await until(() => exits.length === 1);
    await until(() => docker.watchers === 1);
  });

  it('are seen while the daemon does not answer for another engine [F69]', async () => {
    const slow = await dockerBench();
    const { docker, driver, exits } = slow;
    try {
      for (const id of ['one-1', 'two-1', 'three-1']) await driver.launch(containerSpec(), identity(id));
      const [first, second, third] = docker.containers.values();
      Object.assign(third ?? {}, { state: 'exited', exitCode: 3 });
      let given = 0;
      docker.on('GET', new RegExp(`/(${first?.id}|${second?.id})/json$`), (_asked, response) => {
        response.once('close', () => (given += 1));
      });
      docker.breakEvents();
      await until(() => exits.length === 1);
      expect(exits).toMatchObject([{ replica: { id: 'three-1' }, code: 3 }]);
      expect(given).toBe(0);
    } finally {
      await slow.close();
    }
  });

  it('of an engine that used up the memory of its container say so [F71]', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    const container = end({ exitCode: 137, oomKilled: true });
    docker.emit({ Type: 'container', Action: 'die', Actor: { ID: container } });
    await until(() => exits.length === 1);
    expect(exits[0]?.detail).toBe('killed by SIGKILL; the memory of its container or of the machine was used up');
  });

  it('[B202] are not made up from nonsense on the stream', async () => {
    const { docker, driver, exits } = bench;
    await driver.launch(containerSpec(), ONE);
    const [running] = docker.containers.keys();
    docker.emit({ Type: 'container', Action: 'die', Actor: { ID: running } });
    docker.emit({ Actor: null, id: 7 });
    docker.emit(['what']);
    await driver.list();
    expect(exits).toEqual([]);
  });
});

describe('a pull', () => {
  const spec = { argv: null, env: {}, container: { image: 'r.example:5000/vllm', volumes: [], shmSize: null } };
  const line = (response: ServerResponse, value: object): boolean => response.write(`${JSON.stringify(value)}\r\n`);
  const layer = (id: string, status: string, current?: number, total?: number): object => ({
    ...{ id, status, progressDetail: current === undefined ? {} : { current, total } },
  });

  it('says how far it is, and resolves with the image', async () => {
    const { docker, driver } = bench;
    docker.on('POST', /images\/create$/, (_asked, response) => {
      response.writeHead(200);
      line(response, layer('latest', 'Pulling from vllm'));
      line(response, layer('aa', 'Pulling fs layer'));
      line(response, layer('aa', 'Downloading', 50, 100));
      line(response, layer('bb', 'Already exists'));
      line(response, layer('aa', 'Extracting', 100, 100));
      line(response, layer('aa', 'Pull complete'));
      docker.images.set('r.example:5000/vllm', 'sha256:2');
      response.end();
    });
    expect(await driver.fetch(spec, options())).toEqual({ image: 'sha256:2' });
    // Without a tag the daemon would pull every one that there is.
    const [asked] = docker.of('POST', /images\/create$/);
    expect(Object.fromEntries(asked?.query ?? [])).toEqual({ fromImage: 'r.example:5000/vllm', tag: 'latest' });
    expect(told[0]).toEqual(['image', null]);
    expect(told.map(([, fraction]) => fraction)).toContain(0.7);
    expect(told.at(-1)).toEqual(['image', 1]);
    told.length = 0;
    await driver.fetch(spec, options());
    expect(told).toEqual([]);
  });

  it('that fails in its middle tells what the registry said', async () => {
    bench.docker.on('POST', /images\/create$/, (_asked, response) => {
      response.writeHead(200);
      line(response, layer('aa', 'Downloading', 50, 100));
      line(response, { errorDetail: { message: 'toomanyrequests: slow down' }, error: 'toomanyrequests: slow down' });
      response.end();
    });
    expect(await rejection(bench.driver.fetch(spec, options()))).toMatchObject({
      failure: 'image',
      message: 'the image r.example:5000/vllm could not be pulled: toomanyrequests: slow down.',
    });
  });

  it('that just ends, or whose connection breaks, is no success', async () => {
    bench.docker.on('POST', /images\/create$/, (_asked, response) => response.writeHead(200).end());
    expect(await rejection(bench.driver.fetch(spec, options()))).toMatchObject({ failure: 'driver_unavailable' });
    bench.docker.on('POST', /images\/create$/, (_asked, response) => {
      line(response.writeHead(200), layer('aa', 'Downloading', 50, 100));
      setTimeout(() => response.destroy(), 20);
    });
    expect(await rejection(bench.driver.fetch(spec, options()))).toMatchObject({ failure: 'driver_unavailable' });
  });

  it('is cut off when nobody wants it any more, which ends it in the daemon', async () => {
    const { docker, driver } = bench;
    let cut = false;
    docker.on('POST', /images\/create$/, (_asked, response) => {
      response.once('close', () => {
        cut = true;
      });
      line(response.writeHead(200), layer('aa', 'Downloading', 50, 100));
    });
    const controller = new AbortController();
    const fetch = rejection(driver.fetch(spec, options(controller.signal)));
    await until(() => told.length > 1);
    const reason = new Error('nobody wants it');
    controller.abort(reason);
    expect(await fetch).toBe(reason);
    await until(() => cut);
  });

  it.each([
    ['vllm/vllm-openai:v1', { fromImage: 'vllm/vllm-openai', tag: 'v1' }],
    ['localhost:5000/a/b:c', { fromImage: 'localhost:5000/a/b', tag: 'c' }],
    ['a/b@sha256:00ff', { fromImage: 'a/b', tag: 'sha256:00ff' }],
    ['a', { fromImage: 'a', tag: 'latest' }],
  ])('of %s asks for one image', async (image, query) => {
    bench.docker.on('POST', /images\/create$/, (_asked, response) =>
      json(response, 404, { message: 'manifest unknown' }),
    );
    const failure = await rejection(
      bench.driver.fetch({ ...spec, container: { ...spec.container, image } }, options()),
    );
    expect(failure).toMatchObject({ failure: 'image', message: expect.stringContaining('manifest unknown') });
    const [asked] = bench.docker.of('POST', /images\/create$/);
    expect(Object.fromEntries(asked?.query ?? [])).toEqual(query);
  });
});

describe('process ids', () => {
  it('are those of the machine, or at least the first one where it has no ps', async () => {
    const { docker, driver } = bench;
    await driver.launch(containerSpec(), ONE);
    docker.on('GET', /top$/, (_asked, response) =>
      json(response, 200, { Titles: ['PID'], Processes: [['12'], ['13'], ['x']] }),
    );
    expect(await driver.pids(ONE)).toEqual([12, 13]);
    docker.on('GET', /top$/, (_asked, response) => json(response, 500, { message: 'ps: not found' }));
    expect(await driver.pids(ONE)).toEqual([4_711]);
  });
});
