/** What is written down of the searches: where to begin next time, and what the report of reliability shows. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Canary, Find, World } from './canary.ts';

const KEPT = join(import.meta.dirname, 'kept-seeds.json');
const MEASURED = join(import.meta.dirname, '../../docs/measurements/canaries.json');

/** The contents of `docs/measurements/canaries.json`. */
export interface CanaryFigures {
  /** UTC day. */
  readonly date: string;
  readonly node: string;
  /** Each was looked for in so many seeds at most, from seed 1 on. */
  readonly seeds: number;
  readonly median: number;
  readonly canaries: readonly {
    readonly name: string;
    readonly breaks: string;
    readonly file: string;
    readonly world: World;
    readonly firstSeed: number;
    readonly violated: string;
  }[];
}

/** By name of the canary. */
export function keptSeeds(): Readonly<Record<string, number>> {
  return existsSync(KEPT) ? (JSON.parse(readFileSync(KEPT, 'utf8')) as Record<string, number>) : {};
}

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((one, other) => one - other);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}

export function writeDown(finds: ReadonlyMap<Canary, Find>, seeds: number): void {
  const found = [...finds].toSorted(([one], [other]) => (one.name < other.name ? -1 : 1));
  write(KEPT, Object.fromEntries(found.map(([{ name }, { seed }]) => [name, seed])));
  const figures: CanaryFigures = {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    seeds,
    median: median(found.map(([, { seed }]) => seed)),
    canaries: found.map(([{ name, breaks, file, world }, { seed: firstSeed, violated }]) => ({
      ...{ name, breaks, file, world },
      ...{ firstSeed, violated },
    })),
  };
  write(MEASURED, figures);
}

function write(file: string, value: unknown): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
}
