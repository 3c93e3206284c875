/** Reads a body in chunks, RFC 9112 §7.1: gives the pieces of its content, and knows where it ends. */

const CR = 13;
const LF = 10;
const LINE_LIMIT = 16;

export class ChunkReader {
  ended = false;
  /** In words; null = as it has to be. */
  fault: string | null = null;
  /** Bytes left of the chunk, its end of line included; 0: in the line before it. */
  private left = 0;
  private line = '';
  private last = false;
  private readonly piece: (content: Buffer) => void;

  constructor(piece: (content: Buffer) => void) {
    this.piece = piece;
  }

  read(data: Buffer): void {
    for (let at = 0; at < data.length && this.fault === null;) {
      if (this.ended) {
        this.fault = 'bytes after the end';
      } else if (this.left > 0) {
        const end = Math.min(data.length, at + this.left);
        const content = Math.min(end, at + this.left - 2);
        if (content > at) this.piece(data.subarray(at, content));
        if (data.subarray(Math.max(at, content), end).some((byte) => byte !== CR && byte !== LF))
          this.fault = 'a chunk of another length';
        this.left -= end - at;
        at = end;
        if (this.left === 0 && this.last) this.ended = true;
      } else at = this.readLine(data, at);
    }
  }

  private readLine(data: Buffer, from: number): number {
    const end = data.indexOf(LF, from);
    this.line += data.toString('latin1', from, end < 0 ? data.length : end + 1);
    if (this.line.length > LINE_LIMIT) this.fault = 'a chunk without a length';
    if (end < 0) return data.length;
    if (!/^[0-9a-f]+\r\n$/i.test(this.line)) this.fault = 'a chunk without a length';
    const size = Number.parseInt(this.line, 16);
    this.left = size + 2;
    this.last = size === 0;
    this.line = '';
    return end + 1;
  }
}
