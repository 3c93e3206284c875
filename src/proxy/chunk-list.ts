/** The bytes of a body in the order they came. Tiny chunks are put together: each would cost many times its own bytes. */
import { KIB, type Bytes } from '../units.ts';

/** From this size on a chunk is kept as it is. */
const LARGE: Bytes = 4 * KIB;
const BLOCK: Bytes = 16 * KIB;
/** The first chunks are kept whatever their size: nearly every body is one or two. */
const UNTOUCHED = 16;

export class ChunkList {
  private chunks: Buffer[] = [];
  private block: Buffer | null = null;
  private filled = 0;

  add(chunk: Buffer): void {
    // A begun block is always filled to its end, so that no mix of sizes leaves half-empty ones behind.
    const rest = this.block === null ? chunk : this.fill(this.block, chunk);
    if (rest.length === 0) return;
    if (rest.length >= LARGE || this.chunks.length < UNTOUCHED) {
      this.chunks.push(rest);
      return;
    }
    this.block = Buffer.allocUnsafeSlow(BLOCK);
    this.fill(this.block, rest);
  }

  /** All bytes so far. */
  all(): readonly Buffer[] {
    return this.block === null ? this.chunks : [...this.chunks, this.block.subarray(0, this.filled)];
  }

  clear(): void {
    this.chunks = [];
    this.block = null;
    this.filled = 0;
  }

  /** What did not fit. */
  private fill(block: Buffer, chunk: Buffer): Buffer {
    const copied = chunk.copy(block, this.filled);
    this.filled += copied;
    if (this.filled === BLOCK) {
      this.chunks.push(block);
      this.block = null;
      this.filled = 0;
    }
    return chunk.subarray(copied);
  }
}
