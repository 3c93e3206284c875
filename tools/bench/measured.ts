/** One sample: what was done, what it cost, and whether anybody else was at work meanwhile. */
import { busySeconds, cpuSeconds, stolenSeconds } from './machine.ts';
import type { Build } from './gateway-target.ts';
import type { Running } from './targets.ts';

export interface Measured {
  /** Microseconds of CPU per unit; or what the workload's `unit` says. */
  readonly cost: number;
  /** Units of work done: requests, events, streams. */
  readonly units: number;
  /** Share of what was asked for that was carried, where the load is paced. */
  readonly carried: number;
  /** Milliseconds; null where no delay is measured. */
  readonly p50: number | null;
  readonly p99: number | null;
  /** How late the gateway's event loop was, milliseconds, the 99th percentile; null where it cannot be asked. */
  readonly loop: number | null;
  /** CPU time of everybody else on the machine, in CPUs. */
  readonly foreign: number;
  /** CPU time that the machine's host gave to others, in CPUs. */
  readonly stolen: number;
}

export interface Told {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
}

export interface Workload extends Told {
  /** Told of processes that nothing was asked of yet. */
  readonly before?: true;
  /** Told once of a process. */
  readonly grows?: true;
  run(target: Running, seconds: number): Promise<Measured>;
}

/** What only a gateway with models can do; starts its own. One sample for each of `tells`. */
export interface Solo {
  readonly tells: readonly Told[];
  run(build: Build, seconds: number): Promise<readonly Measured[]>;
}

export interface Done {
  readonly units: number;
  readonly carried: number;
  readonly delays: readonly number[];
}

const MICRO = 1e6;
/** A sample taken while others used more CPUs than this, or the host took more, is taken again. */
const FOREIGN_LIMIT = 0.3;
const STOLEN_LIMIT = 0.1;

export const isDisturbed = ({ foreign, stolen }: Measured): boolean => foreign > FOREIGN_LIMIT || stolen > STOLEN_LIMIT;

export function quantile(values: readonly number[], share: number): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null;
}

/** Of an even number of values the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return Number.NaN;
  if (sorted.length % 2 === 1) return sorted[Math.floor(middle)] ?? Number.NaN;
  return ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** Runs `work` between two looks at the clocks. CPU of the load (this process) and of the engines is not foreign. */
export async function measured(target: Running, work: () => Promise<Done>): Promise<Measured> {
  const pids = target.pids();
  const engines = target.engines();
  await target.loop();
  const before = { cpu: cpuSeconds(pids), engine: cpuSeconds(engines), busy: busySeconds(), stolen: stolenSeconds() };
  const own = process.cpuUsage();
  const started = performance.now();
  const { units, carried, delays } = await work();
  const spent = cpuSeconds(pids) - before.cpu;
  const wall = (performance.now() - started) / 1_000;
  const load = process.cpuUsage(own);
  const ours = spent + (load.user + load.system) / MICRO + cpuSeconds(engines) - before.engine;
  return {
    cost: (spent / Math.max(1, units)) * MICRO,
    units,
    carried,
    p50: quantile(delays, 0.5),
    p99: quantile(delays, 0.99),
    loop: await target.loop(),
    foreign: Math.max(0, (busySeconds() - before.busy - ours) / wall),
    stolen: Math.max(0, (stolenSeconds() - before.stolen) / wall),
  };
}
