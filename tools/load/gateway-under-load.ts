/** The built program as a child process, with what the load has to know of it: from outside, and of its inside by `inside.mjs`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { StatusAnswer } from '../../src/admin/contract.ts';
import { killEngines } from '../../test/support/engine-processes.ts';
import { eventually } from '../../test/support/eventually.ts';
import { type PrometheusSample, samplesOf } from '../../test/support/prometheus-text.ts';
import { ConnectionPool } from './connection.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAM = join(ROOT, 'dist/src/main.js');
const INSIDE = fileURLToPath(new URL('inside.mjs', import.meta.url));
const STARTED_WITHIN_MS = 60_000;
const ENDED_WITHIN_MS = 45_000;
const KIB = 1_024;
const KEPT_LINES = 20;
/** Engines get ports of their own in each run, so that runs side by side do not meet. */
const PORTS = { first: 10_000, ranges: 90, each: 200 };

export interface LoadModel {
  readonly name: string;
  /** `FAKE_VLLM_…` without the prefix. */
  readonly knobs?: Readonly<Record<string, string | number>>;
  readonly keys?: Readonly<Record<string, unknown>>;
}

export interface LoadSetup {
  readonly models: readonly LoadModel[];
  readonly limits?: Readonly<Record<string, unknown>>;
  readonly server?: Readonly<Record<string, unknown>>;
  readonly devices?: Readonly<Record<string, unknown>>;
  /** Checks the core's books at every step, which costs time. */
  readonly recount?: boolean;
}

export interface Inside {
  readonly memory: NodeJS.MemoryUsage;
  readonly resources: Readonly<Record<string, number>>;
  /** Living objects by class. */
  readonly classes: Readonly<Record<string, number>>;
  /** On every emitter, target and abort signal together. */
  readonly listeners: number;
  readonly timers: number;
}

export interface LogLine {
  readonly time: string;
  readonly msg: string;
  readonly event?: string;
  readonly model?: string | null;
  readonly replica?: string | null;
  readonly url?: string;
}

/** Access lines, and everything else that is worth a look afterwards. */
class Log {
  readonly outcomes: Record<string, number> = {};
  /** Access lines in their order, once somebody wants them. */
  kept: string[] | null = null;
  readonly oddLines: Record<string, string[]> = {};
  readonly decisions: LogLine[] = [];
  readonly errors: string[] = [];
  said = new Set<string>();
  url: string | null = null;
  /** Of `performance.now()`, of the last process. */
  listeningAt = Infinity;

  /** The first of each outcome are kept whole. */
  private odd(outcome: string, text: string): void {
    const kept = (this.oddLines[outcome] ??= []);
    if (kept.length < KEPT_LINES) kept.push(text);
  }

  line(text: string): void {
    if (text.includes('"msg":"request"')) {
      this.kept?.push(text);
      const outcome = /"outcome":"(\w+)"/.exec(text)?.[1] ?? 'none';
      this.outcomes[outcome] = (this.outcomes[outcome] ?? 0) + 1;
      if (outcome !== 'completed' && outcome !== 'client_closed') this.odd(outcome, text);
      return;
    }
    if (!text.startsWith('{')) return;
    const parsed = JSON.parse(text) as LogLine & { readonly level?: number | string };
    if (parsed.msg === 'listening') {
      this.url = parsed.url ?? null;
      this.listeningAt = performance.now();
    }
    if (parsed.event === undefined) this.said.add(parsed.msg);
    else this.decisions.push(parsed);
    if (parsed.level === 'error' || parsed.level === 50) this.errors.push(text);
  }
}

export class GatewayUnderLoad implements AsyncDisposable {
  readonly folder: string;
  readonly log = new Log();
  stderr = '';
  readonly pool: ConnectionPool;
  #child: ChildProcess;
  #exit: Promise<unknown>;
  #looks = 0;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  /** Of the gateway's main process; changes when it is started again. */
  pid = 0;

  constructor(folder: string, port: number, recount: boolean) {
    this.folder = folder;
    this.pool = new ConnectionPool(port);
    this.#args = ['--expose-gc', '--import', INSIDE, PROGRAM, 'serve', '--config', join(folder, 'gateway.json')];
    this.#env = recount ? { VLLM_GATEWAY_RECOUNT: '1' } : {};
    [this.#child, this.#exit] = this.spawn();
  }

  get url(): string {
    return `http://127.0.0.1:${this.pool.port}`;
  }

  get id(): string {
    return readFileSync(join(this.folder, 'data', 'gateway.id'), 'utf8').trim();
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async ready(): Promise<void> {
    await eventually(
      'the gateway can start models',
      () => !this.running || this.log.said.has('models can start'),
      STARTED_WITHIN_MS,
    );
    if (!this.running) throw new Error(`the gateway ended\n${this.log.errors.join('\n')}\n${this.stderr}`);
  }

  /** Ends from one moment to the next. */
  async kill(): Promise<void> {
    if (this.running) this.#child.kill('SIGKILL');
    await this.#exit;
  }

  /** As systemd would: the same configuration, folder and port. */
  again(): void {
    this.log.said = new Set();
    [this.#child, this.#exit] = this.spawn();
  }

  /** Exit code of an orderly end. */
  async stop(): Promise<number | null> {
    this.pool.closeIdle();
    if (this.running) this.#child.kill('SIGTERM');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), ENDED_WITHIN_MS);
    await this.#exit;
    clearTimeout(late);
    return this.#child.exitCode;
  }

  async status(): Promise<StatusAnswer> {
    return JSON.parse(Buffer.from((await this.pool.get('/gateway/status')).body, 'latin1').toString()) as StatusAnswer;
  }

  async metrics(): Promise<readonly PrometheusSample[]> {
    return samplesOf((await this.pool.get('/metrics')).body);
  }

  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    return sumOf(await this.metrics(), name, labels);
  }

  /** @throws Error when the process has no answer within a minute. */
  async look(): Promise<Inside> {
    return (await this.ask({})) as Inside;
  }

  /** Milliseconds of the event loop's delay since it was last asked. */
  async loop(): Promise<{ readonly p99: number; readonly max: number }> {
    return ((await this.ask({ loop: true })) as { loop: { p99: number; max: number } }).loop;
  }

  /** Bytes. */
  rss(): number {
    const text = readFileSync(`/proc/${this.pid}/status`, 'latin1');
    return Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1] ?? Number.NaN) * KIB;
  }

