/** Everything of the outside that a command touches: built from the real process in main.ts, from scraps in tests. */
import type { PlanAnswer } from '../admin/contract.ts';
import type { Config, ConfigProblem } from '../config/config.ts';
import type { ConfigSource, Gateway } from '../gateway.ts';
import type { LoadResult } from '../config/load.ts';
import type { BenchReport } from '../bench/report.ts';
import type { Finding } from '../doctor/finding.ts';
import type { Survey } from '../doctor/survey.ts';
import type { Platform } from '../platform/platform.ts';

export type Colour = 'red' | 'yellow' | 'green' | 'cyan' | 'gray' | 'bold' | 'dim';

export interface OutputStream {
  write(text: string): void;
  readonly isTerminal: boolean;
  /** Width of the terminal; 80 where there is none. */
  readonly columns: number;
  /** Height of the terminal; 24 where there is none. */
  readonly rows: number;
  /** Called when the terminal has changed its size. */
  onResize(run: () => void): Disposable;
  /** Coloured on a terminal that wants colour, else the text as it is. */
  style(colour: Colour, text: string): string;
}

export type SignalName = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** The logger of a served gateway. */
export interface ServeLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface ServedGateway {
  readonly gateway: Gateway;
  readonly log: ServeLog;
  /** Writes buffered log lines, synchronously. */
  flush(): void;
}

export interface World {
  readonly platform: Platform;
  /** The answer, for people or programs. */
  readonly out: OutputStream;
  /** Everything else. */
  readonly err: OutputStream;
  readonly fetch: typeof globalThis.fetch;
  readonly cwd: string;
  readonly version: string;
  /** `examples/demo.yaml` of the package. */
  readonly demoFile: string;
  /** Builds the gateway with its telemetry. Rejects when `state_dir` cannot be had. */
  readonly openGateway: (config: Config, source: ConfigSource) => Promise<ServedGateway>;
  /**
   * Where models would go on this machine with nothing running: devices are read, sizes are looked up. Of all models or
   * of one; `note` is told what could not be found out.
   */
  readonly planOffline: (config: Config, only: string | undefined, note: (text: string) => void) => Promise<PlanAnswer>;
  /** Everything that a gateway with this configuration depends on here; changes nothing. */
  readonly examine: (loaded: LoadResult) => Promise<readonly Finding[]>;
  /** What on this machine stands against the configuration, found out within seconds. */
  readonly checkMachine: (config: Config) => Promise<readonly ConfigProblem[]>;
  /** What there is to serve models with. */
  readonly survey: () => Promise<Survey>;
  /** Measures a gateway and a plain relay before one simulated engine. `note` is told how far it is. */
  readonly measure: (note: (text: string) => void, signal: AbortSignal) => Promise<BenchReport>;
  /** Keys as they are typed, unseen on the screen, until disposed; undefined where nobody types. */
  readonly onKey: ((run: (key: string) => void) => Disposable) | undefined;
  /** `run` is called when the process ends in whatever way but SIGKILL, before anything else is written; synchronous. */
  readonly onEnd: (run: () => void) => Disposable;
  readonly onSignal: (name: SignalName, run: () => void) => Disposable;
  readonly parentPid: () => number;
  /** Resolves when a bug reached the top of the process; never otherwise. */
  readonly crashed: Promise<unknown>;
  /** Aborted when nobody reads our output any more. */
  readonly outputGone: AbortSignal;
}

export const EXIT = {
  done: 0,
  /** A problem was found, a command failed, or a drain was cut short. */
  problem: 1,
  usage: 2,
  occupied: 3,
  bug: 70,
  hangup: 129,
  interrupted: 130,
  terminated: 143,
} as const;

/** An end with one sentence for the user. */
export class CliError extends Error {
  readonly exitCode: number;
  /** What would help; on a line of its own. */
  readonly hint: string | undefined;
  /** Of the error that the gateway answered, if it did. */
  readonly code: string | undefined;
  constructor(
    message: string,
    options: { readonly exitCode?: number; readonly hint?: string; readonly code?: string } = {},
  ) {
    super(message);
    this.name = 'CliError';
    this.exitCode = options.exitCode ?? EXIT.problem;
    this.hint = options.hint;
    this.code = options.code;
  }
}
