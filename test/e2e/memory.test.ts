/** GPU memory as it is read: estimated, measured, learned, taken by others, and not given back. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { PlanAnswer } from '../../src/admin/contract.ts';
import { Clients, errorOf } from '../support/clients.ts';
import { decisionsOf } from '../support/decisions.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway, type TestGatewayOptions } from '../support/in-process-gateway.ts';
import { metric, statusOf } from '../support/simulated-fleet.ts';
import {
  CONTEXT_MIB,
  ESTIMATE_MIB,
  watchedGpus,
  type WatchedGpus,
  type WatchedModel,
} from '../support/watched-gpus.ts';

/** What an engine was seen to hold that was started on an estimate, and how far a share in four decimals may be off. */
const MEASURED_MIB = ESTIMATE_MIB + CONTEXT_MIB;
const NEAR_MIB = 16;
/** For what takes whole rounds of looks: the gateway's clock runs faster than the engines'. */
const FASTER = { speed: 3 };

const gatewayIds = new Set<string>();

afterEach(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
  gatewayIds.clear();
});

async function start(
  gpus: WatchedGpus,
  models: readonly WatchedModel[],
  more: Readonly<Record<string, unknown>> = {},
  options: Omit<TestGatewayOptions, 'yaml'> = {},
): Promise<TestGateway> {
  const gateway = await startTestGateway({ ...options, yaml: gpus.yaml(models, more), env: gpus.env });
  gatewayIds.add(gateway.gateway.id);
  return gateway;
}

const measured = (gateway: TestGateway, model: string): Promise<true> =>
  eventually(`${model} is measured`, async () => {
    const { replicas } = await statusOf(gateway);
    return Object.values(replicas).some((replica) => replica.model === model && replica.measured);
  });

async function planOf(gateway: TestGateway, model: string): Promise<NonNullable<PlanAnswer['models'][string]>> {
  const answer = await fetch(`${gateway.url}/gateway/plan?model=${model}`);
  const plan = ((await answer.json()) as PlanAnswer).models[model];
  if (!plan) throw new Error(`no plan of ${model}`);
  return plan;
}

const decided = (gateway: TestGateway, event: string, model?: string): boolean =>
  decisionsOf(gateway).some((one) => one.event === event && (model === undefined || one.model === model));

const deviceOf = async (gateway: TestGateway, id: string) => (await statusOf(gateway)).devices[id];

