/** A plan of each outcome, for tests of what shows plans. */
import type { PlannedDevice, PlannedModel, PlanReport } from '../../src/core/memory/plan-report.ts';
import { GIB, MIB } from '../../src/units.ts';

const NOTHING = { evicts: [], missing_bytes: 0, holders: [], notes: [] } as const;

const need = (total: number): PlannedModel['need'] => ({
  weights_bytes: null,
  kv_bytes: null,
  activation_bytes: null,
  overhead_bytes: null,
  total_bytes: total,
  peak_bytes: total,
});

const MODELS: Readonly<Record<string, PlannedModel>> = {
  llama: {
    ...NOTHING,
    fits: true,
    outcome: 'placed',
    devices: ['gpu-0'],
    need: need(20 * GIB),
    basis: 'footprint',
    tensor_parallel: 1,
    gpu_memory_utilization: 0.8333,
    reason: "Model 'llama' is ready on gpu-0.",
  },
  'Qwen/Qwen2.5-7B': {
    ...NOTHING,
    fits: true,
    outcome: 'fits',
    devices: ['gpu-0'],
    need: {
      weights_bytes: 14 * GIB,
      kv_bytes: 2 * GIB,
      activation_bytes: 1.6 * GIB,
      overhead_bytes: GIB,
      total_bytes: 18.6 * GIB,
      peak_bytes: 19 * GIB,
    },
    basis: 'estimate',
    tensor_parallel: 1,
    gpu_memory_utilization: 0.775,
    evicts: ['llama-1'],
    reason: "Model 'Qwen/Qwen2.5-7B' gets 18.6GiB on gpu-0 as soon as llama-1 has left.",
    notes: ['Weights: 4 files in the cache.'],
  },
  giant: {
    ...NOTHING,
    fits: false,
    outcome: 'never',
    devices: [],
    need: need(80 * GIB),
    basis: 'declared',
    tensor_parallel: 1,
    gpu_memory_utilization: null,
    missing_bytes: 58.4 * GIB,
    holders: [{ replica: 'llama-1', model: 'llama', bytes: 20 * GIB, why: 'idle', in_flight: 0, device: 'gpu-0' }],
    reason: "Model 'giant' needs 80GiB on a device; the largest that it may use, gpu-0, has 24GiB in all.",
  },
};

const DEVICE: PlannedDevice = {
  pool: null,
  uuid: 'GPU-a',
  total_bytes: 24 * GIB,
  budget_bytes: 21.6 * GIB,
  foreign_bytes: 512 * MIB,
  held_bytes: 20 * GIB,
  promised_bytes: 20 * GIB,
  free_bytes: 1.6 * GIB,
  residents: [{ replica: 'llama-1', model: 'llama', bytes: 20 * GIB, why: 'idle', in_flight: 0 }],
  state: 'ok',
  reason: null,
};

export const PLAN: PlanReport = {
  placement_mode: 'budget',
  eviction: 'lru',
  devices: { 'gpu-0': DEVICE },
  models: MODELS,
};
