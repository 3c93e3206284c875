/** Containers of a private daemon, for the driver contract and for what only Docker has. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DockerSettings } from '../../src/config/config.ts';
import type { FetchSpec, LaunchSpec } from '../../src/core/launch.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import { DockerDriver } from '../../src/drivers/docker/docker-driver.ts';
import type { DriverContext } from '../../src/drivers/driver.ts';
import type { Platform } from '../../src/platform/platform.ts';
import { createPlatform } from '../../src/platform/system.ts';
import type { DriverHarness, Program, ProgramOptions } from '../contract/driver/harness.ts';
import { hasProcess, until } from '../contract/process-harness.ts';
import { FETCH_SCRIPTS, SCRIPTS, shellArguments } from '../contract/shell-programs.ts';
import { callDocker } from '../support/docker-call.ts';
import { FAKE_VLLM_IMAGE, type DockerDaemon } from '../support/docker-daemon.ts';
import { dockerSettings } from '../support/docker-settings.ts';

export interface ContainerLine {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface DockerHarness extends DriverHarness {
  readonly driver: DockerDriver;
  readonly platform: Platform;
  readonly gatewayId: string;
  readonly folder: string;
  /** What the driver wanted operators to know. */
  readonly notices: string[];
  restart(more?: Partial<DockerSettings>): Promise<DockerDriver>;
  shell(script: string, options?: ProgramOptions): LaunchSpec;
  /** Every container of the daemon, whosesoever. */
  containers(): Promise<readonly ContainerLine[]>;
  containerOf(replica: ReplicaRef): Promise<ContainerLine | undefined>;
}

export async function dockerHarness(daemon: DockerDaemon, more: Partial<DockerSettings> = {}): Promise<DockerHarness> {
  const folder = mkdtempSync(join(tmpdir(), 'vgw-docker-driver-'));
  const platform = createPlatform();
  const gatewayId = `test-${platform.random.hex(8)}`;
  const notices: string[] = [];
  const settings = dockerSettings({ socket: daemon.socket, cacheDir: join(folder, 'cache'), ...more });
  const drivers: DockerDriver[] = [];
  const make = (over: Partial<DockerSettings>, context: Partial<DriverContext> = {}): DockerDriver => {
    const docker = { ...settings, ...over };
    const notice = (text: string): void => {
      notices.push(text);
    };
    const driver = new DockerDriver({
      ...{ platform, stateDir: join(folder, 'state'), gatewayId, docker, notice },
      ...context,
    });
    drivers.push(driver);
    return driver;
  };
  let current = make({});
  const containers = (): Promise<readonly ContainerLine[]> => containersOf(daemon);
  const ofReplica = async (replica: ReplicaRef): Promise<ContainerLine[]> =>
    (await containers()).filter(
      ({ labels }) =>
        labels['vllm-gateway.id'] === gatewayId &&
        labels['vllm-gateway.replica'] === replica.id &&
        labels['vllm-gateway.generation'] === String(replica.generation),
    );
  const shell = (script: string, { env = {}, arguments: words = [] }: ProgramOptions = {}): LaunchSpec => ({
    ...{ argv: shellArguments(script, words), env, host: '0.0.0.0', port: 8000, url: null, deviceUuids: null },
    container: { image: FAKE_VLLM_IMAGE, volumes: [], shmSize: null },
  });
  return {
    driver: current,
    ...{ platform, gatewayId, folder, notices, shell, containers },
    async restart(over = {}) {
      await current.close();
      current = make(over);
      return current;
    },
    stranger: async () => make({}, { gatewayId: `${gatewayId}-stranger`, stateDir: join(folder, 'stranger') }),
    spec: async (program: Program, options: ProgramOptions = {}) =>
      program === 'missing'
        ? { ...shell('', options), argv: ['/nowhere/no-such-engine'] }
        : shell(SCRIPTS[program], options),
    fetchSpec: async (program): Promise<FetchSpec> => ({
      argv:
        program === null ? null : program === 'missing' ? ['no-such-engine'] : shellArguments(FETCH_SCRIPTS[program]),
      env: {},
      container: { image: FAKE_VLLM_IMAGE, volumes: [], shmSize: null },
    }),
    portsOfMachine: false,
    origin: () => /^http:\/\/127\.0\.0\.1:[1-9]\d*$/,
    async murder(replica) {
      const [container] = await ofReplica(replica);
      await callDocker(daemon.socket, 'POST', `/containers/${container?.id}/kill?signal=KILL`);
    },
    living: async (replica) => (await ofReplica(replica)).filter(({ state }) => state === 'running').length,
    containerOf: async (replica) => (await ofReplica(replica))[0],
    fetching: async () =>
      (await containers()).filter(
        ({ labels, state }) =>
          labels['vllm-gateway.id'] === gatewayId && labels['vllm-gateway.role'] === 'fetch' && state === 'running',
      ).length,
    hasProcess,
    during: (promise) => promise,
    until,
    async close() {
      for (const driver of drivers) await driver.close();
      const ours = (await containers()).filter(({ labels }) => labels['vllm-gateway.id']?.startsWith(gatewayId));
      for (const { id } of ours) await callDocker(daemon.socket, 'DELETE', `/containers/${id}?force=1&v=1`);
      await platform.http.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function containersOf(daemon: DockerDaemon): Promise<readonly ContainerLine[]> {
  const answer = await callDocker(daemon.socket, 'GET', '/containers/json?all=1');
  if (answer.status !== 200) throw new Error(`the daemon does not list: ${answer.text}`);
  return (
    JSON.parse(answer.text) as { Id: string; Names: string[]; State: string; Labels: Record<string, string> }[]
  ).map(({ Id, Names, State, Labels }) => ({
    ...{ id: Id, name: (Names[0] ?? '').slice(1), state: State, labels: Labels },
  }));
}
