/** The command line without a process: output captured, signals sent by call, a gateway that a test scripts. */
import type { BenchReport } from '../../src/bench/report.ts';
import type { Finding } from '../../src/doctor/finding.ts';
import type { Survey } from '../../src/doctor/survey.ts';
import type { PlanAnswer } from '../../src/admin/contract.ts';
import { runCli } from '../../src/cli/run-cli.ts';
import type { OutputStream, ServedGateway, SignalName, World } from '../../src/cli/world.ts';
import type { Config, ConfigProblem } from '../../src/config/config.ts';
import type { ReloadReport, ReloadTrigger } from '../../src/config/reload-report.ts';
import type { ConfigSource, Gateway } from '../../src/gateway.ts';
import { createTestPlatform, type TestPlatform } from './test-platform.ts';

export interface CapturedStream extends OutputStream {
  text: string;
  columns: number;
  rows: number;
  /** Tells that the size has changed. */
  resized(): void;
}

/** Styles are written as `<red>text</red>` on a terminal, so that a test can see them. */
function captured(isTerminal: boolean): CapturedStream {
  const listeners = new Set<() => void>();
  return {
    text: '',
    write(text) {
      this.text += text;
    },
    isTerminal,
    columns: 80,
    rows: 24,
    onResize: (run) => {
      listeners.add(run);
      return { [Symbol.dispose]: () => void listeners.delete(run) };
    },
    resized: () => {
      for (const run of listeners) run();
    },
    style: (colour, text) => (isTerminal ? `<${colour}>${text}</${colour}>` : text),
  };
}

/** What a test makes the gateway do. */
export class ScriptedGateway implements Gateway {
  readonly id = 'gw-1';
  config: Config | undefined;
  /** Where it would read another configuration from. */
  source: ConfigSource | undefined;
  readonly calls: string[] = [];
  readonly logged: { readonly level: string; readonly fields: Record<string, unknown>; readonly message: string }[] =
    [];
  starting: () => Promise<void> = async () => undefined;
  draining: () => Promise<'clean' | 'cut'> = async () => 'clean';
  reloading: () => Promise<ReloadReport> = async () => ({ result: 'unchanged', version: 1, diff: null, problems: [] });
  opening: () => Promise<void> = async () => undefined;

  async start(listening: Parameters<Gateway['start']>[0]): ReturnType<Gateway['start']> {
    this.calls.push('start');
    await this.starting();
    if (!this.config) throw new Error('not opened');
    const bound = { listen: this.config.server.listen, adminListen: this.config.server.adminListen };
    listening?.(bound);
    return bound;
  }

  drain(): Promise<'clean' | 'cut'> {
    this.calls.push('drain');
    return this.draining();
  }

  reload(trigger: ReloadTrigger): Promise<ReloadReport> {
    this.calls.push(`reload ${trigger}`);
    return this.reloading();
  }

  async close(): Promise<void> {
    this.calls.push('close');
  }
}

export interface CliBenchOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly terminal?: boolean;
  readonly parentPid?: () => number;
}

export class CliBench {
  readonly out: CapturedStream;
  readonly err: CapturedStream;
  readonly platform: TestPlatform;
  readonly gateway = new ScriptedGateway();
  /** What `plan --config` finds, and what it was asked for. */
  plan: PlanAnswer = { placement_mode: 'budget', eviction: 'lru', devices: {}, models: {} };
  readonly planned: { readonly models: readonly string[]; readonly only: string | undefined }[] = [];
  /** What `doctor`, `check`, `init` and `bench` find. */
  findings: readonly Finding[] = [];
  machineProblems: readonly ConfigProblem[] = [];
  survey: Survey = { gpus: [], gpuNote: 'there is no such command', dockerTrouble: null, vllm: null, cached: [] };
  measure: (note: (text: string) => void, signal: AbortSignal) => Promise<BenchReport> = () =>
    Promise.reject(new Error('nothing was scripted'));
  readonly #keys = new Set<(key: string) => void>();
  readonly #atEnd = new Set<() => void>();
  readonly #signals = new Map<SignalName, Set<() => void>>();
  readonly #outputGone = new AbortController();
  readonly #world: World;
  crash: (error: unknown) => void = () => undefined;

  constructor(options: CliBenchOptions = {}) {
    this.out = captured(options.terminal === true);
    this.err = captured(options.terminal === true);
    this.platform = createTestPlatform({ env: options.env ?? {} });
    this.#world = {
      platform: this.platform,
      out: this.out,
      err: this.err,
      fetch: globalThis.fetch,
      cwd: '/srv',
      version: '0.1.0',
      demoFile: '/package/examples/demo.yaml',
      openGateway: (config, source) => this.#open(config, source),
      planOffline: async (config, only, note) => {
        this.planned.push({ models: [...config.models.keys()], only });
        note('a note');
        return this.plan;
      },
      examine: async () => this.findings,
      checkMachine: async () => this.machineProblems,
      survey: async () => this.survey,
      measure: (note, signal) => this.measure(note, signal),
      onKey: (run) => {
        this.#keys.add(run);
        return { [Symbol.dispose]: () => void this.#keys.delete(run) };
      },
      onEnd: (run) => {
        this.#atEnd.add(run);
        return { [Symbol.dispose]: () => void this.#atEnd.delete(run) };
      },
      onSignal: (name, run) => {
        const listeners = this.#signals.get(name) ?? new Set();
        this.#signals.set(name, listeners.add(run));
        return { [Symbol.dispose]: () => void listeners.delete(run) };
      },
      parentPid: options.parentPid ?? (() => 77),
      crashed: new Promise((resolve) => {
        this.crash = resolve;
      }),
      outputGone: this.#outputGone.signal,
    };
  }

  run(...args: readonly string[]): Promise<number> {
    return runCli(args, this.#world);
  }

  signal(name: SignalName): void {
    for (const listener of this.#signals.get(name) ?? []) listener();
  }

  press(key: string): void {
    for (const listener of this.#keys) listener(key);
  }

  /** The process ends in another way than by returning. */
  endProcess(): void {
    for (const run of this.#atEnd) run();
  }

  /** Somebody still wants to hear of keys or of the end. */
  get holdsTerminal(): boolean {
    return this.#keys.size + this.#atEnd.size > 0;
  }

  listens(name: SignalName): boolean {
    return (this.#signals.get(name)?.size ?? 0) > 0;
  }

  loseOutput(): void {
    this.#outputGone.abort();
  }

  async #open(config: Config, source: ConfigSource): Promise<ServedGateway> {
    this.gateway.config = config;
    this.gateway.source = source;
    await this.gateway.opening();
    const log = (level: string) => (fields: object, message: string) =>
      void this.gateway.logged.push({ level, fields: fields as Record<string, unknown>, message });
    return {
      gateway: this.gateway,
      log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
      flush: () => undefined,
    };
  }
}
