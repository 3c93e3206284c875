/** A copy of the working tree as a fresh clone would be, and npm commands run in it as a user would run them. */
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { projectFiles, ROOT } from './source-tree.ts';

export interface Command {
  /** Of the process that was spawned: npm's own, when npm was. */
  readonly pid: number;
  /** What it wrote so far, stdout and stderr together. */
  output(): string;
  stdout(): string;
  /** Resolves when it ended. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

export interface Clone extends Disposable {
  readonly path: string;
  /** `run('npm', ['start'])` in the clone. `env` comes on top of a small, clean environment. */
  run(command: string, args: readonly string[], env?: Readonly<Record<string, string>>): Command;
  /** Command lines of living processes that were started from the clone (Linux only, empty elsewhere). */
  processes(): readonly string[];
}

export function cloneWorkingTree(): Clone {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'vllm-gateway-clone-')));
  for (const file of projectFiles()) {
    mkdirSync(dirname(join(path, file)), { recursive: true });
    cpSync(join(ROOT, file), join(path, file));
  }
  const running = new Set<number>();
  return {
    path,
    run: (command, args, env = {}) => run(path, running, command, args, env),
    processes: () => processesUnder(path).map(({ line }) => line),
    [Symbol.dispose]: () => {
      for (const pid of [...running, ...processesUnder(path).map((found) => found.pid)]) kill(pid);
      rmSync(path, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

function run(
  cwd: string,
  running: Set<number>,
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Command {
  const child = spawn(command, args, {
    cwd,
    env: { ...cleanEnvironment(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const pid = child.pid ?? 0;
  let all = '';
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    all += chunk.toString();
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    all += chunk.toString();
  });
  running.add(pid);
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      running.delete(pid);
      resolve({ code, signal });
    });
  });
  return { pid, output: () => all, stdout: () => out, ended };
}

/** Without what the running test suite, or the npm around it, put there. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const own = /^(npm_|VITEST|TEST$|NODE_ENV$|INIT_CWD$|GATEWAY_|VLLM_)/i;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)));
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

function processesUnder(path: string): readonly { readonly pid: number; readonly line: string }[] {
  if (!existsSync('/proc')) return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const cwd = readlinkSync(`/proc/${name}/cwd`);
        const line = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return cwd === path || cwd.startsWith(`${path}/`) ? [{ pid: Number(name), line: `${name} ${line}` }] : [];
      } catch {
        return []; // ended while we looked, or not ours
      }
    });
}

/** A port on 127.0.0.1 that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
