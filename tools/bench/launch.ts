/** Processes of a measurement: started, waited for, ended. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pin, processTree } from './machine.ts';
import type { Running } from './targets.ts';

export const HERE = fileURLToPath(new URL('.', import.meta.url));
export const ROOT = join(HERE, '..', '..');
/** What is measured has the first CPU; load and engine share the second. */
const PROXY_CPU = 0;
const LOAD_CPU = 1;
const START_LIMIT_MS = 30_000;
const ASK_LIMIT_MS = 2_000;
const END_LIMIT_MS = 10_000;

/** Whether processes stay on their CPUs: less noise on a machine of one's own, more where others pin as well. */
export const pinning: { on: boolean } = { on: false };

export function pinToLoad(pid: number): void {
  if (pinning.on) for (const one of processTree([pid])) pin(one, LOAD_CPU);
}

export function pinToProxy(pid: number): void {
  if (pinning.on) for (const one of processTree([pid])) pin(one, PROXY_CPU);
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

export const scratch = (): string => mkdtempSync(join(tmpdir(), 'vgw-bench-'));

export const folderOf = (command: string): string | undefined =>
  (process.env['PATH'] ?? '').split(':').find((folder) => existsSync(join(folder, command)));

export const answers = (port: number, path: string): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(ASK_LIMIT_MS) }).then((answer) => answer.ok);

/** `child`: waited for no longer once it is gone. Errors when it is not so within 30 s. */
export async function until(condition: () => Promise<boolean>, what: string, child?: ChildProcess): Promise<void> {
  const deadline = performance.now() + START_LIMIT_MS;
  while (performance.now() < deadline) {
    if (await condition().catch(() => false)) return;
    if (child !== undefined && hasEnded(child)) throw new Error(`${what} ended: ${child.exitCode ?? child.signalCode}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`${what} was not ready within ${START_LIMIT_MS / 1_000} s`);
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

export interface Launched {
  readonly child: ChildProcess;
  readonly folder: string;
}

/** Whatever ends the measurement, what it started ends with it; a gateway ends its engines itself. */
const live = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of live) child.kill('SIGTERM');
});
for (const [signal, code] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
  ['SIGHUP', 129],
] as const)
  process.on(signal, () => process.exit(code));

/** `channel`: the program answers questions of its parent (in-gateway.mjs). */
export function launch(
  argv: readonly string[],
  folder: string,
  { env = {}, channel = false }: { env?: Readonly<Record<string, string>>; channel?: boolean } = {},
): Launched {
  const [command = '', ...args] = argv;
  const child = spawn(command, args, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', process.env['BENCH_VERBOSE'] === undefined ? 'ignore' : 'inherit'].concat(
      channel ? ['ipc'] : [],
    ) as ['ignore', 'ignore', 'ignore' | 'inherit'],
  });
  live.add(child);
  child.on('exit', () => live.delete(child));
  // A command that cannot be started is told by the wait for it, which sees its end.
  child.on('error', () => child.kill());
  if (child.pid !== undefined) pinToProxy(child.pid);
  return { child, folder };
}

export interface RunningOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Of the process tree, those that are engines. */
  readonly isEngine?: (pid: number) => boolean;
  readonly channel?: boolean;
}

export function running({ child, folder }: Launched, port: number, options: RunningOptions = {}): Running {
  const { headers = {}, isEngine = () => false, channel = false } = options;
  const tree = (): number[] => (child.pid === undefined ? [] : processTree([child.pid]));
  return {
    port,
    headers,
    pids: () => tree().filter((pid) => !isEngine(pid)),
    engines: () => tree().filter(isEngine),
    async loop() {
      if (!channel || !child.connected) return null;
      const answer = once(child, 'message', { signal: AbortSignal.timeout(ASK_LIMIT_MS) });
      child.send('loop');
      const [told] = (await answer) as [{ p99: number }];
      return told.p99;
    },
    async stop() {
      if (!hasEnded(child)) {
        const gone = once(child, 'exit');
        child.kill('SIGTERM');
        const late = setTimeout(() => child.kill('SIGKILL'), END_LIMIT_MS);
        await gone;
        clearTimeout(late);
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
