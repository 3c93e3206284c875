/** The real program as a child process, for what only a whole process can show: signals, exit codes, a sudden death. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { builtProgram } from './built-program.ts';
import { killEngines } from './engine-processes.ts';
import { eventually } from './eventually.ts';
import { withWorkers } from './workers.ts';

export interface GatewayProcessOptions {
  /** YAML without `server`; models and drivers. */
  readonly yaml: string;
  /** Lines under `server:`, indented by two. */
  readonly server?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs the program: its words stand before it. */
  readonly through?: readonly string[];
  /** Options of Node itself. */
  readonly node?: readonly string[];
  /** Of an earlier process: what it left is found again. */
  readonly folder?: string;
}

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface LogEntry {
  readonly time: string;
  readonly msg: string;
  readonly event?: string;
  readonly model?: string | null;
  readonly replica?: string | null;
  readonly url?: string;
}

export class GatewayProcess implements AsyncDisposable {
  readonly folder: string;
  readonly exit: Promise<ProcessExit>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';

  constructor(folder: string, child: ChildProcess) {
    this.folder = folder;
    this.#child = child;
    this.exit = once(child, 'exit').then(([code, signal]): ProcessExit => ({ code, signal }));
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the gateway was not spawned');
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get stateDir(): string {
    return join(this.folder, 'data');
  }

  /** Identity in `state_dir`, the mark of every engine it launched; null before it was written. */
  get gatewayId(): string | null {
    const path = join(this.stateDir, 'gateway.id');
    return existsSync(path) ? readFileSync(path, 'utf8').trim() : null;
  }

  get log(): readonly LogEntry[] {
    return this.#stdout
      .split('\n')
      .flatMap((line) => (line.startsWith('{') && line.endsWith('}') ? [JSON.parse(line) as LogEntry] : []));
  }

  get url(): string {
    const url = this.log.find(({ msg }) => msg === 'listening')?.url;
    if (url === undefined) throw new Error(`the gateway does not listen yet\n${this.#stdout}${this.#stderr}`);
    return url.replace(/\/$/, '');
  }

  decisions(kind: string): readonly LogEntry[] {
    return this.log.filter(({ event }) => event === kind);
  }

  async status(): Promise<Record<string, never>> {
    return (await fetch(`${this.url}/gateway/status`)).json() as Promise<Record<string, never>>;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Its output stays in the pipe from now on. */
  stopReading(): void {
    this.#child.stdout?.pause();
    this.#child.stderr?.pause();
  }

  /** Dies from one moment to the next. */
  async kill(): Promise<void> {
    if (this.running) this.signal('SIGKILL');
    await this.exit;
  }

  /** Resolves when it listens; rejects with its output when it ends first. */
  listening(): Promise<void> {
    return this.#said('listening');
  }

  /** The same, when it knows its devices and what an earlier run left. */
  started(): Promise<void> {
    return this.#said('models can start');
  }

  async #said(text: string): Promise<void> {
    await eventually(`the gateway says '${text}' or ends`, () => {
      return !this.running || this.log.some(({ msg }) => msg === text);
    });
    if (!this.running) throw new Error(`the gateway ended before '${text}'\n${this.#stdout}${this.#stderr}`);
  }

  /** Ends it, its engines and its folder, whatever state a test left them in. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    const { gatewayId } = this;
    if (gatewayId !== null) await killEngines(gatewayId);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Starts it without waiting. */
export async function spawnGateway(options: GatewayProcessOptions): Promise<GatewayProcess> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'vgw-process-')));
  const file = join(folder, 'gateway.yaml');
  const server = `server:\n  listen: 127.0.0.1:0\n  state_dir: ${join(folder, 'data')}\n${withWorkers(options.server ?? '')}`;
  await writeFile(file, `${server}\n${options.yaml}\n`);
  return runProgram(folder, ['serve', '--config', file], options.env, options);
}

/** The same, ready to start models. */
export async function startGateway(options: GatewayProcessOptions): Promise<GatewayProcess> {
  const gateway = await spawnGateway(options);
  try {
    await gateway.started();
    return gateway;
  } catch (error) {
    await gateway[Symbol.asyncDispose]();
    throw error;
  }
}

export function runProgram(
  folder: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  { through = [], node = [] }: Pick<GatewayProcessOptions, 'through' | 'node'> = {},
): GatewayProcess {
  const [command = process.execPath, ...words] = [...through, process.execPath, ...node, builtProgram(), ...args];
  const child = spawn(command, words, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', VLLM_GATEWAY_RECOUNT: '1', ...env },
  });
  return new GatewayProcess(folder, child);
}
