import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LaunchSpec } from '../../src/core/launch.ts';
import type { ReplicaRef } from '../../src/core/state.ts';
import { ProcessDriver } from '../../src/drivers/process/process-driver.ts';
import type { Platform, ProcessFacts } from '../../src/platform/platform.ts';
import { createPlatform } from '../../src/platform/system.ts';
import type { Bytes } from '../../src/units.ts';
import type { DriverHarness, Program } from './driver-contract.ts';

const COUNT = 'i=0; while [ $i -lt 100 ]; do echo "line $i"; i=$((i+1)); done';

const SCRIPTS: Readonly<Record<Exclude<Program, 'missing'>, string>> = {
  serve: 'echo started; exec sleep 600',
  'ignore-term': 'trap "" TERM; echo started; while :; do sleep 0.05; done',
  'exit-0': 'echo started; exit 0',
  'exit-3': 'echo started; exit 3',
  'count-to-100': `echo started; ${COUNT}; exec sleep 600`,
  'count-then-exit': `echo started; ${COUNT}; exit 0`,
};

export interface ProcessHarness extends DriverHarness {
  readonly driver: ProcessDriver;
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
    spec: async (program) =>
      program === 'missing' ? { ...(await shell('')), argv: ['/nowhere/no-such-engine'] } : shell(SCRIPTS[program]),
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
