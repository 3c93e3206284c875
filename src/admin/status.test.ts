import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { originalStatus, statusAnswer } from './contract.ts';
import type { StatusAnswer } from './contract.ts';
import { adminBench } from '../../test/support/admin-bench.ts';
import type { AdminBench } from '../../test/support/admin-bench.ts';
import { deviceSnapshot, fleetSnapshot, modelSnapshot, replicaSnapshot } from '../../test/support/fleet-snapshot.ts';
import { GIB } from '../units.ts';

const ORIGINAL = JSON.parse(
  readFileSync(new URL('../../test/fixtures/original/status.json', import.meta.url), 'utf8'),
) as Record<string, unknown>;

const FLEET = fleetSnapshot(
  {
    models: [
      modelSnapshot('llama', { state: 'ready', replicas: ['llama-1'], inFlight: 2, lastUsedAt: 90_000 }),
      modelSnapshot('Qwen/Qwen2.5-7B', {
        state: 'starting',
        replicas: ['qwen-1'],
        queued: 3,
        waitingFor: 'its start (weights)',
        pinnedBy: 'operator',
        lastFailure: { cause: 'out_of_memory', message: 'not enough memory', at: 20_000, retryAt: 50_000 },
      }),
    ],
    replicas: [
      replicaSnapshot('llama-1', 'llama', {
        devices: ['gpu-0'],
        reservedBytes: 20 * GIB,
        leases: 2,
        createdAt: 1_000,
        launchedAt: 2_000,
        readyAt: 30_000,
      }),
      replicaSnapshot('qwen-1', 'Qwen/Qwen2.5-7B', {
        state: 'starting',
        phase: 'weights',
        progress: 0.5,
        devices: ['gpu-1'],
        reservedBytes: 20 * GIB,
        origin: null,
        port: null,
        createdAt: 80_000,
        launchedAt: 81_000,
        readyAt: null,
      }),
    ],
    devices: [
      deviceSnapshot('gpu-0', { reservedBytes: 20 * GIB, foreignBytes: GIB, residents: ['llama-1'], uuid: 'GPU-a' }),
      deviceSnapshot('gpu-1', { reservedBytes: 20 * GIB, residents: ['qwen-1'], state: 'busy' }),
    ],
  },
  { at: 100_000 },
);

async function benchWithFleet(): Promise<AdminBench> {
  const bench = await adminBench();
  bench.clock.advance(100_000);
  bench.control.fleet = FLEET;
  return bench;
}

async function statusOf(
  bench: AdminBench,
  ...rest: Parameters<AdminBench['ask']> extends [string, ...infer More] ? More : never
) {
  const response = await bench.ask('/gateway/status', ...rest);
  expect(response.status).toBe(200);
  return (await response.json()) as StatusAnswer;
}

