/** Docker removes a log with its container; the end of it is kept for people, and for the reason of a failed start. */
import type { ReplicaRef } from '../../core/state.ts';
import type { Platform } from '../../platform/platform.ts';
import { fileName } from '../logs/names.ts';
import { pruneLogs } from '../logs/prune-logs.ts';
import { ReplicaLog } from '../logs/replica-log.ts';

const LINES = 2_000;

export class SavedLogs {
  /** How many of the last lines are kept. */
  readonly lines = LINES;
  readonly #platform: Pick<Platform, 'files' | 'clock'>;
  readonly #folder: string;

  constructor(platform: Pick<Platform, 'files' | 'clock'>, stateDir: string) {
    this.#platform = platform;
    this.#folder = `${stateDir}/logs/docker`;
  }

  of(replica: ReplicaRef): ReplicaLog {
    return new ReplicaLog(this.#platform.files, this.#platform.clock, this.#path(replica));
  }

  /** Never rejects: a full disk must not keep a container from being removed. */
  async save(replica: ReplicaRef, lines: readonly string[]): Promise<void> {
    const { files } = this.#platform;
    try {
      await files.makeFolder(this.#folder, 0o700);
      await files.writeAtomic(this.#path(replica), lines.map((line) => `${line}\n`).join(''), 0o600);
      await pruneLogs(files, this.#folder, new Set([this.#path(replica)]));
    } catch {
      // It can still be read from the container until that is removed.
    }
  }

  #path(replica: ReplicaRef): string {
    return `${this.#folder}/${fileName(replica)}.log`;
  }
}
