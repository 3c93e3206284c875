/** What the contract suite needs of a place where engines run: see `driver-contract.ts`. */
import type { FetchSpec, LaunchSpec } from '../../../src/core/launch.ts';
import type { ReplicaRef } from '../../../src/core/state.ts';
import type { Driver, ExitReport, FetchOptions, ReplicaIdentity, StopOptions } from '../../../src/drivers/driver.ts';
import { GIB } from '../../../src/units.ts';

/**
 * `serve` runs until SIGTERM; the others are named after what they do differently. All write `started` first, but
 * `greet` (the value of GREETING, then runs on) and `echo-arguments` (each of `arguments` in brackets, then ends).
 */
export type Program =
  | 'serve'
  | 'ignore-term'
  | 'exit-0'
  | 'exit-3'
  | 'count-to-100'
  | 'count-then-exit'
  | 'two-outputs'
  | 'no-newline'
  | 'greet'
  | 'echo-arguments'
  | 'missing';

/** `bars` draws 50 % and 100 % and ends well; `gated` says why it fails; `hang` writes a line and stays. */
export type FetchProgram = 'bars' | 'gated' | 'hang' | 'missing';

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly arguments?: readonly string[];
}

export interface DriverHarness {
  readonly driver: Driver;
  /** Closes the driver and makes another one where it ran, as after a restart of the gateway. */
  restart(): Promise<Driver>;
  /** A driver of another gateway on the same machine. */
  stranger(): Promise<Driver>;
  spec(program: Program, options?: ProgramOptions): Promise<LaunchSpec>;
  fetchSpec(program: FetchProgram | null): Promise<FetchSpec>;
  /** False where each engine has a network of its own, and so takes no port away from others. */
  readonly portsOfMachine: boolean;
  /** What the endpoint of a launch of this spec has to look like. */
  origin(spec: LaunchSpec): RegExp;
  /** The engine dies, and the driver did not do it. */
  murder(replica: ReplicaRef): void | Promise<void>;
  /** How many engines run that were launched as this replica. */
  living(replica: ReplicaRef): Promise<number>;
  /** How many fetches run. */
  fetching(): Promise<number>;
  /** Is there a process of this id? */
  hasProcess(pid: number): boolean;
  /** Lets time pass until the promise settles, and settles like it. */
  during<T>(promise: Promise<T>): Promise<T>;
  until(condition: () => boolean | Promise<boolean>): Promise<void>;
  /** Ends everything that is left. */
  close(): Promise<void>;
}

export interface Fixture {
  harness: DriverHarness;
  driver: Driver;
  readonly exits: ExitReport[];
}

export function identityOf(id: string, generation = 1, more: Partial<ReplicaIdentity> = {}): ReplicaIdentity {
  return {
    id,
    generation,
    model: 'org/model a',
    specHash: 'hash',
    reservations: new Map([['gpu-0', 20 * GIB]]),
    ...more,
  };
}

export const ONE = identityOf('one-1');
export const TWO = identityOf('two-2');

export const COUNTED: readonly string[] = ['started', ...Array.from({ length: 100 }, (_, index) => `line ${index}`)];

/** Small enough for a test, large enough for a busy machine: SIGKILL comes after a third of it. */
export function stopOptions(more: Partial<StopOptions> = {}): StopOptions {
  return { timeout: 6_000, starting: false, cutConnections: () => {}, ...more };
}

export interface Told {
  readonly phase: string;
  readonly fraction: number | null;
}

export function fetchOptions(told: Told[] = [], signal: AbortSignal = never()): FetchOptions {
  return { signal, progress: (phase, fraction) => told.push({ phase, fraction }) };
}

export async function allLines(lines: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const line of lines) all.push(line);
  return all;
}

export const never = (): AbortSignal => new AbortController().signal;

export async function launchStarted(
  { driver, harness }: Fixture,
  program: Program,
  identity: ReplicaIdentity = ONE,
): Promise<void> {
  await driver.launch(await harness.spec(program), identity);
  await harness.until(async () => (await driver.tail(identity, 1))[0] === 'started');
}

/** The error that a promise rejects with; fails the test when it does not. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it did not reject');
}
