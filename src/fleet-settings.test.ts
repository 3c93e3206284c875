import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { load } from '../test/support/load-config.ts';
import type { ProbeReading } from './probes/probe.ts';
import type { FleetSettings, ModelSettings } from './core/settings.ts';
import { missingDevices } from './fleet-devices.ts';
import { toFleetSettings } from './fleet-settings.ts';
import { GIB } from './units.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

async function settings(yaml: string, version = 1, reading?: ProbeReading | null): Promise<FleetSettings> {
  const { config, lines } = await load(yaml);
  if (!config) throw new Error(lines.join('\n'));
  return toFleetSettings(config, version, sha256, reading);
}

const DEVICES = `
devices: { probe: simulated, budget_fraction: 0.5, list: [{ id: g0, memory: 24GiB, uuid: U0 }, { id: g1, memory: 24GiB }, { id: g2, memory: 8GiB }] }
drivers: { default: process, process: { port_range: 100-200 } }
defaults: { max_model_len: 4096 }
`;

async function model(keys: string, more = DEVICES): Promise<ModelSettings> {
  const found = (await settings(`${more}\nmodels: { m: { ${keys} } }`)).models.get('m');
  if (!found) throw new Error('no such model');
  return found;
}

const LISTED = { deviceClass: 'device, 24576 MiB', unmeasured: false };

describe('what the core is told', () => {
  it('has devices with their budgets and pools', async () => {
    const { devices, ports, limits, retry, version } = await settings(
      `${DEVICES}
pools: { p: [U0, g2], q: [g1] }
limits: { max_concurrent: 4, max_models_concurrent: 3, max_turn: 0 }
retry: { attempts: 5 }
models: { m: { repo: a/b, pool: p } }`,
      7,
    );
    expect(devices).toEqual([
      { id: 'g0', totalBytes: 24 * GIB, budgetBytes: 12 * GIB, pool: 'p', uuid: 'U0', ...LISTED },
      { id: 'g1', totalBytes: 24 * GIB, budgetBytes: 12 * GIB, pool: 'q', uuid: null, ...LISTED },
      {
        id: 'g2',
        totalBytes: 8 * GIB,
        budgetBytes: 4 * GIB,
        pool: 'p',
        uuid: null,
        ...LISTED,
        deviceClass: 'device, 8192 MiB',
      },
    ]);
    expect(ports).toMatchObject({ first: 100, last: 200 });
    expect(limits).toEqual({ maxInFlight: 12, maxTurn: 0, minResidency: 90_000, drainTimeout: 300_000 });
    expect(retry).toEqual({ attempts: 5 });
    expect(version).toBe(7);
  });

  it('begins with its ports elsewhere than other gateways on the machine, and at the same place every time', async () => {
    const begin = async (listen: string, range = '20000-29999'): Promise<number> => {
      const yaml = `server: { listen: '127.0.0.1:${listen}' }\ndrivers: { default: process, process: { port_range: ${range} } }`;
      return (await settings(`${yaml}\nmodels: { m: { repo: a/b } }`)).ports.begin ?? Number.NaN;
    };
    const all = await Promise.all(Array.from({ length: 20 }, (_, index) => begin(`${9000 + index}`)));
    expect(new Set(all).size).toBe(20);
    expect(Math.min(...all)).toBeGreaterThanOrEqual(20_000);
    expect(Math.max(...all)).toBeLessThanOrEqual(29_999);
    expect(await begin('9000')).toBe(all[0]);
    expect(await begin('9001', '5-5')).toBe(5);
  });

  it('lets a model reach the devices of its pool, or its own among them', async () => {
    expect((await model('repo: a/b')).deviceIds).toEqual(['g0', 'g1', 'g2']);
    expect((await model('repo: a/b, devices: [g2, U0]')).deviceIds).toEqual(['g0', 'g2']);
    const pools = `${DEVICES}\npools: { p: [U0, g2] }`;
    expect((await model('repo: a/b, pool: p', pools)).deviceIds).toEqual(['g0', 'g2']);
    expect((await model('repo: a/b, pool: p, devices: [g2]', pools)).deviceIds).toEqual(['g2']);
  });

  it('takes as many devices as tensor parallel asks for, and the bytes that were declared', async () => {
    expect(await model('repo: a/b, tensor_parallel_size: 2, memory: 3GiB')).toMatchObject({
      deviceCount: 2,
      memory: 3 * GIB,
      needsPort: true,
      unstartable: null,
    });
    expect(await model('repo: a/b')).toMatchObject({ deviceCount: 1, memory: null });
  });

  it('takes no device for external servers, and where no device is known', async () => {
    expect(await model('url: "http://h:1"')).toMatchObject({
      driver: 'external',
      deviceCount: 0,
      deviceIds: [],
      needsPort: false,
    });
    expect(
      await model('repo: a/b, memory: 3GiB', 'drivers: { default: process }\ndevices: { probe: none }'),
    ).toMatchObject({
      deviceCount: 0,
      deviceIds: [],
      memory: null,
    });
  });

  it('carries the limits and timeouts of each model', async () => {
    const found = await model(
      'repo: a/b, max_queue_size: 70, max_concurrent: 8, inactivity_timeout: 0, always_on: true, start_timeout: 9m, start_stall_timeout: 8m, stop_timeout: 7s, timeouts: { stall: 6s }',
    );
    expect(found).toMatchObject({
      maxQueueSize: 70,
      maxConcurrent: 8,
      inactivityTimeout: 0,
      alwaysOn: true,
      preload: true,
      startTimeout: 540_000,
      startStallTimeout: 480_000,
      stopTimeout: 7_000,
      stallTimeout: 6_000,
      queueTimeout: 540_000,
    });
  });
});

