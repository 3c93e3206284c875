/** What a gateway keeps of its engines in `state_dir`: records and logs, read and changed as a crash would leave them. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface StoredRecord {
  readonly id: string;
  readonly generation: number;
  readonly model: string;
  readonly port: number;
  readonly pid: number | null;
  readonly startTime: number | null;
}

export function recordsIn(stateDir: string): readonly StoredRecord[] {
  const folder = join(stateDir, 'replicas');
  const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return names.map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as StoredRecord);
}

export function recordOf(stateDir: string, model: string): StoredRecord {
  const found = recordsIn(stateDir).filter((record) => record.model === model);
  if (found.length !== 1 || !found[0]) throw new Error(`${found.length} records of ${model} in ${stateDir}`);
  return found[0];
}

export function changeRecord(stateDir: string, record: StoredRecord, change: Readonly<Record<string, unknown>>): void {
  const path = join(stateDir, 'replicas', `${record.id}.${record.generation}.json`);
  writeFileSync(path, JSON.stringify({ ...record, ...change }));
}

/** Everything that the engine ever wrote, an older part included. */
export function engineLog(stateDir: string, record: StoredRecord): string {
  const path = join(stateDir, 'logs', `${record.id}.${record.generation}.log`);
  return [`${path}.1`, path]
    .map((file) => {
      try {
        return readFileSync(file, 'utf8');
      } catch {
        return '';
      }
    })
    .join('');
}

/** Numbers of the lines that `FAKE_VLLM_LOG_EVERY_MS` makes an engine write, in the order of the log. */
export function numberedLines(log: string): readonly number[] {
  return [...log.matchAll(/simulated line (\d+)\n/g)].map(([, number]) => Number(number));
}