describe('models whose size is known', () => {
  it('are planned by their estimate, told it as their share, and entered with what they take [S9] [items 112, 126, 165]', async () => {
    using gpus = watchedGpus('side', [20]);
    await using gateway = await start(gpus, [{ name: 'one' }, { name: 'two' }]);
    await using clients = new Clients(gateway.url);
    expect((await planOf(gateway, 'one')).fits).toBe(true);
    for (const model of ['one', 'two']) {
      expect([model, (await clients.chat(model)).status]).toEqual([model, 200]);
      await measured(gateway, model);
    }
    const { models, replicas, footprints, devices } = await statusOf(gateway);
    expect([models['one']?.state, models['two']?.state]).toEqual(['ready', 'ready']);
    for (const replica of Object.values(replicas)) {
      expect(Math.abs(replica.reserved_mib - MEASURED_MIB)).toBeLessThan(NEAR_MIB);
    }
    expect(devices['GPU-side-0']?.reserved_mib).toBeLessThanOrEqual(devices['GPU-side-0']?.budget_mib ?? 0);
    const learned = footprints['one'];
    expect(learned).toMatchObject({ source: 'process', tensor_parallel: 1 });
    // need ÷ total, as the engine was told; the KV cache is what was left of that share.
    expect(learned?.gpu_memory_utilization).toBeCloseTo(ESTIMATE_MIB / 20_480, 3);
    expect(learned?.kv_cache_mib).toBeGreaterThan(3_000);
    expect(gpus.used()[0]).toBeCloseTo(2 * (learned?.steady_mib ?? 0), -2);
    const phases = (phase: object): Promise<number> =>
      metric(gateway, 'cold_start_seconds_count', { model: 'one', ...phase });
    expect(await phases({ phase: 'metadata' })).toBe(1);
    expect(await phases({})).toBeGreaterThan(3);
  });

  it('are planned by what was learned the next time, with the same share and KV cache [item 128]', async () => {
    using gpus = watchedGpus('again', [20]);
    await using gateway = await start(gpus, [{ name: 'one' }]);
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('one')).status).toBe(200);
    await measured(gateway, 'one');
    const first = (await statusOf(gateway)).footprints['one'];
    await clients.post('/gateway/models/one/unload?wait=true', {});
    expect((await planOf(gateway, 'one')).basis).toBe('footprint');
    expect((await clients.chat('one')).status).toBe(200);
    await measured(gateway, 'one');
    const second = (await statusOf(gateway)).footprints['one'];
    expect(second).toMatchObject({
      gpu_memory_utilization: first?.gpu_memory_utilization,
      kv_cache_mib: first?.kv_cache_mib,
    });
    expect(Math.abs((second?.steady_mib ?? 0) - (first?.steady_mib ?? 0))).toBeLessThan(NEAR_MIB);
  });

  it('make room by what their neighbours were seen to take, not by what was thought [items 102, 128]', async () => {
    // Two estimates fill the budget of 12 GiB exactly; a context of CUDA beside one of them is too much.
    using gpus = watchedGpus('evict', [12]);
    await using gateway = await start(gpus, [{ name: 'one' }, { name: 'two' }]);
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('one')).status).toBe(200);
    await measured(gateway, 'one');
    expect((await planOf(gateway, 'two')).evicts).toHaveLength(1);
    expect((await clients.chat('two')).status).toBe(200);
    expect(decided(gateway, 'replica.evicted', 'one')).toBe(true);
  });

  it('[F42] start one after the other on one device, so that each measures itself alone', async () => {
    using gpus = watchedGpus('race', [20]);
    const slow = { START_MS: 1_200 };
    await using gateway = await start(gpus, [
      { name: 'one', knobs: slow },
      { name: 'two', knobs: slow },
    ]);
    await using clients = new Clients(gateway.url);
    const answers = await Promise.all([clients.chat('one'), clients.chat('two')]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    await measured(gateway, 'one');
    await measured(gateway, 'two');
    const { footprints } = await statusOf(gateway);
    // Beside each other, one would have found too little for its cache, and the other too much.
    const caches = [footprints['one']?.kv_cache_mib ?? 0, footprints['two']?.kv_cache_mib ?? 0];
    expect(Math.abs((caches[0] ?? 0) - (caches[1] ?? 0))).toBeLessThan(NEAR_MIB);
  });
});

it('a model of unknown size starts alone on its share, is measured, and leaves room from then on [items 123, 157]', async () => {
  using gpus = watchedGpus('unknown', [20]);
  await using gateway = await start(gpus, [
    { name: 'unknown', unknown: true, keys: { gpu_memory_utilization: 0.5 } },
    { name: 'known' },
  ]);
  await using clients = new Clients(gateway.url);
  expect((await clients.chat('known')).status).toBe(200);
  await measured(gateway, 'known');
  expect((await planOf(gateway, 'unknown')).basis).toBe('discovery');
  expect((await clients.chat('unknown')).status).toBe(200);
  await measured(gateway, 'unknown');
  const { models, footprints } = await statusOf(gateway);
  // Its share fits beside what is there: nobody had to leave.
  expect(models['known']?.state).toBe('ready');
  expect(footprints['unknown']?.steady_mib).toBeGreaterThan(10_240);
  expect(decided(gateway, 'model.sized', 'unknown')).toBe(true);
});

