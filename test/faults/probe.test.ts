/** GPUs that cannot be read, or say what cannot be: no start is planned on it, nothing that serves is touched, and it is told. */
import { spawnSync } from 'node:child_process';
import { afterEach, expect, it } from 'vitest';
import type { FakeDevice } from '../../tools/fake-vllm/vram-file.ts';
import type { DeviceStatus } from '../../src/admin/contract.ts';
import { Clients, errorOf } from '../support/clients.ts';
import { decisionsOf } from '../support/decisions.ts';
import { noEngineLeft } from '../support/engine-processes.ts';
import { eventually } from '../support/eventually.ts';
import { fakeVllmPath } from '../support/fake-vllm.ts';
import { startTestGateway, type TestGateway } from '../support/in-process-gateway.ts';
import { statusOf } from '../support/simulated-fleet.ts';
import {
  CONTEXT_MIB,
  ESTIMATE_MIB,
  watchedGpus,
  type WatchedGpus,
  type WatchedModel,
} from '../support/watched-gpus.ts';

const MIB_PER_GIB = 1_024;
const NEAR_MIB = 16;
/** The gateway's clock runs faster than the engines': a fault is seen at the next look, which is ten seconds away at most. */
const SPEED = 4;

const gatewayIds = new Set<string>();

afterEach(async () => {
  for (const id of gatewayIds) await noEngineLeft(id);
  gatewayIds.clear();
});

async function start(
  gpus: WatchedGpus,
  models: readonly WatchedModel[],
  more: Readonly<Record<string, unknown>> = {},
): Promise<TestGateway> {
  const gateway = await startTestGateway({ yaml: gpus.yaml(models, more), env: gpus.env, speed: SPEED });
  gatewayIds.add(gateway.gateway.id);
  return gateway;
}

async function deviceOf(gateway: TestGateway, id = ''): Promise<DeviceStatus> {
  const device = (await statusOf(gateway)).devices[id];
  if (!device) throw new Error(`no device ${id}`);
  return device;
}

function seen(gateway: TestGateway, id: string | undefined, what: (device: DeviceStatus) => boolean): Promise<true> {
  return eventually(`${id} is seen`, async () => what(await deviceOf(gateway, id)));
}

async function loaded(clients: Clients, ...models: readonly string[]): Promise<void> {
  for (const model of models) expect([model, (await clients.chat(model)).status]).toEqual([model, 200]);
}

const evictions = (gateway: TestGateway): number =>
  decisionsOf(gateway).filter(({ event }) => event === 'replica.evicted').length;

/** No figure that programs read is anything but a number. */
async function everyFigureIsOne(gateway: TestGateway): Promise<void> {
  for (const [id, device] of Object.entries((await statusOf(gateway)).devices)) {
    for (const figure of ['total_mib', 'used_mib', 'reserved_mib', 'foreign_mib', 'budget_mib'] as const) {
      expect([id, figure, Number.isFinite(device[figure])]).toEqual([id, figure, true]);
    }
  }
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  const figures = metrics.split('\n').filter((line) => line.startsWith('vllm_gateway_device_memory_bytes{'));
  expect(figures.length).toBeGreaterThan(0);
  for (const line of figures) expect(line).toMatch(/ \d+$/);
}

it('[F75] a device that says [N/A] instead of numbers stays known and takes no start; the next one does', async () => {
  using gpus = watchedGpus('na', [20, 20]);
  await using gateway = await start(gpus, [{ name: 'kept', keys: { devices: [gpus.uuids[0]] } }, { name: 'other' }]);
  await using clients = new Clients(gateway.url);
  await loaded(clients, 'kept');
  gpus.misbehave('na:0');
  await seen(gateway, gpus.uuids[0], ({ state }) => state === 'stale');
  await everyFigureIsOne(gateway);
  const told = await deviceOf(gateway, gpus.uuids[0]);
  expect(told).toMatchObject({ total_mib: 20 * MIB_PER_GIB, reason: expect.stringContaining('[N/A]') });
  await loaded(clients, 'kept', 'other');
  expect((await deviceOf(gateway, gpus.uuids[1])).residents).toEqual([expect.stringContaining('other-')]);
  expect(evictions(gateway)).toBe(0);
  gpus.misbehave(null);
  await seen(gateway, gpus.uuids[0], ({ state }) => state === 'free');
});