  descriptors(): Record<string, number> {
    const counts = { sockets: 0, others: 0 };
    for (const name of readdirSync(`/proc/${this.pid}/fd`)) {
      try {
        const target = readlinkSync(`/proc/${this.pid}/fd/${name}`);
        counts[target.startsWith('socket:') ? 'sockets' : 'others'] += 1;
      } catch {
        // Closed between the list and the look.
      }
    }
    return counts;
  }

  /** Ends it, its engines and its folder, whatever state they are in. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.pool[Symbol.dispose]();
    let id: string | null = null;
    try {
      id = this.id;
    } catch {
      // It ended before it had one.
    }
    if (id !== null) await killEngines(id);
    rmSync(this.folder, { recursive: true, force: true });
  }

  private spawn(): [ChildProcess, Promise<unknown>] {
    const child = spawn(process.execPath, this.#args, {
      cwd: this.folder,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', LOG_LEVEL: 'info', ...this.#env },
    });
    this.pid = child.pid ?? 0;
    if (child.stdout !== null) createInterface(child.stdout).on('line', (text) => this.log.line(text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-20_000);
    });
    return [child, once(child, 'exit')];
  }

  private async ask(question: Readonly<Record<string, unknown>>): Promise<unknown> {
    this.#looks += 1;
    const number = this.#looks;
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error('the gateway did not tell what it holds')), 60_000);
      const hear = (answer: { look?: number; error?: string }): void => {
        if (answer.look !== number) return;
        child.off('message', hear);
        clearTimeout(late);
        if (answer.error === undefined) resolve(answer);
        else reject(new Error(answer.error));
      };
      child.on('message', hear);
      child.send({ look: number, ...question });
    });
  }
}

export function sumOf(
  samples: readonly PrometheusSample[],
  name: string,
  labels: Readonly<Record<string, string>>,
): number {
  return samples
    .filter((sample) => sample.name === `vllm_gateway_${name}`)
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((sum, sample) => sum + sample.value, 0);
}

/** Processor time of one process so far, in seconds; Linux counts in hundredths. */
export function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const [, , , , , , , , , , , user = 0, system = 0] = text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  return (user + system) / 100;
}

/** Starts it with simulated engines, ready to start models. */
export async function startUnderLoad(setup: LoadSetup): Promise<GatewayUnderLoad> {
  const folder = mkdtempSync(join(tmpdir(), 'vgw-load-'));
  const port = await freePort();
  const first = PORTS.first + (process.pid % PORTS.ranges) * PORTS.each;
  const config = {
    server: { listen: `127.0.0.1:${port}`, state_dir: join(folder, 'data'), shutdown_timeout: '20s', ...setup.server },
    log: { format: 'json' },
    ...(setup.limits === undefined ? {} : { limits: setup.limits }),
    devices: setup.devices ?? { probe: 'none' },
    drivers: {
      default: 'process',
      process: { command: ['simulated-vllm'], port_range: `${first}-${first + PORTS.each - 1}` },
    },
    models: Object.fromEntries(setup.models.map((model) => [model.name, entryOf(model)])),
  };
  writeFileSync(join(folder, 'gateway.json'), JSON.stringify(config));
  const gateway = new GatewayUnderLoad(folder, port, setup.recount ?? false);
  try {
    await gateway.ready();
    return gateway;
  } catch (error) {
    await gateway[Symbol.asyncDispose]();
    throw error;
  }
}

function entryOf({ name, knobs = {}, keys = {} }: LoadModel): Record<string, unknown> {
  const env = Object.entries({ START_MS: 300, CONTROL: 1, TTFT_MS: 5, TOKEN_MS: 5, TOKENS: 8, ...knobs });
  return {
    repo: `org/${name}`,
    // More than the gateway ever lets in: it alone makes anybody wait.
    max_num_seqs: 256,
    stop_timeout: '10s',
    env: Object.fromEntries(env.map(([knob, value]) => [`FAKE_VLLM_${knob}`, String(value)])),
    ...keys,
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}