it('a start that lacks memory for its cache is planned larger the next time, by what it lacked [item 125]', async () => {
  using gpus = watchedGpus('lacks', [20]);
  await using gateway = await start(gpus, [{ name: 'tight', knobs: { FAULT: 'kv_too_small' } }]);
  await using clients = new Clients(gateway.url);
  const failed = await clients.chat('tight');
  expect(errorOf(failed)).toMatchObject({ code: 'model_start_failed', cause: 'out_of_memory' });
  expect(decided(gateway, 'model.resized', 'tight')).toBe(true);
  const { basis, need } = await planOf(gateway, 'tight');
  expect(basis).toBe('estimate');
  // One GiB was needed and half of one was there.
  const more = (need?.total_bytes ?? 0) / 2 ** 20 - ESTIMATE_MIB;
  expect([more > 500, more < 600]).toEqual([true, true]);
});

describe('somebody else on the device', () => {
  it('keeps models from starting, which say so; what is ready serves [items 98, 99, 100]', async () => {
    using gpus = watchedGpus('tenant', [20]);
    await using gateway = await start(
      gpus,
      [{ name: 'kept', keys: { always_on: true } }, { name: 'other' }],
      {},
      FASTER,
    );
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('kept')).status).toBe(200);
    await measured(gateway, 'kept');
    gpus.tenant(0, 11_000);
    await eventually(
      'the tenant is seen',
      async () => ((await deviceOf(gateway, 'GPU-tenant-0'))?.used_mib ?? 0) > 16_000,
    );
    const refused = await clients.chat('other');
    expect([refused.status, errorOf(refused)['code']]).toEqual([503, 'no_capacity']);
    expect(errorOf(refused)['message']).toMatch(/missing|short/i);
    expect(errorOf(refused)['message']).toMatch(/10\.7 ?GiB/);
    expect((await clients.chat('kept')).status).toBe(200);
    gpus.tenant(0, 0);
    await eventually(
      'it is seen to be gone',
      async () => ((await deviceOf(gateway, 'GPU-tenant-0'))?.used_mib ?? 0) < 7_000,
    );
    expect((await clients.chat('other')).status).toBe(200);
  });
});

describe('a probe that does not answer', () => {
  it('[F79] makes devices stale: nothing starts, what is ready serves, until it answers again [items 97, 98]', async () => {
    using gpus = watchedGpus('hang', [20]);
    await using gateway = await start(gpus, [{ name: 'ready' }, { name: 'cold' }], {}, FASTER);
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('ready')).status).toBe(200);
    await measured(gateway, 'ready');
    gpus.misbehave('hang');
    await eventually('it is stale', async () => (await deviceOf(gateway, 'GPU-hang-0'))?.state === 'stale', 30_000);
    const health = await clients.get('/readyz');
    expect([health.status, health.text]).toEqual([
      200,
      expect.stringMatching(/device GPU-hang-0 takes no start: no reading for/),
    ]);
    const cold = clients.chat('cold');
    expect((await clients.chat('ready')).status).toBe(200);
    expect(decided(gateway, 'replica.starting', 'cold')).toBe(false);
    gpus.misbehave(null);
    const answer = await cold;
    // Whoever waited is served; whoever was told that nothing can be known comes again.
    if (answer.status !== 200) expect(errorOf(answer)['code']).toBe('no_capacity');
    await eventually('it is read again', async () => (await deviceOf(gateway, 'GPU-hang-0'))?.state !== 'stale');
    expect((await clients.chat('cold')).status).toBe(200);
  });

  it('at the start leaves one model at a time, until it answers; then all is entered where it is [items 97, 113]', async () => {
    using gpus = watchedGpus('late', [20]);
    gpus.misbehave('no_driver');
    await using gateway = await start(gpus, [{ name: 'one' }, { name: 'two' }]);
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('one')).status).toBe(200);
    expect(Object.keys((await statusOf(gateway)).devices)).toEqual(['gpus']);
    expect((await clients.get('/readyz')).text).toMatch(/one model runs at a time/);
    expect((await clients.chat('two')).status).toBe(200);
    expect((await statusOf(gateway)).models['one']?.state).not.toBe('ready');
    gpus.misbehave(null);
    await eventually('the devices are known', async () => (await deviceOf(gateway, 'GPU-late-0')) !== undefined);
    await measured(gateway, 'two');
    const { devices, replicas } = await statusOf(gateway);
    expect(Object.keys(devices)).toEqual(['GPU-late-0']);
    const [replica] = Object.values(replicas).filter(({ model }) => model === 'two');
    expect(Math.abs((replica?.reserved_mib ?? 0) - (gpus.used()[0] ?? 0))).toBeLessThan(NEAR_MIB);
  });
});

