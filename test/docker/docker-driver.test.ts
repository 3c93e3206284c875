/** What only Docker has: other people's containers, networks, images, and what stands in a container. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LaunchError } from '../../src/drivers/driver.ts';
import { allLines, identityOf, never, ONE, rejection, stopOptions, TWO } from '../contract/driver/harness.ts';
import { callDocker } from '../support/docker-call.ts';
import { dockerHere, FAKE_VLLM_IMAGE, startDaemon, type DockerDaemon } from '../support/docker-daemon.ts';
import { dockerHarness, type DockerHarness } from './docker-harness.ts';

interface Inspected {
  readonly Id: string;
  readonly Name: string;
  readonly Config: { readonly Labels: Record<string, string>; readonly Env: string[] };
  readonly HostConfig: { readonly PortBindings: unknown; readonly IpcMode: string; readonly Binds: string[] };
  readonly NetworkSettings: {
    readonly Ports: Record<string, { HostIp: string; HostPort: string }[] | null>;
    readonly Networks: Record<string, { Aliases: string[] | null }>;
  };
  readonly Mounts: { readonly Type: string; readonly Name?: string; readonly Destination: string }[];
}

describe.runIf(dockerHere())('the Docker driver', () => {
  let daemon: DockerDaemon;
  let harness: DockerHarness;
  const foreigners: string[] = [];

  beforeAll(async () => {
    daemon = await startDaemon();
    await daemon.loadFakeVllmImage();
  });
  afterAll(async () => {
    await daemon.stop();
  });
  beforeEach(async () => {
    harness = await dockerHarness(daemon);
  });
  afterEach(async () => {
    for (const id of foreigners.splice(0)) await remove(id);
    await harness.close();
  });

  const ask = async (method: string, path: string, body?: unknown): Promise<{ status: number; text: string }> =>
    callDocker(daemon.socket, method, path, body === undefined ? undefined : JSON.stringify(body));
  const inspect = async (id: string): Promise<Inspected> =>
    JSON.parse((await ask('GET', `/containers/${id}/json`)).text) as Inspected;
  /** A container that this gateway has nothing to do with. */
  const foreign = async (name: string, more: object = {}): Promise<string> => {
    const body = { Image: FAKE_VLLM_IMAGE, Entrypoint: ['sleep', '600'], HostConfig: { NetworkMode: 'none' }, ...more };
    const created = await ask('POST', `/containers/create?name=${name}`, body);
    const { Id } = JSON.parse(created.text) as { Id: string };
    foreigners.push(Id);
    await ask('POST', `/containers/${Id}/start`);
    return Id;
  };
  const remove = (id: string): Promise<unknown> => ask('DELETE', `/containers/${id}?force=1&v=1`);

  it('runs an engine that is reached, watched and stopped, and leaves no volume of it', async () => {
    const serve = ['vllm', 'serve', 'org/model', '--host', '0.0.0.0', '--port', '8000'];
    const env = { VLLM_API_KEY: 'secret-key-1', HF_TOKEN: 'hf_secret_token', FAKE_VLLM_START_MS: '100' };
    const spec = { ...harness.shell('', { env }), argv: [...serve, '--served-model-name', 'model'] };
    const endpoint = await harness.driver.launch(spec, ONE);
    const headers = { authorization: 'Bearer secret-key-1' };
    const models = async (): Promise<string> => {
      const url = `${endpoint.origin}/v1/models`;
      return (await harness.platform.http.get(url, { timeout: 2_000, headers }).catch(() => ({ body: '' }))).body;
    };
    await harness.until(async () => (await models()).includes('"model"'));
    const facts = await inspect(endpoint.container ?? '');
    expect(facts.NetworkSettings.Ports['8000/tcp']).toMatchObject([{ HostIp: '127.0.0.1' }]);
    expect(facts.HostConfig.IpcMode).toBe('host');
    // Secrets are in the environment, where the engine reads them, and nowhere else.
    expect(facts.Config.Env).toContain('HF_TOKEN=hf_secret_token');
    expect(JSON.stringify(facts.Config.Labels)).not.toMatch(/secret/);
    expect(facts.Config.Labels).toMatchObject({
      'vllm-gateway.id': harness.gatewayId,
      'vllm-gateway.replica': 'one-1',
      'vllm-gateway.generation': '1',
      'vllm-gateway.model': ONE.model,
      'vllm-gateway.spec': 'hash',
      'vllm-gateway.reservations': '[["gpu-0",21474836480]]',
    });
    const temp = facts.Mounts.find(({ Destination }) => Destination === '/tmp');
    expect(temp?.Type).toBe('volume');
    expect(facts.Mounts.map(({ Destination }) => Destination).toSorted()).toEqual([
      '/root/.cache/huggingface',
      '/root/.cache/vllm',
      '/tmp',
    ]);
    await harness.driver.stop(ONE, stopOptions());
    expect(await ask('GET', `/volumes/${temp?.Name}`)).toMatchObject({ status: 404 });
  });

  it('fetches with the engine s own image into the cache that engines share', async () => {
    const told: (number | null)[] = [];
    const argv = ['python3', '-c', 'import sys', JSON.stringify({ repo: 'org/model' })];
    const container = { image: FAKE_VLLM_IMAGE, volumes: [], shmSize: null };
    const env = { FAKE_VLLM_FETCH_MS: '300', FAKE_VLLM_CACHE_DIR: '/root/.cache/huggingface' };
    const progress = (_phase: string, fraction: number | null): void => void told.push(fraction);
    const fetch = await harness.driver.fetch({ argv, env, container }, { signal: never(), progress });
    expect(fetch.image).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(told.some((fraction) => fraction !== null && fraction > 0)).toBe(true);
    expect(readdirSync(join(harness.folder, 'cache'))).not.toEqual([]);
    expect(await harness.fetching()).toBe(0);
  });

  it('leaves a foreign container alone that has its name, takes another one, and says so [item 87] [F55]', async () => {
    const id = await foreign('vllm_server_one-1_1');
    await harness.driver.launch(await harness.spec('serve'), ONE);
    const ours = await harness.containerOf(ONE);
    expect(ours?.name).toMatch(/^vllm_server_one-1_1_[0-9a-f]{6}$/);
    expect(harness.notices).toContainEqual(expect.stringContaining("'vllm_server_one-1_1'"));
    await harness.driver.stop(ONE, stopOptions());
    const left = await harness.containers();
    expect(left.map((container) => [container.id, container.state])).toContainEqual([id, 'running']);
  });

  it('removes an own container of the same name that is none any more, before a start [item 155] [F55]', async () => {
    const labels = {
      ...{ 'vllm-gateway.id': harness.gatewayId, 'vllm-gateway.role': 'replica', 'vllm-gateway.replica': 'one-1' },
      ...{ 'vllm-gateway.generation': '1', 'vllm-gateway.model': 'm', 'vllm-gateway.spec': 'of another time' },
      'vllm-gateway.reservations': '[]',
    };
    const stale = await foreign('vllm_server_one-1_1', { Labels: labels });
    await harness.driver.launch(await harness.spec('serve'), ONE);
    const ours = await harness.containerOf(ONE);
    expect(ours?.name).toBe('vllm_server_one-1_1');
    expect(ours?.id).not.toBe(stale);
    expect(harness.notices).not.toContainEqual(expect.stringContaining('vllm_server_one-1_1'));
  });

  it('takes up a launch whose answer an earlier attempt never got', async () => {
    const endpoint = await harness.driver.launch(await harness.spec('serve'), ONE);
    const next = await harness.restart();
    expect(await next.launch(await harness.spec('serve'), ONE)).toEqual(endpoint);
    expect(await harness.living(ONE)).toBe(1);
  });

  it('neither lists, stops nor removes containers of another gateway or of nobody [F74]', async () => {
    const other = await harness.stranger();
    await other.launch(await harness.spec('serve'), TWO);
    const nobodys = await foreign('somebody-elses');
    await harness.driver.launch(await harness.spec('serve'), ONE);
    expect((await harness.driver.list()).map(({ id }) => id)).toEqual([ONE.id]);
    await harness.driver.stop(ONE, stopOptions());
    await harness.driver.stop(TWO, stopOptions());
    const left = await harness.containers();
    expect(left.map(({ id }) => id)).toContain(nobodys);
    expect(left.map(({ labels }) => labels['vllm-gateway.replica'])).toContain(TWO.id);
  });

  it('says what is missing when Docker has no runtime for GPUs, and leaves nothing [F61]', async () => {
    const spec = { ...(await harness.spec('serve')), deviceUuids: ['GPU-6f7d1c3e-0000-4444-8888-0123456789ab'] };
    const failure = await rejection(harness.driver.launch(spec, ONE));
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({
      failure: 'driver_unavailable',
      message: expect.stringContaining('NVIDIA Container Toolkit'),
    });
    expect(await harness.containerOf(ONE)).toBeUndefined();
  });

  it('names the image that is not there [F60]', async () => {
    const spec = await harness.spec('serve');
    const container = { image: 'example.invalid/none:1', volumes: [], shmSize: null };
    const failure = await rejection(harness.driver.launch({ ...spec, container }, ONE));
    expect(failure).toMatchObject({ failure: 'image' });
    const fetch = harness.driver.fetch({ argv: null, env: {}, container }, { signal: never(), progress: () => {} });
    expect(await rejection(fetch)).toMatchObject({
      failure: 'image',
      message: expect.stringMatching(/^the image example\.invalid\/none:1 could not be pulled: .+\.$/),
    });
  });

  it('refuses a volume that Docker refuses, and leaves nothing', async () => {
    const spec = await harness.spec('serve');
    const container = { image: FAKE_VLLM_IMAGE, volumes: ['no absolute path:relative'], shmSize: null };
    const failure = await rejection(harness.driver.launch({ ...spec, container }, ONE));
    expect(failure).toMatchObject({ failure: 'bad_arguments' });
    expect(await harness.containerOf(ONE)).toBeUndefined();
  });

  it('reaches engines by their address when it is told to stay off published ports', async () => {
    const driver = await harness.restart({ reach: 'network' });
    const serve = ['vllm', 'serve', 'org/model', '--host', '0.0.0.0', '--port', '8000'];
    const spec = { ...harness.shell('', { env: { FAKE_VLLM_START_MS: '100' } }), argv: serve };
    const endpoint = await driver.launch(spec, ONE);
    expect(endpoint.origin).toMatch(/^http:\/\/10\.\d+\.\d+\.\d+:8000$/);
    expect((await inspect(endpoint.container ?? '')).HostConfig.PortBindings ?? {}).toEqual({});
    await harness.until(async () => {
      const answer = await harness.platform.http.get(`${endpoint.origin}/health`, { timeout: 2_000 }).catch(() => null);
      return answer?.status === 200;
    });
  });

  it('does not adopt a paused engine as it is, and stops it all the same', async () => {
    await harness.driver.launch(await harness.spec('serve'), ONE);
    const container = await harness.containerOf(ONE);
    await ask('POST', `/containers/${container?.id}/pause`);
    const next = await harness.restart();
    expect(await next.list()).toMatchObject([{ id: ONE.id, usable: 'its container is paused' }]);
    await next.stop(ONE, stopOptions());
    expect(await harness.containerOf(ONE)).toBeUndefined();
  });

  it('does not adopt an engine whose image has become another one', async () => {
    const image = await daemon.loadFakeVllmImage('vgw-test/changing:v1');
    const spec = { ...(await harness.spec('serve')), container: { image, volumes: [], shmSize: null } };
    await harness.driver.launch(spec, ONE);
    expect(await harness.driver.list()).toMatchObject([{ usable: true }]);
    const parts = { repo: 'vgw-test/changing', tag: 'v1', container: (await harness.containerOf(ONE))?.id ?? '' };
    await ask('POST', `/commit?${new URLSearchParams(parts).toString()}`);
    expect(await harness.driver.list()).toMatchObject([{ usable: expect.stringContaining('vgw-test/changing:v1') }]);
  });

  it('removes what a killed gateway left of a fetch or of a start that never came to be', async () => {
    const labels = { 'vllm-gateway.id': harness.gatewayId, 'vllm-gateway.role': 'fetch' };
    await foreign('left_fetch', { Labels: labels });
    const body = { Image: FAKE_VLLM_IMAGE, Labels: { ...labels, 'vllm-gateway.role': 'replica' } };
    await ask('POST', '/containers/create?name=left_created', body);
    await harness.driver.list();
    await harness.until(async () => {
      const names = (await harness.containers()).map(({ name }) => name);
      return !names.includes('left_fetch') && !names.includes('left_created');
    });
  });

  it('sees an engine that somebody removed [F58]', async () => {
    const exits: string[] = [];
    harness.driver.watch((exit) => exits.push(exit.detail));
    await harness.driver.launch(await harness.spec('serve'), ONE);
    await remove((await harness.containerOf(ONE))?.id ?? '');
    await harness.until(() => exits.length === 1);
    await harness.driver.stop(ONE, stopOptions());
    expect(exits).toHaveLength(1);
  });

  it('makes the network when it is gone', async () => {
    await harness.driver.launch(await harness.spec('serve'), ONE);
    await harness.driver.stop(ONE, stopOptions());
    expect(await ask('DELETE', '/networks/vllm_network')).toMatchObject({ status: 204 });
    await harness.driver.launch(await harness.spec('serve'), TWO);
    expect(await harness.living(TWO)).toBe(1);
  });

  it('gives a line of any length in bounded pieces, and nothing of it is lost', async () => {
    const script = 'printf "%0200000d\\n" 7; echo end';
    const exits: unknown[] = [];
    harness.driver.watch((exit) => exits.push(exit));
    await harness.driver.launch(harness.shell(script), identityOf('long-1'));
    await harness.until(() => exits.length === 1);
    const options = { tail: 100_000, follow: false, signal: never() };
    const lines = await allLines(harness.driver.logs(identityOf('long-1'), options));
    expect(lines.at(-1)).toBe('end');
    expect(lines.slice(0, -1).join('')).toBe('7'.padStart(200_000, '0'));
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(96 * 1024);
  });
});
