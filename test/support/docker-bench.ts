/** The Docker driver before a daemon on paper. */
import type { DockerSettings } from '../../src/config/config.ts';
import type { LaunchSpec } from '../../src/core/launch.ts';
import { DockerDriver } from '../../src/drivers/docker/docker-driver.ts';
import type { ExitReport } from '../../src/drivers/driver.ts';
import { systemClock } from '../../src/platform/clock.ts';
import type { Clock, Platform } from '../../src/platform/platform.ts';
import { dockerSettings } from './docker-settings.ts';
import { RecordingDocker } from './recording-docker.ts';
import { createTestPlatform } from './test-platform.ts';

/** Runs `speed` times as fast as the real one: deadlines of seconds are over in a fraction of one. */
function clockOf(speed: number): Clock {
  return {
    monotonic: () => systemClock.monotonic() * speed,
    wall: () => systemClock.wall(),
    after: (delay, run) => systemClock.after(delay / speed, run),
    afterReads: (run) => systemClock.afterReads(run),
    sleep: (delay, signal) => systemClock.sleep(delay / speed, signal),
  };
}

export interface DockerBench {
  readonly docker: RecordingDocker;
  readonly driver: DockerDriver;
  readonly exits: readonly ExitReport[];
  readonly notices: readonly string[];
  /** Another driver of the same gateway. */
  driverWith(settings: Partial<DockerSettings>): DockerDriver;
  close(): Promise<void>;
}

export interface BenchOptions {
  /** Of its clock; 1 when left out. */
  readonly speed?: number;
  readonly settings?: Partial<DockerSettings>;
  readonly env?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
}

export async function dockerBench(options: BenchOptions = {}): Promise<DockerBench> {
  const docker = new RecordingDocker();
  await docker.start();
  const test = createTestPlatform();
  for (const [path, text] of Object.entries(options.files ?? {})) await test.files.writeAtomic(path, text);
  const platform: Platform = { ...test, clock: clockOf(options.speed ?? 1), env: options.env ?? {} };
  const notices: string[] = [];
  const drivers: DockerDriver[] = [];
  const driverWith = (more: Partial<DockerSettings>): DockerDriver => {
    const driver = new DockerDriver({
      ...{ platform, stateDir: '/state', gatewayId: 'gw' },
      docker: dockerSettings({ socket: docker.socket, ...options.settings, ...more }),
      notice: (text) => {
        notices.push(text);
      },
    });
    drivers.push(driver);
    return driver;
  };
  const driver = driverWith({});
  const exits: ExitReport[] = [];
  driver.watch((exit) => exits.push(exit));
  return {
    ...{ docker, driver, exits, notices, driverWith },
    async close() {
      for (const made of drivers) await made.close();
      await docker.stop();
    },
  };
}

export function containerSpec(more: Partial<LaunchSpec> = {}): LaunchSpec {
  return {
    ...{ argv: ['vllm', 'serve', 'org/model'], env: { A: '1' }, host: '0.0.0.0', port: 8000, url: null },
    deviceUuids: null,
    container: { image: 'vllm/vllm-openai:v0.16.0', volumes: [], shmSize: null },
    ...more,
  };
}
