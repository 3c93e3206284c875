/** The process driver while the disk of `state_dir` refuses. */
import { describe, expect, it } from 'vitest';
import { LaunchError, type DriverContext } from '../../src/drivers/driver.ts';
import { ProcessDriver } from '../../src/drivers/process/process-driver.ts';
import { createTestPlatform, type TestPlatform } from '../support/test-platform.ts';
import { identityOf, stopOptions } from './driver-contract.ts';

const STATE = '/state';
const spec = (port: number) => ({
  argv: ['engine'],
  env: {},
  host: '127.0.0.1',
  port,
  url: null,
  deviceUuids: null,
  container: null,
});
const contextOf = (platform: TestPlatform): DriverContext => ({ platform, stateDir: STATE, gatewayId: 'gw' });
const full = (): Promise<never> => Promise.reject(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }));

async function turns(): Promise<void> {
  for (let turn = 0; turn < 200; turn += 1) await Promise.resolve();
}

/** Two engines of an earlier run; the second one's pid was never written down. */
async function leftByAnother(platform: TestPlatform): Promise<void> {
  const earlier = new ProcessDriver(contextOf(platform));
  await earlier.launch(spec(20_000), identityOf('one-1'));
  await earlier.launch(spec(20_001), identityOf('two-1'));
  await earlier.close();
  const path = `${STATE}/replicas/two-1.1.json`;
  const record: unknown = JSON.parse((await platform.files.readText(path)) ?? '');
  await platform.files.writeAtomic(path, JSON.stringify({ ...(record as object), pid: null, startTime: null }));
}

describe('a full or read-only disk', () => {
  it('keeps nothing from being found', async () => {
    const platform = createTestPlatform();
    await leftByAnother(platform);
    platform.files.failWrites = 'ENOSPC';
    const found = await new ProcessDriver(contextOf(platform)).list();
    expect(found.map(({ id, usable }) => [id, usable])).toEqual([
      ['one-1', true],
      ['two-1', true],
    ]);
  });

  it('keeps no other engine from being found when a record cannot be put aside or removed', async () => {
    const platform = createTestPlatform();
    await leftByAnother(platform);
    for (const process of platform.subprocess.processes.values()) if (process.pid === 1_001) process.exit(0);
    await platform.files.writeAtomic(`${STATE}/replicas/broken.json`, 'no record');
    platform.files.rename = full;
    platform.files.remove = full;
    const found = await new ProcessDriver(contextOf(platform)).list();
    expect(found.map(({ id }) => id)).toEqual(['one-1']);
  });

  it('makes no stuck engine of one that is gone', async () => {
    const platform = createTestPlatform();
    const driver = new ProcessDriver(contextOf(platform));
    await driver.launch(spec(20_000), identityOf('one-1'));
    platform.files.remove = full;
    const stopped = driver.stop(identityOf('one-1'), stopOptions());
    for (let step = 0; step < 200; step += 1) {
      await turns();
      platform.clock.advance(100);
    }
    await stopped;
    await driver.close();
  });
});

describe('launches that fail again and again', () => {
  it('leave no log files without a word in them', async () => {
    const platform = createTestPlatform();
    const driver = new ProcessDriver(contextOf(platform));
    platform.subprocess.onSpawn = () => {
      throw Object.assign(new Error('spawn engine ENOENT'), { code: 'ENOENT' });
    };
    for (let index = 0; index < 5; index += 1) {
      await expect(driver.launch(spec(20_000), identityOf(`one-${index}`))).rejects.toThrow(LaunchError);
    }
    expect(await platform.files.list(`${STATE}/logs`)).toEqual([]);
    expect(await platform.files.list(`${STATE}/replicas`)).toEqual([]);
    await driver.close();
  });
});
