import { afterEach, describe, expect, it } from 'vitest';
import { containerSpec, dockerBench, type DockerBench } from '../../../test/support/docker-bench.ts';
import type { CreatedBody } from '../../../test/support/recording-docker.ts';

const identity = { id: 'a-1', generation: 1, model: 'm', specHash: 'h', reservations: new Map<string, number>() };
const OWN = 'f'.repeat(64);
/** As the kernel lists the files that Docker mounts into a container. */
const MOUNTS = `700 690 8:1 /var/lib/docker/containers/${OWN}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n`;
/** As it lists those of all containers on the host. */
const HOST_MOUNTS = `700 690 0:9 / /var/lib/docker/containers/${OWN}/mounts/shm rw - tmpfs shm rw\n`;
const INSIDE = { '/proc/self/mountinfo': MOUNTS };

let bench: DockerBench;
afterEach(async () => {
  await bench.close();
});

const own = (networks: readonly string[], mode = networks[0]): object => ({
  ...{ Id: OWN, Name: '/gateway', HostConfig: { NetworkMode: mode }, Config: { Labels: {} }, State: { Running: true } },
  NetworkSettings: { Networks: Object.fromEntries(networks.map((name) => [name, {}])) },
});

async function launched(): Promise<{ readonly body: CreatedBody; readonly origin: string }> {
  const { origin } = await bench.driver.launch(containerSpec(), identity);
  const body = bench.docker.created().at(-1);
  if (body === undefined) throw new Error('no container was asked for');
  return { body, origin };
}

describe('a gateway in a container', () => {
  it('joins the network of Compose by its ending, is reached by name, and publishes no port [items 88, 162]', async () => {
    bench = await dockerBench({ files: INSIDE });
    bench.docker.others.set(OWN, own(['other', 'stack_vllm_network']));
    const { body, origin } = await launched();
    expect(body.HostConfig.NetworkMode).toBe('stack_vllm_network');
    expect(body.HostConfig.PortBindings).toBeUndefined();
    const [alias] = body.NetworkingConfig.EndpointsConfig['stack_vllm_network']?.Aliases ?? [];
    expect(alias).toMatch(/^vgw-[0-9a-f]{16}$/);
    expect(origin).toBe(`http://${alias}:8000`);
    expect(bench.notices).toEqual([]);
    expect(bench.docker.of('POST', /networks/)).toEqual([]);
  });

  it('finds itself by its host name, and by the name that is configured', async () => {
    const files = { '/.dockerenv': '' };
    bench = await dockerBench({ files, env: { HOSTNAME: OWN.slice(0, 12) } });
    bench.docker.others.set(OWN.slice(0, 12), own(['vllm_network']));
    expect((await launched()).body.HostConfig.NetworkMode).toBe('vllm_network');
    expect(bench.docker.of('GET', /vllm_gateway/)).toEqual([]);
    await bench.close();
    bench = await dockerBench({ files, env: { HOSTNAME: 'gateway' }, settings: { gatewayContainer: 'mine' } });
    bench.docker.others.set('mine', own(['a_vllm_network']));
    expect((await launched()).body.HostConfig.NetworkMode).toBe('a_vllm_network');
  });

  it('falls back to a network that it is in, and says so [item 161]', async () => {
    bench = await dockerBench({ files: INSIDE });
    bench.docker.others.set(OWN, own(['bridge', 'apps']));
    expect((await launched()).body.HostConfig.NetworkMode).toBe('apps');
    expect(bench.notices).toEqual([expect.stringContaining("is not in the network 'vllm_network'")]);
  });

  it('reaches engines by address in the network that has no names', async () => {
    bench = await dockerBench({ files: INSIDE });
    bench.docker.others.set(OWN, own(['bridge']));
    const { body, origin } = await launched();
    expect(body.NetworkingConfig.EndpointsConfig).toEqual({ bridge: {} });
    expect(origin).toBe('http://10.0.0.7:8000');
  });

  it('is not ready, and says why, when no engine could be reached [item 88]', async () => {
    bench = await dockerBench({ files: INSIDE });
    bench.docker.others.set(OWN, own(['none']));
    await expect(launched()).rejects.toMatchObject({ failure: 'driver_unavailable' });
    expect(bench.driver.trouble()).toContain('in no network that engines could join');
  });

  it('that Docker does not know is taken for the host, and says so [item 161]', async () => {
    bench = await dockerBench({ files: INSIDE });
    const { body, origin } = await launched();
    expect(body.HostConfig.PortBindings).toEqual({ '8000/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] });
    expect(origin).toBe('http://127.0.0.1:32768');
    expect(bench.notices).toEqual([expect.stringContaining('not known to Docker')]);
  });

  it('in the network of the host reaches engines as the host does', async () => {
    bench = await dockerBench({ files: INSIDE });
    bench.docker.others.set(OWN, own(['host']));
    expect((await launched()).origin).toBe('http://127.0.0.1:32768');
  });
});

describe('a gateway on the host', () => {
  it('publishes on the loopback alone', async () => {
    bench = await dockerBench({ files: { '/proc/self/mountinfo': HOST_MOUNTS } });
    const { body } = await launched();
    expect(body.HostConfig.PortBindings).toEqual({ '8000/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] });
    expect(body.HostConfig.NetworkMode).toBe('vllm_network');
    expect(bench.notices).toEqual([]);
  });

  it('makes the network where there is none, once', async () => {
    bench = await dockerBench();
    bench.docker.networks.splice(0);
    await launched();
    await bench.driver.launch(containerSpec(), { ...identity, id: 'b-1' });
    expect(bench.docker.of('POST', /networks/).map(({ body }) => body)).toMatchObject([
      { Name: 'vllm_network', Driver: 'bridge' },
    ]);
  });

  it('takes the one network that Compose made of that name', async () => {
    bench = await dockerBench();
    bench.docker.networks.splice(0, 1, { Name: 'stack_vllm_network', Driver: 'bridge' });
    expect((await launched()).body.HostConfig.NetworkMode).toBe('stack_vllm_network');
  });

  it('may be told to use addresses', async () => {
    bench = await dockerBench({ settings: { reach: 'network' } });
    const { body, origin } = await launched();
    expect(body.HostConfig.PortBindings).toBeUndefined();
    expect(origin).toBe('http://10.0.0.7:8000');
  });
});
