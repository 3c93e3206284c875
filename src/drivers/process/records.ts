/**
 * What is remembered of each engine process over a restart of the gateway: one small file, written before the process
 * exists and again when its pid is known, removed when nothing of the process is left.
 */
import type { ReplicaRef } from '../../core/state.ts';
import type { Files } from '../../platform/platform.ts';
import type { Bytes, Milliseconds } from '../../units.ts';
import { fileName, replicaOf } from '../logs/names.ts';

const ENDING = '.json';

export interface ReplicaRecord {
  readonly format: 1;
  readonly gateway: string;
  readonly id: string;
  readonly generation: number;
  readonly model: string;
  readonly specHash: string;
  readonly reservations: readonly (readonly [string, Bytes])[];
  readonly host: string;
  readonly port: number | null;
  /** Wall clock. */
  readonly launchedAt: Milliseconds;
  /** Identity of this boot of the machine: after another one no pid means anything. */
  readonly boot: string;
  readonly pid: number | null;
  /** Start time of that pid in ticks since boot: together they name the process for good. */
  readonly startTime: number | null;
}

/** What it said is lost; whose it was, its name tells. */
export interface DamagedRecord {
  readonly path: string;
  readonly replica: ReplicaRef | undefined;
}

export class Records {
  readonly #files: Files;
  readonly #folder: string;

  constructor(files: Files, stateDir: string) {
    this.#files = files;
    this.#folder = `${stateDir}/replicas`;
  }

  async prepare(): Promise<void> {
    await this.#files.makeFolder(this.#folder, 0o700);
  }

  async write(record: ReplicaRecord): Promise<void> {
    await this.#files.writeAtomic(this.#path(record), `${JSON.stringify(record, null, 1)}\n`, 0o600);
  }

  async read(replica: ReplicaRef): Promise<ReplicaRecord | undefined> {
    const record = parseRecord(await this.#files.readText(this.#path(replica)));
    return record?.id === replica.id && record.generation === replica.generation ? record : undefined;
  }

  /** Never rejects: a record of a process that is gone says nothing wrong, and the next look removes it. */
  async remove(replica: ReplicaRef): Promise<void> {
    await this.#files.remove(this.#path(replica)).catch(() => undefined);
  }

  /** Every record that can be read, and the names of those that are there and damaged. Rejects when reading fails for now. */
  async all(): Promise<{ readonly records: readonly ReplicaRecord[]; readonly damaged: readonly DamagedRecord[] }> {
    const records: ReplicaRecord[] = [];
    const damaged: DamagedRecord[] = [];
    for (const name of await this.#files.list(this.#folder)) {
      if (!name.endsWith(ENDING)) continue;
      const path = `${this.#folder}/${name}`;
      const record = parseRecord(await this.#files.readText(path).catch(unlessPassing));
      if (record !== undefined) records.push(record);
      else damaged.push({ path, replica: replicaOf(name.slice(0, -ENDING.length)) });
    }
    return { records, damaged };
  }

  /** Under another name, if that can be, for people to look at. */
  async putAside({ path }: DamagedRecord): Promise<void> {
    await this.#files.rename(path, `${path}.unreadable`).catch(() => undefined);
  }

  #path(replica: ReplicaRef): string {
    return `${this.#folder}/${fileName(replica)}${ENDING}`;
  }
}

/** What the system cannot read at this moment says nothing of the file. */
const PASSING: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EIO', 'EAGAIN']);

function unlessPassing(error: unknown): undefined {
  if (PASSING.has((error as { readonly code?: string } | null)?.code ?? '')) throw error;
}

export function parseRecord(text: string | undefined): ReplicaRecord | undefined {
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isRecord(value) ? value : undefined;
}

function isRecord(value: unknown): value is ReplicaRecord {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  const texts = ['gateway', 'id', 'model', 'specHash', 'host', 'boot'];
  const numbers = ['generation', 'launchedAt'];
  const perhapsNumbers = ['port', 'pid', 'startTime'];
  return (
    fields['format'] === 1 &&
    texts.every((name) => typeof fields[name] === 'string') &&
    numbers.every((name) => Number.isFinite(fields[name])) &&
    perhapsNumbers.every((name) => fields[name] === null || Number.isSafeInteger(fields[name])) &&
    isReservations(fields['reservations'])
  );
}

function isReservations(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every(
      (pair: unknown) =>
        Array.isArray(pair) && pair.length === 2 && typeof pair[0] === 'string' && Number.isFinite(pair[1]),
    )
  );
}
