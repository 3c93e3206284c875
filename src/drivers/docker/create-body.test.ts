import { afterEach, describe, expect, it } from 'vitest';
import { containerSpec, dockerBench, type BenchOptions, type DockerBench } from '../../../test/support/docker-bench.ts';
import type { CreatedBody } from '../../../test/support/recording-docker.ts';
import type { LaunchSpec } from '../../core/launch.ts';

const identity = { id: 'a-1', generation: 2, model: 'Org/Model A', specHash: 'h', reservations: new Map([['g', 5]]) };
const GPU = 'GPU-6f7d1c3e-0000-4444-8888-0123456789ab';
const GPUS = [GPU, 'GPU-7a7d1c3e-0000-4444-8888-0123456789ab'];
const NVIDIA = { Runtimes: { runc: {}, nvidia: { path: 'nvidia-container-runtime' } } };
const CDI = { Runtimes: { runc: {} }, DiscoveredDevices: [{ Source: 'cdi', ID: 'nvidia.com/gpu=all' }] };

let bench: DockerBench;
afterEach(async () => {
  await bench.close();
});

async function bodyOf(spec: Partial<LaunchSpec> = {}, options: BenchOptions = {}, info?: object): Promise<CreatedBody> {
  bench = await dockerBench(options);
  if (info !== undefined) bench.docker.info = info;
  await bench.driver.launch(containerSpec(spec), identity);
  const [body] = bench.docker.created();
  if (body === undefined) throw new Error('no container was asked for');
  return body;
}

describe('the GPUs of a container [item 92]', () => {
  const device = (uuids: readonly string[], driver = ''): object => ({
    ...{ Driver: driver, DeviceIDs: uuids, Capabilities: [['gpu']] },
  });

  it.each([
    ['auto', NVIDIA, GPUS, [device(GPUS)]],
    ['auto', {}, [GPU], [device([GPU])]],
    ['auto', CDI, [GPU], [{ Driver: 'cdi', DeviceIDs: [`nvidia.com/gpu=${GPU}`] }]],
    ['auto', { ...CDI, ...NVIDIA }, [GPU], [device([GPU])]],
    ['nvidia', CDI, [GPU], [device([GPU], 'nvidia')]],
    ['cdi', NVIDIA, GPUS, [{ Driver: 'cdi', DeviceIDs: GPUS.map((uuid) => `nvidia.com/gpu=${uuid}`) }]],
    ['none', NVIDIA, [GPU], undefined],
    ['auto', NVIDIA, null, [{ Driver: '', Count: -1, Capabilities: [['gpu']] }]],
    ['auto', CDI, null, [{ Driver: 'cdi', DeviceIDs: ['nvidia.com/gpu=all'] }]],
    ['nvidia', {}, null, [{ Driver: 'nvidia', Count: -1, Capabilities: [['gpu']] }]],
    ['auto', {}, null, undefined],
    ['none', NVIDIA, null, undefined],
    ['auto', NVIDIA, [], undefined],
  ] as const)('gpus: %s, daemon %j, devices %j', async (gpus, info, deviceUuids, expected) => {
    const body = await bodyOf({ deviceUuids }, { settings: { gpus } }, info);
    expect(body.HostConfig.DeviceRequests).toEqual(expected);
  });
});

describe('the shared memory of a container [item 94]', () => {
  it('is the host s, as engines with several devices need it, or as large as it is told', async () => {
    expect((await bodyOf()).HostConfig).toMatchObject({ IpcMode: 'host' });
    await bench.close();
    const container = { image: 'vllm/vllm-openai:v0.16.0', volumes: [], shmSize: 8 * 1024 ** 3 };
    expect((await bodyOf({ container })).HostConfig).toMatchObject({ IpcMode: 'private', ShmSize: 8_589_934_592 });
  });
});

