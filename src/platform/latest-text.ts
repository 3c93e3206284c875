/** A small file that is written again and again: what counts is what was asked for last. */
import type { Files } from './platform.ts';

/** Writes one at a time; a text that is replaced before its turn is never written. */
export class LatestText {
  readonly #files: Pick<Files, 'writeAtomic'>;
  readonly #path: string;
  #next: string | null = null;
  #writing: Promise<void> | null = null;

  constructor(files: Pick<Files, 'writeAtomic'>, path: string) {
    this.#files = files;
    this.#path = path;
  }

  /** Resolves when what was asked last is on disk, or could not be written, as `write` told. */
  get written(): Promise<void> {
    return this.#writing?.catch(() => undefined) ?? Promise.resolve();
  }

  write(text: string): Promise<void> {
    this.#next = text;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = null;
    });
    return this.#writing;
  }

  async #writeAll(): Promise<void> {
    // What is asked for in the same moment is one change: half of it is never on disk.
    await Promise.resolve();
    for (let text = this.#next; text !== null; text = this.#next) {
      this.#next = null;
      try {
        await this.#files.writeAtomic(this.#path, text);
      } catch (error) {
        if (this.#next === null) throw error;
      }
    }
  }
}
