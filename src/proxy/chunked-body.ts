/**
 * Takes the chunked coding off a body (RFC 9112 §7.1), without its liberties: no extensions, no trailer, sizes of at most
 * seven digits, CR and LF where they belong. Engines write nothing else, and whatever else comes could be read in two ways.
 */

const SIZE = 0;
const SIZE_LF = 1;
const DATA = 2;
const DATA_CR = 3;
const DATA_LF = 4;
const LAST_CR = 5;
const LAST_LF = 6;
const ENDED = 7;

const CR = 0x0d;
const LF = 0x0a;
const MAX_SIZE_DIGITS = 7;
const HEX = 16;
const NOTHING = Buffer.alloc(0);

export class ChunkedBody {
  private state = SIZE;
  private size = 0;
  private digits = 0;
  /** Bytes of the last read that lie behind the end of the body. */
  excess = 0;

  get ended(): boolean {
    return this.state === ENDED;
  }

  reset(): void {
    this.state = SIZE;
    this.size = 0;
    this.digits = 0;
    this.excess = 0;
  }

  /** True when these bytes, which begin the body, are framed as they must be. Changes nothing. */
  isSound(chunk: Buffer, from: number): boolean {
    const sound = this.read(chunk.subarray(from)) !== null;
    this.reset();
    return sound;
  }

  /** The payload of one read, as one piece; null when the framing is wrong, and then nothing of it may be used. */
  read(chunk: Buffer): Buffer | null {
    const { length } = chunk;
    let first: Buffer | null = null;
    let more: Buffer[] | null = null;
    let at = 0;
    while (at < length) {
      if (this.state === DATA) {
        const taken = Math.min(this.size, length - at);
        const piece = chunk.subarray(at, at + taken);
        if (first === null) first = piece;
        else (more ??= [first]).push(piece);
        at += taken;
        this.size -= taken;
        if (this.size === 0) this.state = DATA_CR;
      } else if (this.state === ENDED) {
        break;
      } else if (!this.mark(chunk[at++] as number)) {
        return null;
      }
    }
    this.excess = length - at;
    return more === null ? (first ?? NOTHING) : Buffer.concat(more);
  }

  /** One byte of the framing; false when it does not belong there. */
  private mark(byte: number): boolean {
    switch (this.state) {
      case SIZE:
        return this.sizeDigit(byte);
      case SIZE_LF:
        this.state = this.size === 0 ? LAST_CR : DATA;
        this.digits = 0;
        return byte === LF;
      case DATA_CR:
        this.state = DATA_LF;
        return byte === CR;
      case DATA_LF:
        this.state = SIZE;
        return byte === LF;
      case LAST_CR:
        this.state = LAST_LF;
        return byte === CR;
      default:
        this.state = ENDED;
        return byte === LF;
    }
  }

  private sizeDigit(byte: number): boolean {
    if (byte === CR) {
      this.state = SIZE_LF;
      return this.digits > 0;
    }
    const digit = hexDigit(byte);
    if (digit < 0 || ++this.digits > MAX_SIZE_DIGITS) return false;
    this.size = this.size * HEX + digit;
    return true;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
