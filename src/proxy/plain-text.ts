/**
 * The ordinary text of JSON strings: everything but quotes, backslashes, control characters and what is no UTF-8. Nearly every
 * byte of a long prompt is, so that it is looked at four bytes at a time.
 */
import { isUtf8 } from '../platform/utf8.ts';
import type { Bytes } from '../units.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const NO_ASCII = 0x80;

/** 1 = ordinary ASCII. */
export const PLAIN = new Uint8Array(256);
for (let byte = 0x20; byte < NO_ASCII; byte++) PLAIN[byte] = byte === QUOTE || byte === BACKSLASH ? 0 : 1;

const WORD = 4;
/** Smaller chunks are looked at byte by byte: preparing for more costs as much. */
const LARGE: Bytes = 1_024;

/** The same byte four times. */
const every = (byte: number): number => (byte << 24) | (byte << 16) | (byte << 8) | byte;
const HIGH_BITS = every(NO_ASCII);
const ONES = every(0x01);
const BLANKS = every(0x20);
const QUOTES = every(QUOTE);
const BACKSLASHES = every(BACKSLASH);

const NO_CHUNK = Buffer.alloc(0);
const NO_WORDS = new Int32Array(0);

export class PlainText {
  /** Of which the rest tells. */
  private chunk: Buffer = NO_CHUNK;
  private words = NO_WORDS;
  /** Where in the chunk the words begin: they are read from addresses that four divides. */
  private shift = 0;
  /** Up to here what is not ASCII is known to be UTF-8. */
  private soundTo = 0;

  /**
   * The first byte from `from` on, where a character begins, that is not ordinary, or at which a character begins that has
   * to be looked at; the length of the chunk when there is none.
   */
  end(chunk: Buffer, from: number): number {
    const { length } = chunk;
    let at = from;
    if (length < LARGE) {
      while (at < length && PLAIN[chunk[at] as number] === 1) at++;
      return at;
    }
    if (chunk !== this.chunk) this.take(chunk, at);
    const { words, shift, soundTo } = this;
    // The word that `at` is in may hold what stands before it, a quote for example.
    let index = (at - shift + WORD - 1) >> 2;
    at = this.each(at, Math.min(length, shift + index * WORD));
    if (at < shift + index * WORD) return at;
    const last = soundTo === 0 ? words.length : (soundTo - shift) >> 2;
    const ignored = soundTo === 0 ? 0 : HIGH_BITS;
    while (index < last && isPlain(words[index] as number, ignored)) index++;
    return this.each(Math.max(at, shift + index * WORD), length);
  }

  /** Byte by byte. */
  private each(from: number, to: number): number {
    const { chunk, soundTo } = this;
    let at = from;
    while (at < to && (PLAIN[chunk[at] as number] === 1 || ((chunk[at] as number) >= NO_ASCII && at < soundTo))) at++;
    return at;
  }

  /** Lets go of the chunk. */
  drop(): void {
    if (this.chunk === NO_CHUNK) return;
    this.chunk = NO_CHUNK;
    this.words = NO_WORDS;
  }

  private take(chunk: Buffer, from: number): void {
    this.chunk = chunk;
    this.shift = -chunk.byteOffset & (WORD - 1);
    const words = (chunk.length - this.shift) >> 2;
    this.words = new Int32Array(chunk.buffer as ArrayBuffer, chunk.byteOffset + this.shift, words);
    const end = wholeCharacters(chunk);
    this.soundTo = isUtf8(chunk.subarray(from, end)) ? end : 0;
  }
}

/**
 * Four bytes at once: taking 0x20 from a smaller byte, or 1 from a zero, borrows, which shows in its highest bit. A borrow may
 * make the byte above look odd as well, never one below it.
 */
function isPlain(word: number, ignored: number): boolean {
  const odd = (word - BLANKS) | ((word ^ QUOTES) - ONES) | ((word ^ BACKSLASHES) - ONES) | word;
  return (odd & ~(word & ignored) & HIGH_BITS) === 0;
}

/** Without the beginning of a character that goes on in the next chunk. */
function wholeCharacters(chunk: Buffer): number {
  const { length } = chunk;
  for (let back = 1; back < WORD; back++) {
    const byte = chunk[length - back] as number;
    if (byte < NO_ASCII) return length;
    // The first byte of a character of two, three or four.
    if (byte >= 0xc0) return back < (byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4) ? length - back : length;
  }
  return length;
}
