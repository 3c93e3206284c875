import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { createServer } from 'node:net';
import type { Readable } from 'node:stream';
import { MIB, type Bytes } from '../units.ts';
import { systemClock } from './clock.ts';
import type { Child, ChildExit, Subprocess } from './platform.ts';
import { findByEnvironment, inspect, liveProcesses } from './processes.ts';

const DEFAULT_MAX_OUTPUT: Bytes = MIB;
/** After its end a command's pipes are read this much longer: a grandchild may hold them open for ever. */
const PIPE_GRACE = 250;

export const systemSubprocess: Subprocess = {
  async spawn(argv, options) {
    const { process: child, exited } = await start(argv, {
      stdio: ['ignore', options.output, options.output],
      env: options.env,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    child.unref();
    return { pid: pidOf(child), exited } satisfies Child;
  },

  async run(argv, options) {
    const { process: child, exited } = await start(argv, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: options.env ?? (process.env as Readonly<Record<string, string>>),
    });
    const limit = options.maxOutput ?? DEFAULT_MAX_OUTPUT;
    const stdout = collect(child.stdout, limit);
    const stderr = collect(child.stderr, limit);
    const closed = new Promise<void>((resolve) => {
      child.once('close', resolve);
    });
    let timedOut = false;
    const kill = (): void => void signal(-pidOf(child), 'SIGKILL');
    using _limit = systemClock.after(options.timeout, () => {
      timedOut = true;
      kill();
    });
    if (options.signal?.aborted === true) kill();
    options.signal?.addEventListener('abort', kill, { once: true });
    const exit = await exited.finally(() => options.signal?.removeEventListener('abort', kill));
    await Promise.race([closed, systemClock.sleep(PIPE_GRACE)]);
    child.stdout?.destroy();
    child.stderr?.destroy();
    return { ...exit, stdout: stdout(), stderr: stderr(), timedOut };
  },

  signal,
  inspect,
  findByEnvironment,

  async group(pgid) {
    return (await liveProcesses()).filter((facts) => facts.group === pgid);
  },

  portIsFree(host, port) {
    return new Promise((resolve) => {
      const server = createServer();
      server.unref();
      server.once('error', () => {
        resolve(false);
      });
      server.listen({ host, port, exclusive: true }, () => {
        server.close(() => {
          resolve(true);
        });
      });
    });
  },
};

interface StartOptions {
  readonly stdio: StdioOptions;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Resolves when the process exists. `exited` hangs on `exit`, which comes even while others hold its descriptors. */
async function start(
  argv: readonly string[],
  options: StartOptions,
): Promise<{ readonly process: ChildProcess; readonly exited: Promise<ChildExit> }> {
  const [command, ...rest] = argv;
  if (command === undefined || command === '') throw new TypeError('no command to run');
  const child = spawn(command, rest, {
    stdio: options.stdio,
    env: { ...options.env },
    detached: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const exited = new Promise<ChildExit>((resolve) => {
    child.once('exit', (code, name) => {
      resolve({ code, signal: name });
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  // A later `error` event reports a failed kill of ours, which `signal` never does through the child.
  child.on('error', () => {});
  return { process: child, exited };
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error('a started process has no pid');
  return child.pid;
}

function collect(stream: Readable | null, limit: Bytes): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    if (size >= limit) return;
    chunks.push(chunk.subarray(0, limit - size));
    size += chunk.length;
  });
  stream?.on('error', () => {});
  return () => Buffer.concat(chunks).toString('utf8');
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  // 0 and -1 are "my own group" and "everything I may signal".
  if (!Number.isSafeInteger(pid) || pid === 0 || pid === -1) throw new RangeError(`refusing to signal pid ${pid}`);
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ESRCH') return false;
    throw error;
  }
}