describe('the folders of a container [item 93]', () => {
  const container = (volumes: readonly string[]): Partial<LaunchSpec> => ({
    container: { image: 'vllm/vllm-openai:v0.16.0', volumes, shmSize: null },
  });

  it('are the cache of the host, a volume for compiled graphs, and a /tmp of its own', async () => {
    const body = await bodyOf({}, { settings: { cacheDir: '/srv/hf' } });
    expect(body.HostConfig.Binds).toEqual([
      '/srv/hf:/root/.cache/huggingface',
      'vllm-gateway-compile-cache:/root/.cache/vllm',
    ]);
    expect(body.Volumes).toEqual({ '/tmp': {} });
  });

  it('have a /tmp on the disk that was chosen for it, never that folder itself', async () => {
    const body = await bodyOf({}, { settings: { tempDir: '/scratch/' } });
    expect(body.HostConfig.Binds).toContain('/scratch/vllm-gateway/Org-Model-A:/tmp');
    expect(body.Volumes).toBeUndefined();
  });

  it('are the model s own where it names them', async () => {
    const volumes = [
      '/models:/models:ro',
      '/other/hf/:/root/.cache/huggingface/',
      'tmp:/tmp',
      'c:/root/.cache/vllm:rw',
    ];
    const body = await bodyOf(container(volumes));
    expect(body.HostConfig.Binds).toEqual(volumes);
    expect(body.Volumes).toBeUndefined();
  });
});

describe('the environment of a container', () => {
  it('is the spec s, with what the machine says of proxies and the hub, and nothing that is secret', async () => {
    const env = {
      HTTPS_PROXY: 'http://proxy:3128',
      HTTP_PROXY: 'http://127.0.0.1:3128',
      NO_PROXY: 'localhost',
      HF_ENDPOINT: 'https://hub.example',
      HF_TOKEN: 'hf_secret',
      GATEWAY_ADMIN_KEY: 'secret',
      PATH: '/bin',
    };
    const body = await bodyOf({ env: { B: '2', HF_TOKEN: 'of the engine' } }, { env });
    expect(body.Env.toSorted()).toEqual([
      'B=2',
      'HF_ENDPOINT=https://hub.example',
      'HF_TOKEN=of the engine',
      'HTTPS_PROXY=http://proxy:3128',
      'NO_PROXY=localhost',
    ]);
  });

  it('has the library path that is configured [item 92]', async () => {
    expect((await bodyOf({}, { settings: { libraryPath: '/usr/lib64' } })).Env).toContain('LD_LIBRARY_PATH=/usr/lib64');
  });

  it('stands in the body of the request alone, and so in no log of addresses', async () => {
    await bodyOf({ env: { VLLM_API_KEY: 'secret' } });
    for (const { path, query } of bench.docker.asked) expect(`${path}?${query.toString()}`).not.toContain('secret');
  });
});

describe('the labels of a container [item 86]', () => {
  it('say whose it is and what of, and no secret', async () => {
    const body = await bodyOf({ env: { VLLM_API_KEY: 'secret' } });
    expect(body.Labels).toEqual({
      'vllm-gateway.id': 'gw',
      'vllm-gateway.role': 'replica',
      'vllm-gateway.replica': 'a-1',
      'vllm-gateway.generation': '2',
      'vllm-gateway.model': 'Org/Model A',
      'vllm-gateway.spec': 'h',
      'vllm-gateway.reservations': '[["g",5]]',
      'vllm-gateway.port': '8000',
      'vllm-gateway.created': expect.stringMatching(/^\d{13}$/),
    });
  });
});

describe('what a container runs', () => {
  it('is the whole command, as the entry points of images differ', async () => {
    expect(await bodyOf()).toMatchObject({ Entrypoint: ['vllm', 'serve', 'org/model'], Cmd: [] });
  });

  it('is what its image says when there is no command', async () => {
    expect(await bodyOf({ argv: [] })).not.toHaveProperty('Entrypoint');
  });

  it('neither restarts by itself nor is removed by itself, and its log is bounded', async () => {
    expect((await bodyOf()).HostConfig).toMatchObject({
      RestartPolicy: { Name: 'no' },
      AutoRemove: false,
      LogConfig: { Type: 'json-file', Config: { 'max-size': '16m', 'max-file': '2' } },
    });
  });
});
