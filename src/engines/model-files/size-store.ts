/**
 * What was found on a hub, kept over restarts so that a hub that is away changes nothing. Only successes are kept. The file
 * is bounded; what is broken in it is dropped, and everything in it can be found again.
 */
import type { Platform } from '../../platform/platform.ts';
import { HOUR, KIB, MIB, type Bytes, type Milliseconds } from '../../units.ts';
import type { RepoFacts, WeightFacts } from './facts.ts';
import { asObject, fieldOf, listAt, numberAt, objectAt, parseObject, sizeAt, textAt } from './json.ts';
import { quietly } from './quietly.ts';

export interface SizeStore {
  /** Null = never found. */
  find(key: string): Promise<StoredFacts | null>;
  /** Never rejects: a full disk costs another question later. */
  keep(key: string, facts: RepoFacts): Promise<void>;
}

export interface StoredFacts {
  readonly facts: RepoFacts;
  /** A branch may have moved since. */
  readonly isFresh: boolean;
}

interface Entry {
  readonly key: string;
  /** Wall clock. */
  readonly at: Milliseconds;
  readonly facts: RepoFacts;
}

const VERSION = 1;
const FILE = 'model-sizes.json';
const MAX_ENTRIES = 256;
const MAX_ENTRY: Bytes = 128 * KIB;
const MAX_FILE: Bytes = 64 * MIB;
const FRESH: Milliseconds = 24 * HOUR;

export function createSizeStore(platform: Pick<Platform, 'files' | 'clock'>, stateDir: string): SizeStore {
  const path = `${stateDir}/${FILE}`;
  let writing: Promise<void> = Promise.resolve();

  async function read(): Promise<Entry[]> {
    const stat = await quietly(() => platform.files.stat(path));
    if (stat?.kind !== 'file' || stat.size > MAX_FILE) return [];
    const text = await quietly(() => platform.files.readText(path));
    const document = text === undefined ? null : parseObject(text);
    if (document === null || numberAt(document, 'version') !== VERSION) return [];
    return (listAt(document, 'entries') ?? []).flatMap((each) => readEntry(each) ?? []);
  }

  async function write(key: string, facts: RepoFacts): Promise<void> {
    const entry: Entry = { key, at: platform.clock.wall(), facts };
    if ((lengthOf(entry) ?? MAX_ENTRY) >= MAX_ENTRY) return;
    const others = (await read()).filter((each) => each.key !== key);
    const entries = [...others, entry].toSorted((a, b) => a.at - b.at).slice(-MAX_ENTRIES);
    await quietly(async () => {
      await platform.files.makeFolder(stateDir);
      await platform.files.writeAtomic(path, `${JSON.stringify({ version: VERSION, entries })}\n`);
    });
  }

  return {
    async find(key) {
      const entry = (await read()).find((each) => each.key === key);
      if (entry === undefined) return null;
      const age = platform.clock.wall() - entry.at;
      return { facts: entry.facts, isFresh: age >= 0 && age < FRESH };
    },
    keep(key, facts) {
      // One after the other, however the one before has ended: each write carries what that one has added.
      writing = writing.catch(() => undefined).then(() => write(key, facts));
      return writing;
    },
  };
}

/** Null = it cannot be written down: what was parsed without end is nested too deep to be put into words again. */
function lengthOf(entry: Entry): number | null {
  try {
    return JSON.stringify(entry).length;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function readEntry(value: unknown): Entry | null {
  const entry = asObject(value);
  const facts = entry === null ? null : objectAt(entry, 'facts');
  if (entry === null || facts === null) return null;
  const key = textAt(entry, 'key');
  const at = numberAt(entry, 'at');
  const weights = readWeights(fieldOf(facts, 'weights'));
  if (key === null || at === null || weights === undefined) return null;
  return {
    key,
    at,
    facts: {
      config: objectAt(facts, 'config'),
      quantConfig: objectAt(facts, 'quantConfig'),
      weights,
      statedBytes: sizeAt(facts, 'statedBytes'),
    },
  };
}

/** Undefined = broken. */
function readWeights(value: unknown): WeightFacts | null | undefined {
  if (value === null) return null;
  const weights = asObject(value);
  const bytes = weights === null ? null : sizeAt(weights, 'bytes');
  const from = weights === null ? null : textAt(weights, 'from');
  if (weights === null || bytes === null || from === null) return undefined;
  return { bytes, from, elementBytes: numberAt(weights, 'elementBytes') };
}
