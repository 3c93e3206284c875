/** What a long run writes down, for the report of reliability. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { dirname } from 'node:path';

/** The contents of `docs/measurements/simulation.json`. */
export interface SimulationFigures {
  /** UTC day. */
  readonly date: string;
  readonly commit: string;
  readonly node: string;
  readonly cores: number;
  /** Of the last quarter of an hour: what else the machine did. */
  readonly load_average: number;
  readonly minutes: number;
  readonly first_seed: number;
  readonly seeds: number;
  readonly events: number;
  /** Worlds in which a promise was seen broken. */
  readonly failures: number;
  /** Of processor time. */
  readonly seeds_per_second: number;
  readonly events_per_second: number;
  /** What must be met, with how often it was: 0 = never. */
  readonly marks: readonly Mark[];
}

export interface Mark {
  readonly name: string;
  readonly meaning: string;
  readonly count: number;
}

export type Counted = Omit<SimulationFigures, 'date' | 'commit' | 'node' | 'cores' | 'load_average'>;

export function writeDown(file: string, counted: Counted): void {
  const figures: SimulationFigures = {
    date: new Date().toISOString().slice(0, 10),
    commit: execFileSync('git', ['rev-parse', '--short=10', 'HEAD'], { encoding: 'utf8' }).trim(),
    node: process.version,
    cores: availableParallelism(),
    load_average: Math.round((loadavg()[2] ?? 0) * 10) / 10,
    ...counted,
  };
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(figures, null, 2)}\n`);
}
