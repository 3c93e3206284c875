/** Processes that exist only on paper: pids, groups, signals and environments, but nothing runs. */
import type { Child, ChildExit, Clock, ProcessFacts, Subprocess } from '../../src/platform/platform.ts';
import type { Milliseconds } from '../../src/units.ts';
import type { MemoryFiles } from './memory-files.ts';

type SignalName = Parameters<Subprocess['signal']>[1];

export interface ScriptedProcessOptions {
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly parent?: number;
  readonly group?: number;
  readonly command?: string;
  readonly logPath?: string;
}

export class ScriptedProcess implements Child {
  readonly pid: number;
  readonly startTime: number;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly parent: number;
  readonly group: number;
  readonly command: string;
  readonly logPath: string | undefined;
  readonly exited: Promise<ChildExit>;
  readonly signals: SignalName[] = [];
  state = 'S';
  alive = true;
  /** What a signal does; the default dies of SIGTERM, SIGINT and SIGKILL. SIGKILL cannot be caught. */
  onSignal: (name: SignalName, process: ScriptedProcess) => void = (name, process) => {
    if (name === 'SIGTERM' || name === 'SIGINT') process.exit(null, name);
  };
  readonly #resolve: (exit: ChildExit) => void;

  constructor(pid: number, startTime: number, options: ScriptedProcessOptions) {
    const { promise, resolve } = deferred<ChildExit>();
    this.pid = pid;
    this.startTime = startTime;
    this.argv = options.argv ?? [];
    this.env = options.env ?? {};
    this.parent = options.parent ?? 1;
    this.group = options.group ?? pid;
    this.command = options.command ?? options.argv?.[0] ?? 'process';
    this.logPath = options.logPath;
    this.exited = promise;
    this.#resolve = resolve;
  }

  exit(code: number | null, signal: string | null = null): void {
    if (!this.alive) return;
    this.alive = false;
    this.#resolve({ code, signal });
  }

  receive(name: SignalName): void {
    this.signals.push(name);
    if (name === 'SIGKILL' && this.state !== 'D') this.exit(null, name);
    else if (name !== 'SIGKILL') this.onSignal(name, this);
  }

  facts(): ProcessFacts {
    const { pid, parent, group, startTime, state, command } = this;
    return { pid, parent, group, startTime, state, command };
  }
}

export class ScriptedSubprocess implements Subprocess {
  readonly #clock: Clock;
  readonly #files: MemoryFiles;
  readonly processes = new Map<number, ScriptedProcess>();
  readonly busyPorts = new Set<number>();
  /** Called with each new process before `spawn` resolves; throw to refuse it. */
  onSpawn: (process: ScriptedProcess) => void = () => {};
  onRun: (argv: readonly string[]) => { code: number; stdout: string; stderr?: string } = () => ({
    code: 127,
    stdout: '',
  });
  #nextPid = 1000;

  constructor(clock: Clock, files: MemoryFiles) {
    this.#clock = clock;
    this.#files = files;
  }

  async spawn(
    argv: readonly string[],
    options: { readonly env: Readonly<Record<string, string>>; readonly output: number },
  ): Promise<Child> {
    const logPath = this.#files.pathOf(options.output);
    const started = this.add({ argv, env: options.env, ...(logPath === undefined ? {} : { logPath }) });
    try {
      this.onSpawn(started);
    } catch (error) {
      this.processes.delete(started.pid);
      throw error;
    }
    return started;
  }

  /** A process that nobody spawned through this object: a grandchild, a stranger, a survivor of an earlier gateway. */
  add(options: ScriptedProcessOptions): ScriptedProcess {
    const pid = this.#nextPid++;
    const added = new ScriptedProcess(pid, Math.floor(this.#clock.monotonic() / 10) + pid, options);
    this.processes.set(pid, added);
    return added;
  }

  async run(
    argv: readonly string[],
    _options: { readonly timeout: Milliseconds },
  ): Promise<ChildExit & { readonly stdout: string; readonly stderr: string; readonly timedOut: boolean }> {
    const { code, stdout, stderr } = this.onRun(argv);
    return { code, signal: null, stdout, stderr: stderr ?? '', timedOut: false };
  }

  signal(pid: number, name: SignalName): boolean {
    const targets = this.#live().filter((known) => (pid < 0 ? known.group === -pid : known.pid === pid));
    for (const target of targets) target.receive(name);
    return targets.length > 0;
  }

  async inspect(pid: number): Promise<ProcessFacts | undefined> {
    const known = this.processes.get(pid);
    return known?.alive === true ? known.facts() : undefined;
  }

  async findByEnvironment(name: string, value: string): Promise<readonly ProcessFacts[]> {
    return this.#live()
      .filter((known) => known.env[name] === value && known.state !== 'Z')
      .map((known) => known.facts());
  }

  async group(pgid: number): Promise<readonly ProcessFacts[]> {
    return this.#live()
      .filter((known) => known.group === pgid && known.state !== 'Z')
      .map((known) => known.facts());
  }

  async portIsFree(_host: string, port: number): Promise<boolean> {
    return !this.busyPorts.has(port);
  }

  #live(): readonly ScriptedProcess[] {
    return [...this.processes.values()].filter((known) => known.alive);
  }
}

function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