describe('GET /gateway/status', () => {
  it('answers exactly what its schema says', async () => {
    const status = await statusOf(await benchWithFleet());
    expect(statusAnswer.parse(status)).toEqual(status);
  });

  it('has every first-level field of the interface [item 135]', async () => {
    const status = await statusOf(await benchWithFleet());
    for (const field of ['gateway', 'config', 'limits', 'devices', 'models', 'replicas', 'footprints']) {
      expect(status, field).toHaveProperty(field);
    }
    expect(status.gateway).toMatchObject({ id: 'gw-1', version: '0.1.0', uptime_s: 100, state: 'ready' });
    expect(status.limits).toMatchObject({
      max_queue_size: 200,
      max_concurrent: 50,
      max_models_concurrent: 3,
      max_in_flight: 150,
      http_pool_size: 150,
      http_keepalive_size: 150,
      queue_timeout_s: 540,
      buffered_bytes: 4_096,
      max_buffered_bytes: 512 * 1024 * 1024,
    });
  });

  it('has the fields of the original, by the same names and kinds [item 135]', async () => {
    const status = await statusOf(await benchWithFleet());
    for (const field of Object.keys(ORIGINAL)) expect(status, field).toHaveProperty(field);
    expect(() => originalStatus.parse({ ...ORIGINAL })).not.toThrow();
    const fieldsOf = (of: unknown): string[] => Object.keys(Object.values(of as object)[0] as object).sort();
    expect(fieldsOf(status.gpus)).toEqual(fieldsOf(ORIGINAL['gpus']));
    expect(fieldsOf(status.active_containers)).toEqual(fieldsOf(ORIGINAL['active_containers']));
    expect(fieldsOf(status.queue_status)).toEqual(fieldsOf(ORIGINAL['queue_status']));
  });

  it('comes from one snapshot, so that its parts agree [item 135]', async () => {
    const bench = await benchWithFleet();
    bench.control.snapshots = 0;
    const status = await statusOf(bench);
    expect(bench.control.snapshots).toBe(1);
    expect(status.queue_status['Qwen/Qwen2.5-7B']?.queue_depth).toBe(status.models['Qwen/Qwen2.5-7B']?.queued);
    expect(status.active_containers['llama-1']?.active_requests).toBe(status.replicas['llama-1']?.leases);
  });

  it('is fresh: the next answer shows the next snapshot [item 136]', async () => {
    const bench = await benchWithFleet();
    expect((await statusOf(bench)).queue_status['Qwen/Qwen2.5-7B']?.queue_depth).toBe(3);
    bench.control.fleet = fleetSnapshot({ models: [modelSnapshot('Qwen/Qwen2.5-7B')] });
    expect((await statusOf(bench)).queue_status['Qwen/Qwen2.5-7B']?.queue_depth).toBe(0);
  });

  it('tells a loading engine from one that is up, in memory too', async () => {
    const status = await statusOf(await benchWithFleet());
    expect(status.gpus['GPU-a']).toMatchObject({ used_mib: 21 * 1024, reserved_mib: 0, residents: ['llama'] });
    expect(status.gpus['gpu-1']).toMatchObject({ used_mib: 0, reserved_mib: 20 * 1024 });
    expect(status.devices['gpu-1']).toMatchObject({ used_mib: 0, reserved_mib: 20 * 1024, residents: ['qwen-1'] });
    expect(status.active_containers['qwen-1']).toMatchObject({ status: 'LOADING', loaded_at: null, vram_footprint: 0 });
    expect(status.active_containers['llama-1']).toMatchObject({
      status: 'READY',
      effective_util: 0.8333,
      effective_tp: 1,
    });
    expect(status.total_gpu_vram_mib).toBe(48 * 1024);
  });

  it('writes points of the monotonic clock as wall time, unmoved by a step of the wall clock [item 152]', async () => {
    const bench = await benchWithFleet();
    const wall = bench.clock.wall();
    const status = await statusOf(bench);
    expect(status.gateway.started_at).toBe(new Date(wall - 100_000).toISOString());
    expect(status.replicas['llama-1']?.ready_at).toBe(new Date(wall - 70_000).toISOString());
    expect(status.active_containers['llama-1']?.loaded_at).toBe((wall - 70_000) / 1_000);
    expect(status.models['Qwen/Qwen2.5-7B']?.last_failure).toEqual({
      cause: 'out_of_memory',
      message: 'not enough memory',
      at: new Date(wall - 80_000).toISOString(),
      retry_at: new Date(wall - 50_000).toISOString(),
    });
  });

  it('tells when a start will be over, or that nobody knows', async () => {
    const bench = await benchWithFleet();
    expect((await statusOf(bench)).replicas['qwen-1']?.eta_s).toBeNull();
    const starting = replicaSnapshot('qwen-1', 'Qwen/Qwen2.5-7B', { state: 'starting', eta: 41_000.4, readyAt: null });
    bench.control.fleet = fleetSnapshot({ replicas: [starting] });
    expect((await statusOf(bench)).replicas['qwen-1']?.eta_s).toBe(41);
  });

  it('hides addresses of engines from callers who may not administrate [item 136]', async () => {
    const bench = await benchWithFleet();
    const local = await statusOf(bench);
    expect(local.active_containers['llama-1']).toMatchObject({ ip_address: '127.0.0.1', port: 20_001 });
    const remote = await statusOf(bench, {}, { remoteAddress: '10.1.2.3', loopbackListener: false });
    expect(remote.active_containers['llama-1']).toMatchObject({ ip_address: null, port: null });
    const proxied = await statusOf(bench, { headers: { 'x-forwarded-for': '127.0.0.1' } });
    expect(proxied.active_containers['llama-1']).toMatchObject({ ip_address: null, port: null });
  });

  it('says what the gateway is doing', async () => {
    const bench = await benchWithFleet();
    bench.control.reasons = ['docker is not reachable'];
    expect((await statusOf(bench)).gateway.state).toBe('degraded');
    bench.control.ready = false;
    expect((await statusOf(bench)).gateway.state).toBe('not_ready');
    bench.control.fleet = { ...FLEET, shuttingDown: true };
    expect((await statusOf(bench)).gateway.state).toBe('draining');
  });

  it('lists the problems of the configuration that are in force', async () => {
    const bench = await adminBench(undefined, { GATEWAY_MAX_QUEUE_SIZE: '0' });
    const { config, limits } = await statusOf(bench);
    expect(config.source).toBe('/etc/gateway.yaml');
    expect(config.problems).toHaveLength(1);
    expect(config.problems[0]).toMatchObject({
      severity: 'error',
      source: 'environment',
      path: 'GATEWAY_MAX_QUEUE_SIZE',
    });
    expect(limits.max_queue_size).toBe(200);
  });

  it('has no budget in whole_card mode', async () => {
    const bench = await adminBench(undefined, { PLACEMENT_MODE: 'whole_card' });
    bench.control.fleet = FLEET;
    const status = await statusOf(bench);
    expect(status).toMatchObject({ placement_mode: 'whole_card', gpu_budget_fraction: null });
    expect(status.gpus['gpu-1']?.budget_mib).toBeNull();
  });
});
