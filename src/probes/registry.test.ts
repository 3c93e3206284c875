import { describe, expect, it } from 'vitest';
import type { Config } from '../config/config.ts';
import { GIB } from '../units.ts';
import { createProbe } from './registry.ts';

const LIST = [
  { id: 'gpu-0', memory: 24 * GIB, uuid: null },
  { id: 'gpu-1', memory: 48 * GIB, uuid: 'GPU-b' },
];
const devices = (probe: Config['devices']['probe'], list: Config['devices']['list'] = LIST): Config['devices'] => ({
  probe,
  command: 'nvidia-smi',
  list,
  budgetFraction: 0.9,
});

describe('probes', () => {
  it.each(['static', 'simulated', 'auto'] as const)('%s reads what the configuration lists', async (kind) => {
    const probe = createProbe(devices(kind));
    expect(probe.kind).toBe(kind === 'auto' ? 'static' : kind);
    expect(await probe.read()).toEqual([
      { id: 'gpu-0', uuid: null, totalBytes: 24 * GIB, usedBytes: 0 },
      { id: 'gpu-1', uuid: 'GPU-b', totalBytes: 48 * GIB, usedBytes: 0 },
    ]);
    await probe.close();
  });

  it('none has no devices, whatever is listed', async () => {
    expect(await createProbe(devices('none')).read()).toEqual([]);
    expect(await createProbe(devices('auto', [])).read()).toEqual([]);
  });

  it.each(['nvidia-smi', 'docker'] as const)('%s says that this version cannot read with it', async (kind) => {
    await expect(createProbe(devices(kind)).read()).rejects.toThrow('devices.list');
  });
});
