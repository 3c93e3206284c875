import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { load } from '../test/support/load-config.ts';
import type { FleetSettings, ModelSettings } from './core/settings.ts';
import { toFleetSettings } from './fleet-settings.ts';
import { GIB } from './units.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

async function settings(yaml: string, version = 1): Promise<FleetSettings> {
  const { config, lines } = await load(yaml);
  if (!config) throw new Error(lines.join('\n'));
  return toFleetSettings(config, version, sha256);
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
      { id: 'g0', totalBytes: 24 * GIB, budgetBytes: 12 * GIB, pool: 'p', uuid: 'U0' },
      { id: 'g1', totalBytes: 24 * GIB, budgetBytes: 12 * GIB, pool: 'q', uuid: null },
      { id: 'g2', totalBytes: 8 * GIB, budgetBytes: 4 * GIB, pool: 'p', uuid: null },
    ]);
    expect(ports).toEqual({ first: 100, last: 200 });
    expect(limits).toEqual({ maxInFlight: 12, maxTurn: 0, minResidency: 90_000, drainTimeout: 300_000 });
    expect(retry).toEqual({ attempts: 5 });
    expect(version).toBe(7);
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
    expect(await model('repo: a/b, memory: 3GiB', 'drivers: { default: process }')).toMatchObject({
      deviceCount: 0,
      deviceIds: [],
      memory: null,
    });
  });

  it('says of a docker model why it cannot start', async () => {
    const { unstartable, needsPort } = await model('repo: a/b', 'defaults: { max_model_len: 1 }');
    expect(unstartable?.cause).toBe('driver_unavailable');
    expect(unstartable?.message).toContain('Docker driver');
    expect(needsPort).toBe(false);
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
    'kv_reservation_seqs: 3',
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
    'gpu_memory_utilization: 0.5',
    'devices: [g0]',
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

  it('does not depend on the order in which variables are written', async () => {
    const left = await model('repo: a/b, env: { A: 1, B: 2 }');
    const right = await model('repo: a/b, env: { B: 2, A: 1 }');
    expect(left.specHash).toBe(right.specHash);
  });
});