const GPU = (id: string, gib: number, name = 'NVIDIA L4'): ProbeReading['devices'][number] => ({
  id,
  uuid: id,
  name,
  totalBytes: gib * GIB,
  usedBytes: 0,
  trouble: null,
});

describe('devices that are read', () => {
  const READING: ProbeReading = {
    devices: [GPU('GPU-a', 24), GPU('GPU-b', 24), GPU('GPU-c', 48, 'NVIDIA L40')],
    processes: null,
    driverVersion: '580.95',
  };
  const PROBED = 'drivers: { default: process }\ndevices: { probe: nvidia-smi, budget_fraction: 0.5 }';
  const one = (keys: string): string => `models: { m: { repo: a/b, max_model_len: 4096${keys} } }`;
  const of = async (yaml: string, reading: ProbeReading | null): Promise<FleetSettings & { m: ModelSettings }> => {
    const found = await settings(`${PROBED}\n${yaml}`, 1, reading);
    const m = found.models.get('m');
    if (!m) throw new Error('no such model');
    return { ...found, m };
  };

  it('are entered with pool, budget and what makes two of them the same [items 96, 102]', async () => {
    const { devices, m } = await of(`pools: { p: [GPU-c, GPU-b] }\n${one(', pool: p')}`, READING);
    expect(devices.map(({ id, pool, budgetBytes, deviceClass }) => [id, pool, budgetBytes / GIB, deviceClass])).toEqual(
      [
        ['GPU-a', null, 12, 'NVIDIA L4, 24576 MiB, driver 580.95'],
        ['GPU-b', 'p', 12, 'NVIDIA L4, 24576 MiB, driver 580.95'],
        ['GPU-c', 'p', 24, 'NVIDIA L40, 49152 MiB, driver 580.95'],
      ],
    );
    expect(m.deviceIds).toEqual(['GPU-b', 'GPU-c']);
  });

  it('have no budget below their size when models take whole cards', async () => {
    const { devices } = await of(`memory: { placement_mode: whole_card }\n${one('')}`, READING);
    expect(devices.map(({ totalBytes, budgetBytes }) => budgetBytes === totalBytes)).toEqual([true, true, true]);
  });

  it('leave a model its own among them: a pin', async () => {
    expect((await of(one(', devices: [GPU-b]'), READING)).m.deviceIds).toEqual(['GPU-b']);
  });

  it('are one that stands for all while they cannot be read, in pools and pins too [item 113]', async () => {
    const { devices, m } = await of(`pools: { p: [GPU-a, GPU-b] }\n${one(', pool: p, tensor_parallel_size: 2')}`, null);
    expect(devices).toMatchObject([{ id: 'gpus', unmeasured: true }]);
    expect(m).toMatchObject({ deviceIds: ['gpus'], deviceCount: 2 });
    expect((await of(one(', devices: [GPU-b]'), null)).m.deviceIds).toEqual(['gpus']);
  });

  it('do not change what an engine is', async () => {
    const hashes = [(await of(one(''), null)).m.specHash, (await of(one(''), READING)).m.specHash];
    expect(new Set(hashes).size).toBe(1);
  });

  it('give way to a model what it is computed from: its keys, and arguments of its own', async () => {
    const keys =
      ', max_num_seqs: 8, kv_reservation_seqs: 3, gpu_memory_utilization: 0.7, extra_args: [--max-num-batched-tokens=2048]';
    expect((await of(one(keys), READING)).m.sizing).toEqual({
      utilization: 0.7,
      maxModelLen: 4_096,
      kvSequences: 3,
      maxNumSeqs: 8,
      maxBatchedTokens: 2_048,
      kvElementBytes: null,
      weightElementBytes: null,
      colocate: false,
      autoParallel: true,
    });
    const whole = 'memory: { placement_mode: whole_card }';
    const more = ', tensor_parallel_size: 2, extra_args: [--kv-cache-dtype, fp8]';
    expect((await of(`${whole}\n${one(more)}`, READING)).m.sizing).toMatchObject({
      kvSequences: 16,
      maxBatchedTokens: 8_192,
      kvElementBytes: 1,
      autoParallel: false,
    });
  });

  it('are not computed for: what is declared, other servers, and where there are none', async () => {
    expect((await of(one(', memory: 3GiB'), READING)).m.sizing).toBeNull();
    expect((await of(one(', command: [server]'), READING)).m.sizing).toBeNull();
    expect((await of(one(''), { ...READING, devices: [] })).m).toMatchObject({ sizing: null, deviceCount: 0 });
  });

  it('are taken only when image and files are there, but by engines without files', async () => {
    expect((await of(one(''), READING)).m.needsPreparation).toBe(true);
    expect((await of(one(', driver: docker, command: null'), READING)).m.needsPreparation).toBe(true);
    expect((await of(one(', command: [simulated-vllm], engine: vllm'), READING)).m.needsPreparation).toBe(false);
  });
});

