/** The machine of a world: files and processes that outlive a gateway, and what one gateway process sees of them. */
import { createHash, createHmac } from 'node:crypto';
import type { Child, Files, HttpClient, Platform, Subprocess } from '../../../src/platform/platform.ts';
import type { Milliseconds } from '../../../src/units.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { ScriptedSubprocess } from '../../support/scripted-subprocess.ts';
import type { Random } from '../random.ts';
import { ProcessClock, type Time } from './time.ts';

export type Answer = HttpClient['get'];

export class Machine {
  readonly time: Time;
  readonly files: MemoryFiles;
  readonly subprocess: ScriptedSubprocess;
  readonly #clock: ProcessClock;

  constructor(time: Time) {
    this.time = time;
    this.#clock = new ProcessClock(time);
    this.files = new MemoryFiles(this.#clock);
    this.subprocess = new ScriptedSubprocess(this.#clock, this.files);
  }
}

export interface LifeOptions {
  readonly machine: Machine;
  readonly random: Random;
  /** What a file operation or a look at processes takes at most. */
  readonly latencyMs: Milliseconds;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Control requests to engines. */
  readonly get: Answer;
}

/** One gateway process on it: after its death nothing that it asked for is answered, and nothing of it runs. */
export class Life {
  readonly clock: ProcessClock;
  readonly platform: Platform;
  readonly #options: LifeOptions;
  readonly #held: AsyncDisposable[] = [];

  constructor(options: LifeOptions) {
    this.#options = options;
    const { machine, random, env, get } = options;
    this.clock = new ProcessClock(machine.time);
    this.platform = {
      clock: this.clock,
      random: { next: () => random.next(), hex: (length) => hexOf(random, length) },
      files: this.#slow<Files>(machine.files),
      subprocess: this.#subprocess(machine.subprocess),
      http: { get: (url, how) => this.#answered(() => get(url, how)), close: async () => undefined },
      env,
      executable: '/usr/bin/node',
      hmac: (key, text) => createHmac('sha256', key).update(text).digest('hex'),
      sha256: (text) => createHash('sha256').update(text).digest('hex'),
    };
  }

  get alive(): boolean {
    return !this.clock.dead;
  }

  die(): void {
    this.clock.dead = true;
    // What a process holds of its system ends with it.
    for (const held of this.#held) void held[Symbol.asyncDispose]();
  }

  #subprocess(real: ScriptedSubprocess): Subprocess {
    const slow = this.#slow<Subprocess>(real);
    return {
      run: (argv, options) => slow.run(argv, options),
      inspect: (pid) => slow.inspect(pid),
      findByEnvironment: (name, value) => slow.findByEnvironment(name, value),
      group: (pgid) => slow.group(pgid),
      portIsFree: (host, port) => slow.portIsFree(host, port),
      signal: (pid, name) => this.alive && real.signal(pid, name),
      spawn: (argv, options) =>
        this.#answered(async () => {
          const child = await real.spawn(argv, options);
          return { pid: child.pid, exited: this.#answered(() => child.exited) } satisfies Child;
        }),
    };
  }

  /** Every method of it; those of the interface all answer later. */
  #slow<T extends object>(real: T): T {
    return new Proxy(real, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function') return member;
        return (...given: unknown[]) => this.#answered(async () => (await member.apply(target, given)) as unknown);
      },
    });
  }

  /** It happens a moment after it was asked for, and is told a moment after it happened; to the dead neither. */
  async #answered<T>(act: () => Promise<T>): Promise<T> {
    await this.#moment();
    let outcome: { readonly value: T } | { readonly error: unknown };
    try {
      outcome = { value: await act() };
      if (isHeld(outcome.value)) this.#held.push(outcome.value);
    } catch (error) {
      outcome = { error };
    }
    await this.#moment();
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  }

  #moment(): Promise<void> {
    const { latencyMs, random } = this.#options;
    if (!this.alive) return new Promise(() => undefined);
    if (latencyMs === 0 || random.chance(0.5)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#options.machine.time.after(random.next() * latencyMs, () => {
        if (this.alive) resolve();
      });
    });
  }
}

function isHeld(value: unknown): value is AsyncDisposable {
  return typeof value === 'object' && value !== null && Symbol.asyncDispose in value;
}

function hexOf(random: Random, length: number): string {
  let digits = '';
  while (digits.length < length) digits += Math.floor(random.next() * 16).toString(16);
  return digits;
}
