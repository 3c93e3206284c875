/** A body is a list of chunks as they came; edits are made between them, never in them. */

export interface Edit {
  /** Absolute offsets into the body; `end` exclusive, equal to `start` for an insertion. */
  readonly start: number;
  readonly end: number;
  readonly bytes: Buffer;
}

/** Bodies up to this size travel as one buffer: one copy is cheaper than several writes. */
const ONE_PIECE = 64 * 1024;

/** The chunks with the edits (in order, not overlapping) made. Untouched bytes are not copied unless the body is small. */
export function applyEdits(
  chunks: readonly Buffer[],
  size: number,
  edits: readonly Edit[],
): Buffer | readonly Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (const edit of edits) {
    slice(chunks, at, edit.start, pieces);
    if (edit.bytes.length > 0) pieces.push(edit.bytes);
    at = edit.end;
  }
  slice(chunks, at, size, pieces);
  const [first] = pieces;
  if (pieces.length === 1 && first !== undefined) return first;
  return size <= ONE_PIECE ? Buffer.concat(pieces) : pieces;
}

export function bytesOf(body: Buffer | readonly Buffer[]): number {
  if (Buffer.isBuffer(body)) return body.length;
  let total = 0;
  for (const piece of body) total += piece.length;
  return total;
}

function slice(chunks: readonly Buffer[], from: number, to: number, pieces: Buffer[]): void {
  let start = 0;
  for (const chunk of chunks) {
    const end = start + chunk.length;
    if (end > from && start < to) {
      pieces.push(
        from <= start && to >= end
          ? chunk
          : chunk.subarray(Math.max(0, from - start), Math.min(chunk.length, to - start)),
      );
    }
    if (end >= to) return;
    start = end;
  }
}
