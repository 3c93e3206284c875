import { describe, expect, it } from 'vitest';
import { dockerSettings } from '../../test/support/docker-settings.ts';
import { createTestPlatform } from '../../test/support/test-platform.ts';
import type { LaunchSpec } from '../core/launch.ts';
import { LaunchError } from './driver.ts';
import { createDriver } from './registry.ts';

const context = { platform: createTestPlatform(), stateDir: '/state', gatewayId: 'g' };
const identity = { id: 'a', generation: 1, model: 'm', specHash: 'h', reservations: new Map<string, number>() };
const spec = (url: string | null): LaunchSpec => ({
  argv: [],
  env: {},
  host: '127.0.0.1',
  port: null,
  url,
  deviceUuids: null,
  container: null,
});

describe('servers that somebody else runs', () => {
  const driver = createDriver('external', context);

  it.each([
    ['http://gpu.example:8000', 'http://gpu.example:8000', ''],
    ['https://gpu.example/team/a/', 'https://gpu.example', '/team/a'],
    ['http://[::1]:9/', 'http://[::1]:9', ''],
  ])('are there at once: %s', async (url, origin, pathPrefix) => {
    expect(await driver.launch(spec(url), identity)).toEqual({ origin, pathPrefix, pid: null, container: null });
  });

  it.each([null, 'gpu.example', 'ftp://gpu.example', ''])('need an http address, not %j', async (url) => {
    const failure = await driver.launch(spec(url), identity).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({ failure: 'bad_arguments' });
  });

  it('are never stopped, listed or read', async () => {
    await driver.stop(identity, { timeout: 1, starting: false, cutConnections: () => {} });
    expect(await driver.list()).toEqual([]);
    expect(await driver.tail(identity, 10)).toEqual([]);
    expect(await driver.pids(identity)).toEqual([]);
    driver.adopt(identity);
    driver.watch(() => {})[Symbol.dispose]();
    await driver.close();
  });
});

describe('the driver of containers', () => {
  it('cannot be made without its settings', () => {
    expect(() => createDriver('docker', { ...context })).toThrow('drivers.docker');
  });
});

it('every kind of driver is made under its own name', () => {
  for (const kind of ['docker', 'external', 'process', 'simulated'] as const) {
    expect(createDriver(kind, { ...context, docker: dockerSettings() }).kind).toBe(kind);
  }
});
