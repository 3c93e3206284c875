import { expect, it } from 'vitest';
import { load, MODEL } from '../../../test/support/load-config.ts';
import { workersOf } from './relations.ts';

const yaml = (workers: number | 'auto'): string => `server:\n  listen: 127.0.0.1:8000\n  workers: ${workers}\n${MODEL}`;

it('several workers are refused where the system is not Linux, with the place and what would be right', async () => {
  const { config, lines } = await load(yaml(3), { system: 'darwin' });
  expect(config).toBeNull();
  expect(lines).toEqual([
    'error gateway.yaml:3:12: server.workers: 3 processes of the data plane need Linux, and this is darwin: write 1 or auto, which is 1 here, or run the gateway in a container',
  ]);
  for (const [workers, system] of [
    [1, 'darwin'],
    ['auto', 'darwin'],
    [3, 'linux'],
    [3, undefined],
  ] as const) {
    const loaded = await load(yaml(workers), { system });
    expect(loaded.config?.server.workers, `${workers} on ${system}`).toBe(workers);
    expect(loaded.lines.filter((line) => line.includes('workers'))).toEqual([]);
  }
});

it('as many workers as there are cores are eight at most, and none beside the one process where they cannot be', () => {
  expect(workersOf('auto', { cores: 3, system: 'linux' })).toBe(3);
  expect(workersOf('auto', { cores: 64 })).toBe(8);
  expect(workersOf('auto', {})).toBe(1);
  expect(workersOf('auto', { cores: 8, system: 'darwin' })).toBe(1);
  expect(workersOf(5, { cores: 2 })).toBe(5);
});
