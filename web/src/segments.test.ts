import { describe, expect, it } from 'vitest';
import type { DeviceStatus, ReplicaStatus, StatusAnswer } from '../../src/admin/contract.ts';
import { segmentsOf } from './segments.ts';

const DEVICE = {
  total_mib: 24_576,
  budget_mib: 22_000,
  foreign_mib: 1_000,
  residents: ['llama-1'],
} as unknown as DeviceStatus;

function statusWith(replica: Partial<ReplicaStatus>, kv: number | null = null): StatusAnswer {
  const memory = { 'gpu-0': { steady_mib: 16_000, peak_mib: 17_000 } };
  return {
    replicas: { 'llama-1': { model: 'llama', state: 'ready', measured: true, memory, ...replica } },
    footprints: kv === null ? {} : { llama: { kv_cache_mib: kv } },
  } as unknown as StatusAnswer;
}

const partsOf = (status: StatusAnswer, device = DEVICE) =>
  segmentsOf('gpu-0', device, status).map(({ kind, mib }) => [kind, mib]);

const ends = [
  ['foreign', 1_000],
  ['free', 5_000],
  ['beyond', 2_576],
];

describe('the segments of a device', () => {
  it('own every byte exactly once', () => {
    for (const state of ['reserved', 'starting', 'ready', 'draining', 'zombie'] as const) {
      const parts = segmentsOf('gpu-0', DEVICE, statusWith({ state }, 9_000));
      expect(
        parts.reduce((sum, { mib }) => sum + mib, 0),
        state,
      ).toBe(DEVICE.total_mib);
    }
  });

  it('tell weights from KV cache where that was seen', () => {
    expect(partsOf(statusWith({}, 9_000))).toEqual([['engine', 7_000], ['cache', 9_000], ...ends]);
    expect(partsOf(statusWith({}))).toEqual([['engine', 16_000], ...ends]);
    expect(partsOf(statusWith({ measured: false }, 9_000))).toEqual([['engine', 16_000], ...ends]);
  });

  it('hold the peak of an engine that starts', () => {
    expect(partsOf(statusWith({ state: 'starting' }))[0]).toEqual(['coming', 17_000]);
  });

  it('show no more than there is, where others use more than the budget leaves', () => {
    const crowded = { ...DEVICE, foreign_mib: 30_000 };
    expect(partsOf(statusWith({}), crowded)).toEqual([
      ['engine', 16_000],
      ['foreign', 8_576],
    ]);
  });
});