it('[F76] a probe that lost NVML stops every start and no engine, says so, and goes on when it answers again [I-92]', async () => {
  using gpus = watchedGpus('nvml', [20]);
  await using gateway = await start(gpus, [{ name: 'kept' }, { name: 'cold' }]);
  await using clients = new Clients(gateway.url);
  await loaded(clients, 'kept');
  gpus.misbehave('nvml');
  await seen(gateway, gpus.uuids[0], ({ state }) => state === 'stale');
  expect((await deviceOf(gateway, gpus.uuids[0])).reason).toMatch(/Failed to initialize NVML: Unknown Error/);
  const ready = await clients.get('/readyz');
  expect([ready.status, ready.text]).toEqual([200, expect.stringContaining('Failed to initialize NVML')]);
  await loaded(clients, 'kept');
  const waiting = clients.chat('cold');
  await eventually('it waits', async () => (await statusOf(gateway)).models['cold']?.queued === 1);
  expect(decisionsOf(gateway).filter(({ event, model }) => event === 'replica.starting' && model === 'cold')).toEqual(
    [],
  );
  gpus.misbehave(null);
  expect((await waiting).status).toBe(200);
});

it('[F77] a device that is lost is told and takes no start; the others keep their names and their engines', async () => {
  using gpus = watchedGpus('lost', [20, 20, 20]);
  const on = (index: number): NonNullable<WatchedModel['keys']> => ({ devices: [gpus.uuids[index]] });
  await using gateway = await start(gpus, [
    { name: 'first', keys: on(0) },
    { name: 'last', keys: on(2) },
    { name: 'wants-lost', keys: on(1) },
    { name: 'wants-last', keys: on(2) },
  ]);
  await using clients = new Clients(gateway.url);
  await loaded(clients, 'first', 'last');
  gpus.misbehave('lost:1');
  await seen(gateway, gpus.uuids[1], ({ state }) => state === 'stale');
  expect((await clients.get('/readyz')).text).toContain(`device ${gpus.uuids[1] ?? ''} takes no start`);
  await loaded(clients, 'first', 'last', 'wants-last');
  const used = gpus.used();
  await seen(gateway, gpus.uuids[2], ({ used_mib: mib }) => Math.abs(mib - (used[2] ?? 0)) < NEAR_MIB);
  expect((await deviceOf(gateway, gpus.uuids[2])).residents).toHaveLength(2);
  expect(used[1]).toBe(0);
  const asked = clients.chat('wants-lost');
  await eventually('it waits', async () => (await statusOf(gateway)).models['wants-lost']?.queued === 1);
  gpus.misbehave(null);
  expect((await asked).status).toBe(200);
  expect(gpus.used()[1]).toBeGreaterThan(ESTIMATE_MIB);
});

it('[F78] devices that are numbered anew keep their engines and their models: they are known by uuid', async () => {
  using gpus = watchedGpus('renumbered', [20, 16]);
  const on = (index: number): NonNullable<WatchedModel['keys']> => ({ devices: [gpus.uuids[index]] });
  await using gateway = await start(gpus, [
    { name: 'large', keys: on(0) },
    { name: 'small', keys: on(1) },
    { name: 'later', keys: on(0) },
  ]);
  await using clients = new Clients(gateway.url);
  await loaded(clients, 'large', 'small');
  gpus.change((vram) => {
    vram.devices = vram.devices.toReversed().map((device, index): FakeDevice => ({ ...device, index }));
  });
  await loaded(clients, 'large', 'small', 'later');
  const [used16 = 0, used20 = 0] = gpus.used();
  await seen(gateway, gpus.uuids[0], ({ used_mib: mib }) => Math.abs(mib - used20) < NEAR_MIB);
  await seen(gateway, gpus.uuids[1], ({ used_mib: mib }) => Math.abs(mib - used16) < NEAR_MIB);
  expect((await deviceOf(gateway, gpus.uuids[0])).total_mib).toBe(20 * MIB_PER_GIB);
  expect((await deviceOf(gateway, gpus.uuids[0])).residents).toHaveLength(2);
  expect(used20).toBeGreaterThan(2 * ESTIMATE_MIB);
});

