import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SOURCE = join(ROOT, 'tools/fake-vllm');
let built: string | undefined;

/**
 * Path of the compiled stand-in (`main.js`) or its `nvidia-smi.js`. Compiled once per content of its sources, into a
 * folder nobody writes to again: a build of the whole project beside the tests cannot pull files away from under them.
 */
export function fakeVllmPath(entry: 'main.js' | 'nvidia-smi.js' | 'python3.js' = 'main.js'): string {
  built ??= compile();
  return join(built, 'tools/fake-vllm', entry);
}

function compile(): string {
  const names = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((path) =>
    /\.(?:ts|json)$/.test(path),
  );
  const hash = createHash('sha256');
  for (const name of names.sort()) hash.update(name).update(readFileSync(join(SOURCE, name)));
  const target = join(ROOT, '.cache/fake-vllm', hash.digest('hex').slice(0, 16));
  if (existsSync(target)) return target;
  const draft = `${target}.${process.pid}`;
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '-p', join(SOURCE, 'tsconfig.json'), '--outDir', draft];
  const run = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`fake-vllm does not compile:\n${run.stdout}${run.stderr}`);
  try {
    renameSync(draft, target);
  } catch (error) {
    // Another test file was quicker.
    if (!existsSync(target)) throw error;
    rmSync(draft, { recursive: true });
  }
  return target;
}

export interface FakeExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface FakeLaunch {
  readonly repo?: string;
  readonly flags?: readonly string[];
  /** `FAKE_VLLM_START_MS` is 50 unless given. */
  readonly env?: Readonly<Record<string, string>>;
  /** A free one is taken when absent. */
  readonly port?: number;
}

/** A running stand-in, in a process group of its own. */
export class FakeEngine {
  readonly port: number;
  readonly url: string;
  readonly child: ChildProcess;
  readonly exit: Promise<FakeExit>;
  private text = '';

  constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.child = child;
    this.exit = once(child, 'exit').then(([code, signal]): FakeExit => ({ code, signal }));
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (data: string) => {
        this.text += data;
      });
    }
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Everything printed so far, both streams. */
  get output(): string {
    return this.text;
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Resolves once the port accepts; throws with the output when the process ends first. */
  async ready(): Promise<void> {
    while (!(await accepts(this.port))) {
      if (!this.running) throw new Error(`fake-vllm ended before it was ready:\n${this.text}`);
    }
  }

  async said(text: string): Promise<void> {
    while (!this.text.includes(text)) {
      if (!this.running) throw new Error(`fake-vllm ended without saying '${text}':\n${this.text}`);
      await turn();
    }
  }

  async stats(): Promise<Record<string, number>> {
    return (await (await fetch(`${this.url}/__fake/stats`)).json()) as Record<string, number>;
  }

  /** Ends the whole group and waits for the leader. */
  async kill(): Promise<void> {
    if (!this.running) return;
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      this.child.kill('SIGKILL');
    }
    await this.exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

export async function launchFake(launch: FakeLaunch = {}): Promise<FakeEngine> {
  const port = launch.port ?? (await freePort());
  const args = ['serve', launch.repo ?? '/models/tiny', '--host', '127.0.0.1', '--port', String(port)];
  const child = spawn(process.execPath, [fakeVllmPath(), ...args, ...(launch.flags ?? [])], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '', FAKE_VLLM_START_MS: '50', ...launch.env },
  });
  return new FakeEngine(port, child);
}

/** The same, ready. */
export async function startFake(launch: FakeLaunch = {}): Promise<FakeEngine> {
  const engine = await launchFake(launch);
  await engine.ready();
  return engine;
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Whether somebody listens; takes a moment either way, so that a loop over it does not spin. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      done(true);
    });
    socket.once('error', () => void turn().then(() => done(false)));
  });
}

/** Lets a few milliseconds of other work pass. */
function turn(): Promise<void> {
  return new Promise((done) => {
    setTimeout(done, 5);
  });
}
