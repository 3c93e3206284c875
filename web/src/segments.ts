/** Who owns the bytes of a device: every one of them is in exactly one segment. */
import { gib } from './format.ts';
import type { DeviceStatus, StatusAnswer } from '../../src/admin/contract.ts';

export interface Segment {
  readonly key: string;
  readonly label: string;
  readonly mib: number;
  /** `coming`: promised to an engine that is not ready; `beyond`: above the budget, left to others. */
  readonly kind: 'engine' | 'cache' | 'coming' | 'leaving' | 'foreign' | 'free' | 'beyond';
  readonly model: string | null;
}

export function segmentsOf(id: string, device: DeviceStatus, status: StatusAnswer): readonly Segment[] {
  const owned = device.residents.flatMap((replica) => engineSegments(replica, id, status));
  const engines = owned.reduce((sum, { mib }) => sum + mib, 0);
  const foreign = Math.min(device.foreign_mib, Math.max(0, device.total_mib - engines));
  const used = engines + foreign;
  const free = Math.max(0, Math.min(device.budget_mib, device.total_mib) - used);
  const beyond = Math.max(0, device.total_mib - used - free);
  const rest: readonly Segment[] = [
    { key: 'foreign', label: 'other programs', mib: foreign, kind: 'foreign', model: null },
    { key: 'free', label: 'free', mib: free, kind: 'free', model: null },
    { key: 'beyond', label: `above the budget of ${gib(device.budget_mib)}`, mib: beyond, kind: 'beyond', model: null },
  ];
  return [...owned, ...rest.filter(({ mib }) => mib >= 1)];
}

function engineSegments(replica: string, device: string, status: StatusAnswer): readonly Segment[] {
  const known = status.replicas[replica];
  if (!known) return [];
  const { model, state } = known;
  const { steady_mib: steady = 0, peak_mib: peak = 0 } = known.memory[device] ?? {};
  const one = (kind: Segment['kind'], label: string, mib: number): Segment => ({
    key: `${replica}-${kind}`,
    label: `${model} ${label}`.trim(),
    mib,
    kind,
    model,
  });
  if (state === 'reserved' || state === 'starting') {
    const extra = peak - steady;
    return [one('coming', extra >= 1 ? 'starting, with its peak' : 'starting', peak)];
  }
  if (state !== 'ready') return [one('leaving', state, steady)];
  const cache = status.footprints[model]?.kv_cache_mib ?? 0;
  if (!known.measured || cache <= 0 || cache >= steady) return [one('engine', '', steady)];
  return [one('engine', 'weights and runtime', steady - cache), one('cache', 'KV cache', cache)];
}