it('[F82] somebody else who takes most of a device costs no engine its place, and whoever does not fit is told who is in the way', async () => {
  using gpus = watchedGpus('foreign', [20]);
  await using gateway = await start(gpus, [
    { name: 'one' },
    { name: 'two' },
    { name: 'wide', keys: { memory: '15GiB' } },
  ]);
  await using clients = new Clients(gateway.url);
  await loaded(clients, 'one', 'two');
  const [held = 0] = gpus.used();
  const taken = 20 * MIB_PER_GIB - held - 100;
  gpus.tenant(0, taken);
  await seen(gateway, gpus.uuids[0], ({ foreign_mib: mib }) => Math.abs(mib - taken) < NEAR_MIB);
  // Another look, with everybody idle and the device beyond its budget: nobody has to go for that.
  const before = (await deviceOf(gateway, gpus.uuids[0])).observed_at;
  await seen(gateway, gpus.uuids[0], ({ observed_at: at }) => at !== before);
  expect(evictions(gateway)).toBe(0);
  const refused = await clients.chat('wide');
  expect([refused.status, errorOf(refused)['code']]).toEqual([503, 'no_capacity']);
  expect(errorOf(refused)['message']).toMatch(/GiB/);
  expect(evictions(gateway)).toBe(0);
  await loaded(clients, 'one', 'two');
});

const namespaces = ['unshare', '--pid', '--fork', '--mount-proc'];
const canUnshare = spawnSync('unshare', [...namespaces.slice(1), 'true']).status === 0;

it.runIf(canUnshare)(
  '[F83] engines whose processes the probe cannot name are measured by the growth of their device, and are not taken for strangers',
  async () => {
    using gpus = watchedGpus('unnamed', [20]);
    const command = [...namespaces, process.execPath, fakeVllmPath('nvidia-smi.js')].join(' ');
    await using gateway = await start(gpus, [{ name: 'one' }, { name: 'two' }], {
      devices: { probe: 'nvidia-smi', command },
    });
    await using clients = new Clients(gateway.url);
    await loaded(clients, 'one');
    const measured = await eventually('it is measured', async () => (await statusOf(gateway)).footprints['one']);
    expect(measured.source).not.toBe('process');
    expect(Math.abs(measured.steady_mib - (ESTIMATE_MIB + CONTEXT_MIB))).toBeLessThan(NEAR_MIB);
    await loaded(clients, 'two', 'one');
    await seen(gateway, gpus.uuids[0], ({ foreign_mib: mib, residents }) => mib < NEAR_MIB && residents.length === 2);
    expect(evictions(gateway)).toBe(0);
  },
);

it('[F84] a device that uses more than it has is not believed; one that changes its size is planned anew', async () => {
  using gpus = watchedGpus('odd', [20, 8]);
  const second = { devices: [gpus.uuids[1]] };
  await using gateway = await start(gpus, [
    { name: 'kept', keys: { devices: [gpus.uuids[0]] } },
    { name: 'fits-later', keys: { ...second, memory: '10GiB' } },
  ]);
  await using clients = new Clients(gateway.url);
  await loaded(clients, 'kept');
  const tooLarge = await clients.chat('fits-later');
  expect([errorOf(tooLarge)['code'], tooLarge.headers['x-should-retry']]).toEqual(['no_capacity', 'false']);

  gpus.tenant(0, 30 * MIB_PER_GIB);
  await seen(gateway, gpus.uuids[0], ({ state }) => state === 'stale');
  await everyFigureIsOne(gateway);
  expect((await deviceOf(gateway, gpus.uuids[0])).used_mib).toBeLessThanOrEqual(20 * MIB_PER_GIB);
  await loaded(clients, 'kept');
  gpus.tenant(0, 0);
  await seen(gateway, gpus.uuids[0], ({ state }) => state === 'free');

  gpus.change((vram) => {
    vram.devices = vram.devices.map((device) =>
      device.uuid === gpus.uuids[1] ? { ...device, total_mib: 16 * MIB_PER_GIB } : device,
    );
  });
  await seen(gateway, gpus.uuids[1], ({ total_mib: mib }) => mib === 16 * MIB_PER_GIB);
  expect((await deviceOf(gateway, gpus.uuids[1])).budget_mib).toBeCloseTo(16 * MIB_PER_GIB * 0.9, -1);
  await loaded(clients, 'fits-later', 'kept');
});
