/**
 * The log of one engine process: a file that the engine appends to by itself, and one older part of it. Positions count
 * from the first byte ever seen, so that a reader goes on over a rotation as if there were none.
 */
import type { Clock, Files } from '../../platform/platform.ts';
import { KIB, MIB, type Bytes, type Milliseconds } from '../../units.ts';
import { LineSplitter, type ProgressMode } from './log-lines.ts';

export const ROTATE_AT: Bytes = 16 * MIB;

const BLOCK: Bytes = 64 * KIB;
const FOLLOW_EVERY: Milliseconds = 200;
const NEWLINE = 0x0a;

export interface FollowOptions {
  readonly tail: number;
  readonly follow: boolean;
  readonly signal: AbortSignal;
  /** False once nothing will be appended any more. */
  readonly isLive: () => boolean;
}

export class ReplicaLog {
  readonly path: string;
  readonly oldPath: string;
  readonly #files: Files;
  readonly #clock: Clock;
  /** Position of the first byte of the current file; what lies before it, `#oldSize` bytes of it, is in the old one. */
  #base: Bytes = 0;
  #oldSize: Bytes = 0;
  #opened: Promise<void> | null = null;
  #rotations = 0;
  #rotating: Promise<void> | null = null;

  constructor(files: Files, clock: Clock, path: string) {
    this.#files = files;
    this.#clock = clock;
    this.path = path;
    this.oldPath = `${path}.1`;
  }

  /** Bytes written so far, as far as they were ever seen. */
  async size(): Promise<Bytes> {
    await this.#settled();
    return this.#base + (await this.#currentSize());
  }

  async rotateIfLarge(limit: Bytes): Promise<void> {
    await this.#settled();
    if ((await this.#currentSize()) < limit) return;
    this.#rotating = this.#rotate();
    try {
      await this.#rotating;
    } finally {
      this.#rotating = null;
    }
  }

  async tail(lines: number): Promise<readonly string[]> {
    if (lines <= 0) return [];
    const end = await this.size();
    const start = await this.#startOfTail(lines, end);
    return (await this.#lines(start, end, 'last')).slice(-lines);
  }

  async *follow(options: FollowOptions): AsyncGenerator<string, void, undefined> {
    const splitter = new LineSplitter('each');
    const end = await this.size();
    let position = options.tail > 0 ? await this.#startOfTail(options.tail, end) : end;
    while (!options.signal.aborted) {
      const live = options.follow && options.isLive();
      const limit = options.follow ? Number.POSITIVE_INFINITY : end;
      const { bytes, next } = await this.#read(position, Math.min(BLOCK, limit - position));
      position = next;
      yield* splitter.push(bytes);
      if (bytes.length > 0) continue;
      // It was already over before this read found nothing more.
      if (!live) break;
      await this.#pause(options.signal);
    }
    if (!options.signal.aborted) yield* splitter.end();
  }

  async #rotate(): Promise<void> {
    await this.#files.copyTruncate(this.path, this.oldPath);
    this.#oldSize = (await this.#files.stat(this.oldPath))?.size ?? 0;
    this.#base += this.#oldSize;
    this.#rotations += 1;
  }

  async #settled(): Promise<void> {
    this.#opened ??= this.#open();
    await this.#opened;
    while (this.#rotating !== null) await this.#rotating;
  }

  async #open(): Promise<void> {
    this.#oldSize = (await this.#files.stat(this.oldPath))?.size ?? 0;
    this.#base = this.#oldSize;
  }

  async #currentSize(): Promise<Bytes> {
    return (await this.#files.stat(this.path))?.size ?? 0;
  }

  /** Reads again when a rotation came between: the bytes have moved. */
  async #read(position: Bytes, length: Bytes): Promise<{ readonly bytes: Uint8Array; readonly next: Bytes }> {
    for (;;) {
      await this.#settled();
      const rotations = this.#rotations;
      const from = Math.max(position, this.#base - this.#oldSize);
      const old = from < this.#base;
      const path = old ? this.oldPath : this.path;
      const offset = old ? from - (this.#base - this.#oldSize) : from - this.#base;
      const bytes = await this.#bytes(path, offset, Math.min(length, old ? this.#base - from : length));
      if (rotations === this.#rotations && this.#rotating === null) return { bytes, next: from + bytes.length };
    }
  }

  async #bytes(path: string, offset: Bytes, length: Bytes): Promise<Uint8Array> {
    if (length <= 0) return new Uint8Array(0);
    try {
      return await this.#files.readBytes(path, offset, length);
    } catch (error) {
      if ((error as { readonly code?: string }).code === 'ENOENT') return new Uint8Array(0);
      throw error;
    }
  }

  async #lines(start: Bytes, end: Bytes, mode: ProgressMode): Promise<string[]> {
    const splitter = new LineSplitter(mode);
    const lines: string[] = [];
    let position = start;
    while (position < end) {
      const { bytes, next } = await this.#read(position, Math.min(BLOCK, end - position));
      if (bytes.length === 0) break;
      position = next;
      lines.push(...splitter.push(bytes));
    }
    lines.push(...splitter.end());
    return lines;
  }

  /** Position after which at most `count` lines stand, or the oldest byte there is. */
  async #startOfTail(count: number, end: Bytes): Promise<Bytes> {
    await this.#settled();
    const oldest = this.#base - this.#oldSize;
    let newlines = 0;
    let position = end;
    while (position > oldest) {
      const from = Math.max(oldest, position - BLOCK);
      const block = await this.#span(from, position);
      for (let index = block.length - 1; index >= 0; index -= 1) {
        const at = from + index;
        // The newline that ends the last line does not begin another one.
        if (block[index] !== NEWLINE || at === end - 1) continue;
        newlines += 1;
        if (newlines === count) return at + 1;
      }
      position = from;
    }
    return oldest;
  }

  /** All bytes of a span, over the seam between the two files. */
  async #span(from: Bytes, to: Bytes): Promise<Uint8Array> {
    const whole = new Uint8Array(to - from);
    let filled = 0;
    while (filled < whole.length) {
      const { bytes } = await this.#read(from + filled, whole.length - filled);
      if (bytes.length === 0) break;
      whole.set(bytes.subarray(0, whole.length - filled), filled);
      filled += bytes.length;
    }
    return whole;
  }

  async #pause(signal: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(FOLLOW_EVERY, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}
