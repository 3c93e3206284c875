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
  readonly canaries: readonly CanaryFigure[];
}

export interface CanaryFigure {
  readonly name: string;
  readonly breaks: string;
  readonly file: string;
  readonly world: World;
  readonly firstSeed: number;
  readonly violated: string;
}

/** By name of the canary. */
export function keptSeeds(): Readonly<Record<string, number>> {
  return existsSync(KEPT) ? (JSON.parse(readFileSync(KEPT, 'utf8')) as Record<string, number>) : {};
}

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((one, other) => one - other);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
}

/** Of those that were searched for now; of the others what was found before stays, and who is no longer planted is forgotten. */
export function writeDown(finds: ReadonlyMap<Canary, Find>, planted: readonly Canary[], seeds: number): void {
  const before = existsSync(MEASURED) ? (JSON.parse(readFileSync(MEASURED, 'utf8')) as CanaryFigures).canaries : [];
  const canaries: CanaryFigure[] = [];
  for (const canary of planted.toSorted((one, other) => (one.name < other.name ? -1 : 1))) {
    const { name, breaks, file, world } = canary;
    const find = finds.get(canary);
    const known = before.find((other) => other.name === name);
    const seen = find ? { firstSeed: find.seed, violated: find.violated } : known;
    if (!seen) continue;
    const { firstSeed, violated } = seen;
    canaries.push({ name, breaks, file, world, firstSeed, violated });
  }
  write(KEPT, Object.fromEntries(canaries.map(({ name, firstSeed }) => [name, firstSeed])));
  const figures: CanaryFigures = {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    seeds,
    median: median(canaries.map(({ firstSeed }) => firstSeed)),
    canaries,
  };
  write(MEASURED, figures);
}

function write(file: string, value: unknown): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
}
