/** A socket that answers, but not as the daemon of Docker does: a proxy that refuses, an answer that breaks off. */
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rejection } from '../../../test/contract/driver/harness.ts';
import { until } from '../../../test/contract/process-harness.ts';
import { containerSpec, dockerBench, type DockerBench } from '../../../test/support/docker-bench.ts';
import { json } from '../../../test/support/recording-docker.ts';
import { LaunchError } from '../driver.ts';

const ONE = { ...{ id: 'one-1', generation: 1, model: 'm', specHash: 'h', reservations: new Map<string, number>() } };

let bench: DockerBench;
beforeEach(async () => {
  bench = await dockerBench({ speed: 10 });
  await bench.driver.list();
  await until(() => bench.docker.watchers === 1);
});
afterEach(async () => {
  await bench.close();
});

type Reply = (response: ServerResponse) => void;

const page = (status: number, text: string): Reply => {
  return (response) => response.writeHead(status, { 'content-type': 'text/html' }).end(text);
};

const REPLIES: readonly (readonly [string, Reply])[] = [
  ['a page that says 403', page(403, '<html><h1>403 Forbidden</h1></html>')],
  ['a page that says 200', page(200, '<html>welcome</html>')],
  ['half an object', (response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{"Id":"ab')],
  ['nothing', page(200, '')],
  ['null', (response) => json(response, 200, null)],
  ['an empty object', (response) => json(response, 200, {})],
  ['a list', (response) => json(response, 200, [])],
  ['a number', (response) => json(response, 200, 7)],
  [
    'other kinds of fields',
    (response) => json(response, 200, { Id: 7, State: 'x', Config: [], NetworkSettings: null }),
  ],
  [
    'an answer that breaks off',
    (response) => response.writeHead(200, { 'content-length': '100' }).write('{"Id":', () => response.destroy()),
  ],
];

describe('a launch is refused with a reason, and the gateway goes on, when the daemon answers', () => {
  it.each(REPLIES)('[B202] the making of a container with %s', async (_title, reply) => {
    bench.docker.on('POST', /create$/, (_asked, response) => reply(response));
    expect(await rejection(bench.driver.launch(containerSpec(), ONE))).toBeInstanceOf(LaunchError);
  });

  it.each(REPLIES)('[B202] the look at a container with %s', async (_title, reply) => {
    bench.docker.on('GET', /containers\/.+\/json$/, (_asked, response) => reply(response));
    expect(await rejection(bench.driver.launch(containerSpec(), ONE))).toBeInstanceOf(LaunchError);
  });
});

describe('a look at everything fails with a reason, and finds again what runs, when the daemon answers', () => {
  // A list is what was asked for: an empty one is believed.
  it.each(REPLIES.filter(([title]) => title !== 'a list'))(
    '[B202] the list of containers with %s',
    async (_title, reply) => {
      await bench.driver.launch(containerSpec(), ONE);
      bench.docker.on('GET', /containers\/json/, (_asked, response) => reply(response));
      expect(await rejection(bench.driver.list())).toBeInstanceOf(Error);
      bench.docker.sayTheTruth();
      expect((await bench.driver.list()).map(({ id }) => id)).toEqual(['one-1']);
      expect(bench.exits).toEqual([]);
    },
  );
});
