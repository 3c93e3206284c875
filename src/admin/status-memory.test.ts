import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { adminBench, type AdminBench } from '../../test/support/admin-bench.ts';
import { deviceSnapshot, fleetSnapshot, modelSnapshot, replicaSnapshot } from '../../test/support/fleet-snapshot.ts';
import type { FleetParts } from '../../test/support/fleet-snapshot.ts';
import type { Footprint } from '../core/memory/footprint.ts';
import { GIB, MIB } from '../units.ts';
import { originalStatus, statusAnswer, type StatusAnswer } from './contract.ts';

const ORIGINAL = JSON.parse(
  readFileSync(new URL('../../test/fixtures/original/status.json', import.meta.url), 'utf8'),
) as { known_footprints_mib: { everyday: object } };

const FOOTPRINT: Footprint = {
  model: 'llama',
  signature: { specHash: 'abc', image: 'sha256:1', deviceClass: 'NVIDIA L40S, 46068 MiB', tensorParallel: 1 },
  steadyBytes: 18 * GIB,
  peakBytes: 19 * GIB,
  utilization: 0.7917,
  kvCacheBytes: 4 * GIB,
  kvCacheTokens: 32_768,
  startTime: 45_000,
  measuredAt: 1_769_000_000_000,
  source: 'process',
};

async function statusOf(
  parts: FleetParts,
  change: (bench: AdminBench) => void = () => undefined,
): Promise<StatusAnswer> {
  const bench = await adminBench();
  bench.clock.advance(100_000);
  bench.control.fleet = fleetSnapshot(parts, { at: 100_000 });
  change(bench);
  const status: unknown = await (await bench.ask('/gateway/status')).json();
  expect(statusAnswer.parse(status)).toEqual(status);
  return status as StatusAnswer;
}

describe('memory in the status', () => {
  it('shows what was learned, in our words and in those of the original [item 135]', async () => {
    const status = await statusOf({
      models: [modelSnapshot('llama', { footprint: FOOTPRINT }), modelSnapshot('other')],
    });
    expect(status.footprints).toEqual({
      llama: {
        steady_mib: 18 * 1024,
        peak_mib: 19 * 1024,
        kv_cache_mib: 4 * 1024,
        kv_cache_tokens: 32_768,
        gpu_memory_utilization: 0.7917,
        tensor_parallel: 1,
        device_class: 'NVIDIA L40S, 46068 MiB',
        image: 'sha256:1',
        start_s: 45,
        measured_at: new Date(1_769_000_000_000).toISOString(),
        source: 'process',
      },
    });
    expect(status.known_footprints_mib).toEqual({
      llama: {
        per_gpu_mib: 18 * 1024,
        effective_tp: 1,
        effective_util: 0.7917,
        measured_at: 1_769_000_000,
        signature: { mode: 'budget', max_model_len: 8192, kv_seqs: 16, effective_tp: 1, util_basis: 0.9 },
      },
    });
    const fieldsOf = (of: object | undefined): string[] => Object.keys(of ?? {}).sort();
    const theirs = ORIGINAL.known_footprints_mib.everyday as { signature: object };
    expect(fieldsOf(status.known_footprints_mib['llama'])).toEqual(fieldsOf(theirs));
    expect(fieldsOf(status.known_footprints_mib['llama']?.signature)).toEqual(fieldsOf(theirs.signature));
    expect(() => originalStatus.parse(ORIGINAL)).not.toThrow();
  });

  it('shows what a model needs, by which other names it goes, and how far its files are [item 166]', async () => {
    const preparation = { phase: 'weights', fraction: 0.25, since: 70_000, eta: 150_400 };
    const llama = modelSnapshot('llama', {
      state: 'starting',
      preparation,
      need: { basis: 'estimate', totalBytes: 18 * GIB, peakBytes: 18 * GIB },
    });
    const { models } = await statusOf({ models: [llama] });
    expect(models['llama']).toMatchObject({
      aliases: ['gpt-4o-mini'],
      need: { basis: 'estimate', total_mib: 18 * 1024, peak_mib: 18 * 1024 },
      preparation: { phase: 'weights', progress: 0.25, eta_s: 150.4 },
    });
    const begun = modelSnapshot('llama', { preparation: { phase: 'image', fraction: null, since: 99_000, eta: null } });
    expect((await statusOf({ models: [begun] })).models['llama']?.preparation).toMatchObject({
      phase: 'image',
      eta_s: null,
    });
  });

  it('shows what devices hold as it was read, and what keeps them from starting anything [items 98, 99, 158]', async () => {
    const {
      devices,
      gpus,
      gpu_budget_fraction: fraction,
    } = await statusOf({
      devices: [
        deviceSnapshot('gpu-0', { usedBytes: 5 * GIB, foreignBytes: GIB, observedAt: 98_000, reservedBytes: 20 * GIB }),
        deviceSnapshot('gpu-1', { state: 'busy', gateHolder: 'llama-1', gateSince: 88_000 }),
        deviceSnapshot('gpu-2', { state: 'stale', silent: 'nvidia-smi does not answer' }),
        deviceSnapshot('gpu-3', { state: 'quarantined', quarantine: '3 GiB did not come back', silent: 'late' }),
      ],
    });
    expect(devices['gpu-0']).toMatchObject({
      used_mib: 5 * 1024,
      observed_at: expect.any(String),
      reason: null,
      gate: null,
    });
    expect(gpus['gpu-0']).toMatchObject({ used_mib: 5 * 1024, budget_mib: expect.any(Number) });
    expect(devices['gpu-1']).toMatchObject({
      state: 'busy',
      gate: { replica: 'llama-1', for_s: 12 },
      observed_at: null,
    });
    expect(devices['gpu-2']).toMatchObject({ state: 'stale', reason: 'nvidia-smi does not answer' });
    expect(devices['gpu-3']).toMatchObject({ state: 'quarantined', reason: '3 GiB did not come back' });
    expect(fraction).toBe(0.9);
  });

  it('invents no bytes for GPUs that cannot be read [item 97]', async () => {
    const status = await statusOf({
      devices: [deviceSnapshot('gpus', { unmeasured: true, totalBytes: GIB, budgetBytes: GIB, silent: 'no answer' })],
    });
    expect(status.devices['gpus']).toMatchObject({ total_mib: 0, used_mib: 0, budget_mib: 0, reason: 'no answer' });
    expect(status.total_gpu_vram_mib).toBe(0);
    expect(status.gpus).toEqual({});
  });

  it('tells what an engine was told, and whether its bytes were seen', async () => {
    const share = { tensorParallel: 2, utilization: 0.4321, kvCacheBytes: null, maxModelLen: null };
    const { replicas, active_containers: containers } = await statusOf({
      models: [modelSnapshot('llama', { replicas: ['llama-1'] })],
      replicas: [
        replicaSnapshot('llama-1', 'llama', {
          container: 'worker_llama-1',
          devices: ['gpu-0', 'gpu-1'],
          reservedBytes: 2 * 512 * MIB,
          measured: true,
          share,
        }),
      ],
      devices: [deviceSnapshot('gpu-0'), deviceSnapshot('gpu-1')],
    });
    expect(replicas['llama-1']).toMatchObject({ measured: true, reserved_mib: 1024, container: 'worker_llama-1' });
    expect(containers['worker_llama-1']).toMatchObject({ effective_tp: 2, effective_util: 0.4321, reserved_mib: 512 });
  });
});