describe('memory that does not come back', () => {
  it('closes its device with the reason, and opens it when it does', async () => {
    using gpus = watchedGpus('stuck', [20]);
    await using gateway = await start(
      gpus,
      [{ name: 'leaky', knobs: { VRAM_RELEASE_MS: 5_000 } }, { name: 'other' }],
      {},
      FASTER,
    );
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('leaky')).status).toBe(200);
    await measured(gateway, 'leaky');
    void clients.post('/gateway/models/leaky/unload', {});
    await eventually(
      'it is quarantined',
      async () => (await deviceOf(gateway, 'GPU-stuck-0'))?.state === 'quarantined',
    );
    expect((await deviceOf(gateway, 'GPU-stuck-0'))?.reason).toMatch(
      /GiB of GPU-stuck-0 that it held are not seen to be free/,
    );
    const refused = await clients.chat('other');
    expect([refused.status, errorOf(refused)['code']]).toEqual([503, 'no_capacity']);
    await eventually('it is back', async () => (await deviceOf(gateway, 'GPU-stuck-0'))?.state !== 'quarantined');
    expect((await clients.chat('other')).status).toBe(200);
  });

  it('[F81] at once is waited for by who needs it', async () => {
    using gpus = watchedGpus('slow', [12]);
    await using gateway = await start(gpus, [{ name: 'one', knobs: { VRAM_RELEASE_MS: 1_500 } }, { name: 'two' }]);
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('one')).status).toBe(200);
    await measured(gateway, 'one');
    const answer = await clients.chat('two');
    expect(answer.status).toBe(200);
    expect(answer.tookMs).toBeGreaterThan(1_500);
    expect(decided(gateway, 'replica.stuck')).toBe(false);
  });
});

it('a start that fails after it moved another model out brings that one back', async () => {
  using gpus = watchedGpus('back', [12]);
  await using gateway = await start(gpus, [{ name: 'victim' }, { name: 'broken', knobs: { FAULT: 'oom_at_start' } }]);
  await using clients = new Clients(gateway.url);
  expect((await clients.chat('victim')).status).toBe(200);
  await measured(gateway, 'victim');
  const failed = await clients.chat('broken');
  expect(errorOf(failed)).toMatchObject({ code: 'model_start_failed', cause: 'out_of_memory' });
  expect(decided(gateway, 'replica.evicted', 'victim')).toBe(true);
  await eventually('it is back', async () => (await statusOf(gateway)).models['victim']?.state === 'ready');
});

describe('the file of footprints', () => {
  it('that is damaged is put aside, and models are measured again [item 129]', async () => {
    using gpus = watchedGpus('corrupt', [20]);
    const data = join(gpus.folder, 'data');
    mkdirSync(data, { recursive: true });
    writeFileSync(join(data, 'footprints.json'), '{"version": 1, "footprints": [{"mod');
    await using gateway = await start(gpus, [{ name: 'one' }], {}, { folder: gpus.folder });
    await using clients = new Clients(gateway.url);
    expect((await clients.chat('one')).status).toBe(200);
    await measured(gateway, 'one');
    expect(readdirSync(data).filter((name) => name.startsWith('footprints.json.bad-'))).toHaveLength(1);
    await eventually('it is written', () => readFileSync(join(data, 'footprints.json'), 'utf8').includes('"one"'));
    expect(gateway.lines.some((line) => line.includes('footprints is damaged'))).toBe(true);
  });
});
