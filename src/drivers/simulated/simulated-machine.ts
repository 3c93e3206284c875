/**
 * A machine that exists only in memory: what runs on it survives a driver object, as real processes survive the gateway.
 * Time is the clock's, so on a virtual clock a start of an hour takes no time.
 */
import type { FetchSpec, LaunchSpec } from '../../core/launch.ts';
import type { Endpoint } from '../../core/state.ts';
import type { StartFailureCause } from '../../errors.ts';
import type { Clock } from '../../platform/platform.ts';
import type { Milliseconds } from '../../units.ts';
import type { ReplicaIdentity } from '../driver.ts';

/** How an engine behaves. Everything left out is the well-behaved default. */
export interface SimulatedScript {
  /** The launch itself is refused. */
  readonly refuse?: { readonly failure: StartFailureCause; readonly message: string };
  /** From the launch to ready. */
  readonly startMs?: Milliseconds;
  /** Lines of its log, each so long after the launch. */
  readonly lines?: readonly { readonly at: Milliseconds; readonly text: string }[];
  /** Ends by itself, so long after the launch. */
  readonly exit?: { readonly at: Milliseconds; readonly code: number | null; readonly signal?: string };
  /** What SIGTERM does: it ends at once, after a while, or never hears it. */
  readonly onTerm?: 'exit' | 'ignore' | { readonly after: Milliseconds };
  /** Not even SIGKILL ends it: hung in the kernel. */
  readonly unkillable?: boolean;
}

/** How the making present of image and weights goes. Everything left out: it is all there already. */
export interface SimulatedFetch {
  readonly steps?: readonly {
    readonly after: Milliseconds;
    readonly phase: 'image' | 'weights';
    readonly fraction: number | null;
  }[];
  /** After the steps it stands still until it is aborted. */
  readonly hang?: boolean;
  /** After the steps it fails. */
  readonly refuse?: { readonly failure: StartFailureCause; readonly message: string };
  readonly image?: string;
}

export interface SimulatedExit {
  readonly code: number | null;
  readonly signal: string | null;
}

const DEFAULT_START: Milliseconds = 2_000;
const FIRST_PID = 100_000;
let pids = FIRST_PID;

export class SimulatedProcess {
  readonly identity: ReplicaIdentity;
  readonly spec: LaunchSpec;
  readonly script: SimulatedScript;
  readonly endpoint: Endpoint;
  readonly launchedAt: Milliseconds;
  readonly log: string[] = [];
  exit: SimulatedExit | null = null;
  /** It answers requests now. */
  ready = false;
  readonly #clock: Clock;
  readonly #timers: Disposable[] = [];
  #changed: (() => void)[] = [];

  constructor(clock: Clock, spec: LaunchSpec, identity: ReplicaIdentity, script: SimulatedScript) {
    this.#clock = clock;
    this.spec = spec;
    this.identity = identity;
    this.script = script;
    this.launchedAt = clock.wall();
    pids += 1;
    this.endpoint = { origin: `http://${spec.host}:${spec.port ?? 80}`, pathPrefix: '', pid: pids, container: null };
    this.#after(script.startMs ?? DEFAULT_START, () => {
      this.ready = true;
      this.#notify();
    });
    for (const line of script.lines ?? []) this.#after(line.at, () => this.write(line.text));
    const { exit } = script;
    if (exit) this.#after(exit.at, () => this.end(exit.code, exit.signal ?? null));
  }

  write(text: string): void {
    if (this.exit !== null) return;
    this.log.push(text);
    this.#notify();
  }

  end(code: number | null, signal: string | null = null): void {
    if (this.exit !== null) return;
    this.exit = { code, signal };
    this.ready = false;
    for (const timer of this.#timers.splice(0)) timer[Symbol.dispose]();
    this.#notify();
  }

  terminate(): void {
    const { onTerm = 'exit' } = this.script;
    if (onTerm === 'ignore') return;
    if (onTerm === 'exit') this.end(0);
    else this.#after(onTerm.after, () => this.end(0));
  }

  kill(): void {
    if (this.script.unkillable !== true) this.end(null, 'SIGKILL');
  }

  /** Calls once at the next line, state change or end. */
  onChange(run: () => void): void {
    this.#changed.push(run);
  }

  #after(delay: Milliseconds, run: () => void): void {
    if (this.exit === null) this.#timers.push(this.#clock.after(delay, run));
  }

  #notify(): void {
    const changed = this.#changed;
    this.#changed = [];
    for (const run of changed) run();
  }
}

export class SimulatedMachine {
  readonly clock: Clock;
  readonly processes = new Map<string, SimulatedProcess>();
  /** Kept after their engines are gone. */
  readonly logs = new Map<string, readonly string[]>();
  /** Decides how the next engine behaves. */
  script: (spec: LaunchSpec, identity: ReplicaIdentity) => SimulatedScript;
  /** Fetches under way. */
  fetching = 0;
  /** Decides how the next fetch goes. */
  fetch: (spec: FetchSpec) => SimulatedFetch = () => ({});

  constructor(clock: Clock, script: SimulatedMachine['script'] = () => ({})) {
    this.clock = clock;
    this.script = script;
  }

  /** The living engine that listens there, for a scripted HTTP client. */
  listening(origin: string): SimulatedProcess | undefined {
    for (const process of this.processes.values()) {
      if (process.exit === null && process.ready && process.endpoint.origin === origin) return process;
    }
    return undefined;
  }
}
