/** After a reload: everything that was made of the old configuration follows the new one. */
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { MIB } from '../../src/units.ts';
import { Clients, endOf, type ClientAnswer } from '../support/clients.ts';
import { gatewayYaml, QUICK } from '../support/gateway-yaml.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { RecordingDocker } from '../support/recording-docker.ts';
import { model, note, reload } from '../support/reload.ts';
import { simulatedYaml, startFleet, statusOf, until, untilWaiting } from '../support/simulated-fleet.ts';

const MIRROR = fileURLToPath(new URL('../support/mirror-engine.mjs', import.meta.url));

describe('after a reload', () => {
  it('gives requests that were admitted before it what they were admitted under, and later ones the new [I-94]', async () => {
    await using gateway = await startTestGateway({ yaml: held(1) });
    await using clients = new Clients(gateway.url);
    const early = clients.chat('alias-1');
    await untilWaiting(gateway, 'mirror', 1);
    await gateway.rewrite(held(2));
    expect((await reload(gateway)).diff).toMatchObject({ keep: ['mirror'], drain_and_restart: [] });
    const late = clients.chat('alias-2');
    await untilWaiting(gateway, 'mirror', 2);
    await writeFile(GO, '');
    expect(seenIn(await early)).toMatchObject({ seed: 1 });
    expect(seenIn(await late)).toMatchObject({ seed: 2 });
    expect(endOf(await clients.chat('alias-1'))).toBe('404 model_not_found');
  });

  it('asks a starting engine at its new health path', async () => {
    await using gateway = await startFleet([model('one', 'health_path: /nowhere')]);
    await using clients = new Clients(gateway.url);
    const waiting = clients.chat('one');
    await until(() => expect(gateway.lines.some((line) => line.includes('/nowhere answers 404'))).toBe(true));
    await gateway.rewrite(simulatedYaml([model('one', 'health_path: /health')]));
    await reload(gateway);
    expect(endOf(await waiting)).toBe('200');
  });

  it('gives a server that others run its new credentials, over the connections that it has', async () => {
    const seen: string[] = [];
    const server = createServer((request, response) => {
      seen.push(`${request.headers.authorization ?? ''} ${String(request.headers['x-team'])}`);
      request.resume();
      response.setHeader('content-type', 'application/json').end('{"object":"chat.completion","choices":[]}');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const yaml = (key: string, team: string): string =>
      gatewayYaml({
        far: { url: `http://127.0.0.1:${port}/v1`, repo: 'far', api_key: key, headers: { 'x-team': team } },
      });
    await using gateway = await startTestGateway({ yaml: yaml('the-first-key', 'one') });
    await using clients = new Clients(gateway.url);
    expect(endOf(await clients.chat('far'))).toBe('200');
    await gateway.rewrite(yaml('the-second-key', 'two'));
    const answer = await reload(gateway);
    expect(answer.diff).toMatchObject({ keep: ['far'], drain_and_restart: [] });
    expect(answer.diff?.changed).toEqual([
      { path: 'models.far.api_key', from: '***', to: '***', rule: 'live' },
      { path: 'models.far.headers', from: { 'x-team': '***' }, to: { 'x-team': '***' }, rule: 'live' },
    ]);
    expect(endOf(await clients.chat('far'))).toBe('200');
    expect(seen.filter((line) => line.startsWith('Bearer'))).toEqual([
      'Bearer the-first-key one',
      'Bearer the-second-key two',
    ]);
    expect(gateway.lines.join('')).not.toMatch(/the-(first|second)-key/);
    server.close();
  });

  it('takes new keys at once and refuses removed ones at once, while running answers end, and watchers are sent away', async () => {
    const models = { one: { repo: 'org/one', env: QUICK } };
    const yaml = (...ids: readonly string[]): string =>
      gatewayYaml(models, {
        auth: {
          keys: [...ids.map((id) => ({ id, key: `sk-${id}` })), { id: 'owner', key: 'sk-owner', roles: ['admin'] }],
        },
      });
    await using gateway = await startTestGateway({ yaml: yaml('old', 'both'), adminKey: 'sk-owner' });
    await using clients = new Clients(gateway.url);
    const as = (id: string): { readonly headers: Readonly<Record<string, string>> } => ({
      headers: { authorization: `Bearer sk-${id}` },
    });
    const ask = async (id: string): Promise<string> => endOf(await clients.chat('one', as(id)));
    expect([await ask('old'), await ask('both'), await ask('new')]).toEqual(['200', '200', '401 invalid_api_key']);
    const stream = clients.chat('one', { ...as('old'), stream: true, fake: { tokens: 50, token_ms: 20 } });
    await until(async () => {
      const status = (await gateway.status()) as unknown as { models: Record<string, { in_flight: number }> };
      expect(status.models['one']?.in_flight).toBe(1);
    });
    await gateway.rewrite(yaml('new', 'both'));
    expect((await reload(gateway)).diff).toMatchObject({
      keep: ['one'],
      changed: [expect.objectContaining({ path: 'auth', rule: 'live' })],
    });
    expect([await ask('old'), await ask('both'), await ask('new')]).toEqual(['401 invalid_api_key', '200', '200']);
    expect((await stream).text).toContain('[DONE]');
    const watching = await fetch(`${gateway.url}/gateway/events`, { headers: { authorization: 'Bearer sk-owner' } });
    await gateway.rewrite(yaml('new').replaceAll('sk-owner', 'sk-other'));
    expect(await reload(gateway)).toMatchObject({ result: 'applied' });
    expect(await watching.text()).toContain('config.reloaded');
  });

  it('asks another engine where the model is one of another kind, or elsewhere', async () => {
    const answering = async (name: string): Promise<Server> => {
      const server = createServer((request, response) => {
        request.resume();
        response.setHeader('content-type', 'application/json').end(JSON.stringify({ object: name, choices: [] }));
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    };
    const [here, there] = await Promise.all([answering('here'), answering('there')]);
    const at = (server: Server): object => ({
      repo: 'org/one',
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    });
    await using gateway = await startTestGateway({ yaml: gatewayYaml({ one: at(here) }) });
    await using clients = new Clients(gateway.url);
    const answers = async (): Promise<unknown> =>
      (JSON.parse((await clients.chat('one')).text) as { readonly object: unknown }).object;
    const becomes = async (one: object): Promise<unknown> => {
      await gateway.rewrite(gatewayYaml({ one }));
      expect((await reload(gateway)).diff).toMatchObject({ drain_and_restart: ['one'] });
      return answers();
    };
    expect(await answers()).toBe('here');
    expect(await becomes(at(there))).toBe('there');
    expect(await becomes({ repo: 'org/one', env: QUICK })).toBe('chat.completion');
    expect(await becomes(at(here))).toBe('here');
    here.close();
    there.close();
  });

  it('runs the first model of a driver that nobody needed before', async () => {
    const docker = new RecordingDocker();
    await docker.start();
    try {
      const far = { url: 'http://127.0.0.1:9/v1', repo: 'far' };
      const drivers = { default: 'process', docker: { socket: docker.socket, reach: 'network' } };
      const more = { drivers, devices: { probe: 'none' } };
      await using gateway = await startTestGateway({ yaml: gatewayYaml({ far }, more), env: { HF_HUB_OFFLINE: '1' } });
      // Its driver has told that it left nothing behind, and is closed.
      await until(() => expect([docker.asked.length > 0, docker.watchers]).toEqual([true, 0]));
      const boxed = { repo: 'org/boxed', driver: 'docker', max_model_len: 8192, memory: '1GiB' };
      await gateway.rewrite(gatewayYaml({ far, boxed }, more));
      expect(await reload(gateway)).toMatchObject({ result: 'applied', diff: { add: ['boxed'] } });
      await gateway.post('/gateway/models/boxed/load', '');
      await until(() => expect([docker.created().length > 0, docker.watchers]).toEqual([true, 1]));
    } finally {
      await docker.stop();
    }
  });

  it('takes place one at a time, however many ask, and leaves nothing behind after a thousand', async () => {
    await using gateway = await startFleet([model('stays')], '', { recount: false });
    await using clients = new Clients(gateway.url);
    await clients.chat('stays');
    const once = async (count: number): Promise<void> => {
      const models = [model('stays', note(count)), model(`model-${count % 300}`, note(count))];
      await gateway.rewrite(simulatedYaml(models));
      const asked = Array.from({ length: count % 50 === 0 ? 5 : 1 }, () => gateway.gateway.reload('api'));
      for (const { version } of await Promise.all(asked)) expect(version).toBe(count + 2);
    };
    for (let count = 0; count < 350; count += 1) await once(count);
    const before = await heldNow(gateway);
    for (let count = 350; count < 1_000; count += 1) await once(count);
    await until(async () => {
      const after = await heldNow(gateway);
      expect(after.timers).toBeLessThanOrEqual(before.timers);
      expect(after.handles).toBeLessThanOrEqual(before.handles);
      expect(after.heap - before.heap).toBeLessThan(8 * MIB);
    });
    expect((await statusOf(gateway)).config.version).toBe(1_001);
    expect(endOf(await clients.chat('stays'))).toBe('200');
  }, 120_000);
});

async function heldNow(
  gateway: TestGateway,
): Promise<{ readonly timers: number; readonly handles: number; readonly heap: number }> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  await new Promise(setImmediate);
  collect();
  return {
    timers: gateway.armedTimers(),
    handles: process.getActiveResourcesInfo().filter((kind) => !/^(?:Timeout|Immediate|FSReq|TCPSocket)/.test(kind))
      .length,
    heap: process.memoryUsage().heapUsed,
  };
}

const GO = join(tmpdir(), `vgw-go-${process.pid}`);

/** An engine that comes up when `GO` is there, and answers with what it saw. */
function held(seed: number): string {
  const wait = `while [ ! -e ${GO} ]; do sleep 0.05; done; exec "$0" "$@"`;
  const command = ['sh', '-c', wait, process.execPath, MIRROR, '${port}'];
  const mirror = {
    repo: 'org/mirror',
    command,
    health_path: null,
    request_defaults: { seed },
    aliases: [`alias-${seed}`],
  };
  return gatewayYaml({ mirror });
}

function seenIn(answer: ClientAnswer): unknown {
  const { body } = JSON.parse(answer.text) as { readonly body: string };
  return JSON.parse(body);
}
