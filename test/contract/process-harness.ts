import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FetchSpec, LaunchSpec } from '../../src/core/launch.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import { ProcessDriver } from '../../src/drivers/process/process-driver.ts';
import type { Platform, ProcessFacts } from '../../src/platform/platform.ts';
import { createPlatform } from '../../src/platform/system.ts';
import type { Bytes } from '../../src/units.ts';
import type { DriverHarness } from './driver-contract.ts';
import { FETCH_SCRIPTS, SCRIPTS, shellArguments } from './shell-programs.ts';

export interface ProcessHarness extends DriverHarness {
  readonly driver: ProcessDriver;
  murder(replica: ReplicaRef): void;
  readonly platform: Platform;
  readonly stateDir: string;
  readonly gatewayId: string;
  restart(): Promise<ProcessDriver>;
  shell(script: string, env?: Readonly<Record<string, string>>): Promise<LaunchSpec>;
  members(replica: ReplicaRef): Promise<readonly ProcessFacts[]>;
}

export interface ProcessHarnessOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly rotateLogsAt?: Bytes;
}

/** Real processes of this machine: shell scripts that end with the test. */
export async function processHarness(options: ProcessHarnessOptions = {}): Promise<ProcessHarness> {
  const stateDir = mkdtempSync(join(tmpdir(), 'vgw-driver-'));
  const real = createPlatform();
  const platform: Platform = { ...real, env: { ...real.env, ...options.env } };
  const gatewayId = `test-${process.pid}-${real.random.hex(8)}`;
  const { rotateLogsAt } = options;
  const make = (): ProcessDriver =>
    new ProcessDriver({ platform, stateDir, gatewayId, ...(rotateLogsAt === undefined ? {} : { rotateLogsAt }) });
  let current = make();
  const folders: string[] = [];
  const shell = async (script: string, env: Readonly<Record<string, string>> = {}): Promise<LaunchSpec> => ({
    argv: ['sh', '-c', script],
    env,
    host: '127.0.0.1',
    port: await freePort(),
    url: null,
    deviceUuids: null,
    container: null,
  });
  const members = (replica: ReplicaRef): Promise<readonly ProcessFacts[]> =>
    platform.subprocess.findByEnvironment('VGW_PROCESS', `${gatewayId}/${replica.id}/${replica.generation}`);
  return {
    driver: current,
    platform,
    stateDir,
    gatewayId,
    shell,
    members,
    async restart() {
      await current.close();
      current = make();
      return current;
    },
    async stranger() {
      const folder = mkdtempSync(join(tmpdir(), 'vgw-stranger-'));
      folders.push(folder);
      return new ProcessDriver({ platform, stateDir: folder, gatewayId: `${gatewayId}-stranger` });
    },
    async spec(program, { env = {}, arguments: words = [] } = {}) {
      const spec = await shell('', env);
      if (program === 'missing') return { ...spec, argv: ['/nowhere/no-such-engine'] };
      return { ...spec, argv: shellArguments(SCRIPTS[program], words) };
    },
    async fetchSpec(program): Promise<FetchSpec> {
      const env = { VGW_TEST_FETCH: gatewayId };
      if (program === null) return { argv: null, env, container: null };
      const argv = program === 'missing' ? ['/nowhere/no-such-engine'] : shellArguments(FETCH_SCRIPTS[program]);
      return { argv, env, container: null };
    },
    portsOfMachine: true,
    origin: (spec) => new RegExp(`^http://127\\.0\\.0\\.1:${spec.port}$`),
    fetching: async () => {
      const found = await platform.subprocess.findByEnvironment('VGW_TEST_FETCH', gatewayId);
      return found.filter((facts) => facts.pid === facts.group).length;
    },
    hasProcess,
    murder(replica) {
      platform.subprocess.signal(pidOf(stateDir, replica), 'SIGKILL');
    },
    // Between the fork and the end of exec a process shows no environment yet: then its record has to do.
    living: async (replica) => {
      const marked = (await members(replica)).some((facts) => facts.pid === facts.group);
      return marked || (await recordedIsLive(platform, stateDir, replica)) ? 1 : 0;
    },
    during: (promise) => promise,
    until,
    async close() {
      await current.close();
      for (const facts of await platform.subprocess.findByEnvironment('VGW_GATEWAY', gatewayId)) {
        platform.subprocess.signal(facts.pid, 'SIGKILL');
      }
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
      await platform.http.close();
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
}

async function recordedIsLive(platform: Platform, stateDir: string, replica: ReplicaRef): Promise<boolean> {
  let pid: number;
  try {
    pid = pidOf(stateDir, replica);
  } catch {
    // Nothing of it is left.
    return false;
  }
  const facts = await platform.subprocess.inspect(pid);
  return facts !== undefined && facts.state !== 'Z';
}

export function pidOf(stateDir: string, replica: ReplicaRef): number {
  const record = JSON.parse(
    readFileSync(join(stateDir, 'replicas', `${replica.id}.${replica.generation}.json`), 'utf8'),
  );
  return (record as { pid: number }).pid;
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('the condition did not come true');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export function hasProcess(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    // Gone.
    return false;
  }
}
