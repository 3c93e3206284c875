/** Engine processes of a world: they load, listen, answer with what their nonce and temper say, and die of what befalls them. */
import type { HttpAnswer } from '../../../src/platform/platform.ts';
import type { Milliseconds } from '../../../src/units.ts';
import type { ScriptedProcess } from '../../support/scripted-subprocess.ts';
import { Random } from '../random.ts';
import type { Temper } from './answers.ts';
import { EngineLine, type Reception } from './engine-line.ts';
import { check } from './checks.ts';
import type { Machine } from './machine.ts';
import type { FarEnd } from './wire.ts';

export interface EngineRules {
  readonly startMs: Milliseconds;
  /** Of a start: it ends before it is ready. */
  readonly startFails: number;
  /** Of a start: another server has taken its port meanwhile, and stays for a while. */
  readonly strangers: number;
  readonly termMs: Milliseconds;
  readonly ignoresTerm: number;
  /** Of a connection: refused although the engine is up, or never answered. */
  readonly refuses: number;
  readonly swallows: number;
  readonly temper: Temper;
}

export interface EngineWorld {
  readonly seed: number;
  readonly machine: Machine;
  /** As they are now: none of the faults when the world has healed. */
  readonly rules: () => EngineRules;
  readonly spawned: (engine: EngineProcess) => void;
  readonly received: (reception: Reception) => void;
  readonly told: (line: string) => void;
  readonly mark: (name: string) => void;
}

const STRANGER_STAYS: Milliseconds = 60_000;

export class EngineProcess {
  readonly process: ScriptedProcess;
  readonly port: number;
  readonly served: string;
  readonly key: string;
  readonly lines = new Set<EngineLine>();
  /** Until then its port is another server's. */
  strangerUntil: Milliseconds = 0;
  listening = false;
  /** Answers nothing, though connections are taken: the whole of it hangs. */
  generated = 0;
  readonly world: EngineWorld;
  readonly random: Random;
  readonly startedAt: Milliseconds;

  constructor(world: EngineWorld, process: ScriptedProcess) {
    const { argv, env } = process;
    this.world = world;
    this.startedAt = world.machine.time.now;
    this.process = process;
    this.port = Number(argv[argv.indexOf('--port') + 1]);
    this.served = argv[argv.indexOf('--served-model-name') + 1] ?? '';
    this.key = env['VLLM_API_KEY'] ?? '';
    this.random = new Random(world.seed, `engine ${process.pid}`);
    const rules = world.rules();
    const fails = this.random.chance(rules.startFails);
    const readyAt = this.random.around(rules.startMs);
    if (this.random.chance(rules.strangers)) this.strangerUntil = world.machine.time.now + STRANGER_STAYS;
    process.onSignal = (name) => {
      if (name === 'SIGTERM') this.terminate();
    };
    this.log('INFO Starting to load model');
    this.after(fails ? readyAt / 2 : readyAt, () => {
      if (fails) {
        world.mark('engine.start_failed');
        this.log('torch.OutOfMemoryError: CUDA out of memory.');
        this.exit(1);
      } else if (this.hasStranger) {
        world.mark('engine.port_taken');
        this.log('OSError: [Errno 98] address already in use');
        this.exit(1);
      } else {
        this.listening = true;
        world.told(`engine ${this.port} listens`);
      }
    });
  }

  get alive(): boolean {
    return this.process.alive;
  }

  get hasStranger(): boolean {
    return this.world.machine.time.now < this.strangerUntil && this.world.rules().strangers > 0;
  }

  after(delay: Milliseconds, act: () => void): void {
    this.world.machine.time.after(delay, () => {
      if (this.alive) act();
    });
  }

  exit(code: number | null, signal: string | null = null): void {
    if (!this.alive) return;
    this.world.told(`engine ${this.port} ends`);
    this.process.exit(code, signal);
    this.gone();
  }

  /** The system closes what a process held. */
  gone(): void {
    this.listening = false;
    for (const line of [...this.lines]) line.cut();
  }

  accept(far: FarEnd): void {
    this.lines.add(new EngineLine(this, far));
  }

  answer(path: string, authorization: string | undefined): HttpAnswer {
    if (path === '/health') return { status: 200, body: '' };
    if (authorization !== `Bearer ${this.key}`) return { status: 401, body: '' };
    if (path === '/v1/models') return { status: 200, body: JSON.stringify({ data: [{ id: this.served }] }) };
    if (path !== '/metrics') return { status: 404, body: '' };
    return { status: 200, body: `vllm:generation_tokens_total{model_name="${this.served}"} ${this.generated}\n` };
  }

  private terminate(): void {
    const { ignoresTerm, termMs } = this.world.rules();
    if (this.random.chance(ignoresTerm)) {
      this.world.mark('engine.ignores_term');
      return;
    }
    this.listening = false;
    this.after(this.random.around(termMs), () => this.exit(0));
  }

  private log(text: string): void {
    const { logPath } = this.process;
    if (logPath !== undefined) this.world.machine.files.append(logPath, `${text}\n`);
  }
}

export class Engines {
  readonly all: EngineProcess[] = [];
  readonly #world: EngineWorld;

  constructor(world: EngineWorld) {
    this.#world = world;
    const { subprocess } = world.machine;
    subprocess.onSpawn = (process) => {
      const engine = new EngineProcess(world, process);
      world.spawned(engine);
      this.all.push(engine);
      // A kill is not the engine's own doing; what it held is closed all the same.
      void process.exited.then(() => engine.gone());
    };
  }

  get living(): readonly EngineProcess[] {
    return this.all.filter((engine) => engine.alive);
  }

  at(port: number): EngineProcess | undefined {
    return this.all.find((engine) => engine.listening && engine.alive && engine.port === port);
  }

  async get(url: string, options: { readonly headers?: Readonly<Record<string, string>> }): Promise<HttpAnswer> {
    const { port, pathname } = new URL(url);
    if (this.#isStrangers(Number(port))) return { status: 200, body: '{"data":[{"id":"somebody else"}]}' };
    const engine = this.at(Number(port));
    if (engine === undefined) throw Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' });
    return engine.answer(pathname, options.headers?.['authorization']);
  }

  #isStrangers(port: number): boolean {
    return this.all.some((engine) => engine.port === port && engine.hasStranger) && this.at(port) === undefined;
  }

  /** How a connection to this port goes. */
  fate(port: number, random: Random): EngineProcess | 'refused' | 'swallowed' {
    check('stranger', !this.#isStrangers(port), () => `a request goes to a stranger on ${port}`);
    const { refuses, swallows } = this.#world.rules();
    if (random.chance(swallows)) return 'swallowed';
    return random.chance(refuses) ? 'refused' : (this.at(port) ?? 'refused');
  }
}