describe('the names of devices', () => {
  const missing = async (yaml: string, devices: ProbeReading['devices']): Promise<string | null> => {
    const { config, lines } = await load(`drivers: { default: process }\n${yaml}`);
    if (!config) throw new Error(lines.join('\n'));
    return missingDevices(config, { devices, processes: null, driverVersion: null });
  };

  it('that the machine has not got are told, with those that it has', async () => {
    const yaml = 'pools: { p: [GPU-a, GPU-x] }\nmodels: { m: { repo: a/b, max_model_len: 1, pool: p } }';
    expect(await missing(yaml, [GPU('GPU-a', 24)])).toBe(
      "This machine has no such GPU: GPU-x (pool 'p'). It has: GPU-a (NVIDIA L4, 24GiB).",
    );
    expect(await missing(yaml, [GPU('GPU-a', 24), GPU('GPU-x', 24)])).toBeNull();
  });

  it('that a model is pinned to count too', async () => {
    const yaml = 'models: { m: { repo: a/b, max_model_len: 1, devices: [GPU-x] } }';
    expect(await missing(yaml, [GPU('GPU-a', 24)])).toMatch(/GPU-x \(devices of model 'm', or GATEWAY_GPU_UUID\)/);
  });
});

describe('the identity of a launch', () => {
  it.each([
    'aliases: [x]',
    'max_queue_size: 70',
    'max_concurrent: 3',
    'inactivity_timeout: 5s',
    'timeouts: { stall: 9s }',
    'start_timeout: 20m',
    'stop_timeout: 5s',
    'description: text',
    'unlisted: true',
    'always_on: true',
    'request_defaults: { temperature: 1 }',
    'devices: [g0]',
    'routes: [/v1/x]',
  ])('does not change with %s', async (keys) => {
    expect((await model(`repo: a/b, ${keys}`)).specHash).toBe((await model('repo: a/b')).specHash);
  });

  it.each([
    'env: { A: 1 }',
    'command: [vllm2], engine: vllm',
    'max_model_len: 8192',
    'max_num_seqs: 3',
    'tensor_parallel_size: 2',
    'quantization: awq',
    'dtype: half',
    'extra_args: [--x]',
    'memory: 4GiB',
    'kv_reservation_seqs: 3',
  ])('changes with %s', async (keys) => {
    expect((await model(`repo: a/b, ${keys}`)).specHash).not.toBe((await model('repo: a/b')).specHash);
  });

  it('changes with the repo, the driver settings and the name', async () => {
    const base = (await model('repo: a/b')).specHash;
    expect((await model('repo: a/c')).specHash).not.toBe(base);
    const command = DEVICES.replace('port_range', 'command: [vllm2], port_range');
    expect((await model('repo: a/b', command)).specHash).not.toBe(base);
    const renamed = await settings(`${DEVICES}\nmodels: { n: { repo: a/b } }`);
    expect(renamed.models.get('n')?.specHash).not.toBe(base);
  });

  it.each([
    ['overhead_factor', 'memory: { overhead_factor: 1.2 }'],
    ['overhead', 'memory: { overhead: 2GiB }'],
    ['placement_mode', 'memory: { placement_mode: whole_card }'],
  ])(
    'changes with memory.%s, which its share follows from, unless its memory is declared [item 164]',
    async (_key, rules) => {
      const hash = async (keys: string, more: string): Promise<string> =>
        (await model(keys, `${DEVICES}\n${more}`)).specHash;
      expect(await hash('repo: a/b', rules)).not.toBe(await hash('repo: a/b', ''));
      expect(await hash('repo: a/b, memory: 3GiB', rules)).toBe(await hash('repo: a/b, memory: 3GiB', ''));
    },
  );

  it('changes with gpu_memory_utilization where that is its share', async () => {
    const whole = `${DEVICES}\nmemory: { placement_mode: whole_card }`;
    const base = (await model('repo: a/b', whole)).specHash;
    expect((await model('repo: a/b, gpu_memory_utilization: 0.5', whole)).specHash).not.toBe(base);
  });

  it('does not depend on the order in which variables are written', async () => {
    const left = await model('repo: a/b, env: { A: 1, B: 2 }');
    const right = await model('repo: a/b, env: { B: 2, A: 1 }');
    expect(left.specHash).toBe(right.specHash);
  });
});
