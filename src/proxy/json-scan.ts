/**
 * An incremental, strict JSON checker (RFC 8259) that never builds a value: it tells a sink about the keys of the outer
 * objects and the byte ranges of the values that the sink asked for. Any split of the input gives the same result.
 */
import { beginNumber, NUMBER_MAY_END, NUMBER_STEPS } from './json-number.ts';
import { MAX_NAME_BYTES } from './limits.ts';
import { PLAIN, PlainText } from './plain-text.ts';
import type { Bytes } from '../units.ts';

export type ScalarKind = 'string' | 'number' | 'true' | 'false' | 'null';

export interface ScanSink {
  /** A key of an object at `depth` (1 = the outermost). Null: longer than MAX_NAME_BYTES. True asks for its value. */
  key(depth: number, key: string | null): boolean;
  /** A value that was asked for. `text` is its decoded string, else the literal; null: too long. Offsets are absolute, `end` exclusive. */
  value(depth: number, kind: ScalarKind, text: string | null, start: number, end: number): void;
  /** The value asked for is an object or an array. */
  container(depth: number): void;
}

export type ScanProblem = 'syntax' | 'utf8' | 'depth';

const VALUE = 0;
const FIRST_ITEM = 1;
const FIRST_KEY = 2;
const KEY = 3;
const COLON = 4;
const AFTER = 5;
const END = 6;
/** From here on: inside a token. */
const STRING = 7;
const ESCAPE = 8;
const HEX = 9;
const NUMBER = 10;
const LITERAL = 11;

/** Text of strings that is looked at before it is left to who looks at it in larger steps. */
const SHORT: Bytes = 16;
const NOT_ASCII = /[\x80-\xff]/;

const OBJECT = 1;
const ARRAY = 2;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** 1 = stands behind a backslash, alone. */
const ESCAPES = new Uint8Array(256);
for (const byte of Buffer.from('"\\/bfnrt')) ESCAPES[byte] = 1;

const LITERALS: Readonly<Record<number, { readonly word: string; readonly kind: ScalarKind }>> = {
  0x74: { word: 'true', kind: 'true' },
  0x66: { word: 'false', kind: 'false' },
  0x6e: { word: 'null', kind: 'null' },
};

/** One for all: a chunk is looked at without a break. */
const plainText = new PlainText();

export class JsonScanner {
  /** Why the input is no JSON; null so far. */
  problem: ScanProblem | null = null;
  /** Offset of the outermost `{`; -1 when the document is not an object (or nothing came yet). */
  rootObject = -1;
  /** The document is complete; only white space may follow. */
  get complete(): boolean {
    return this.state === END;
  }
  /** A value that was asked for has not ended yet. */
  get pending(): boolean {
    return this.wanted;
  }

  private readonly sink: ScanSink;
  private readonly watchDepth: number;
  private readonly maxDepth: number;
  /** What is open at each depth, from 1 on. */
  private readonly stack: number[] = [0];
  private state = VALUE;
  private depth = 0;
  private offset = 0;
  private isKey = false;
  private wanted = false;
  private wantedDepth = 0;
  private wantedStart = 0;
  /** Index in the current chunk where the captured text goes on; -1 = nothing is captured. */
  private captureFrom = -1;
  private captured = '';
  private escaped = false;
  private hexLeft = 0;
  private utf8Left = 0;
  private utf8Low = 0x80;
  private utf8High = 0xbf;
  private numberState = 0;
  private literal = LITERALS[0x74] as { word: string; kind: ScalarKind };
  private literalAt = 0;

  constructor(sink: ScanSink, watchDepth: number, maxDepth: number) {
    this.sink = sink;
    this.watchDepth = watchDepth;
    this.maxDepth = maxDepth;
  }

  /** False once the input cannot become JSON any more. */
  write(chunk: Buffer): boolean {
    if (this.problem !== null) return false;
    const length = chunk.length;
    if (this.captureFrom !== -1) this.captureFrom = 0;
    let at = 0;
    while (at < length) {
      switch (this.state) {
        case STRING:
          at = this.scanString(chunk, at);
          break;
        case ESCAPE:
          at = this.scanEscape(chunk[at] as number, at);
          break;
        case HEX:
          at = this.scanHex(chunk[at] as number, at);
          break;
        case NUMBER:
          at = this.scanNumber(chunk, at);
          break;
        case LITERAL:
          at = this.scanLiteral(chunk, at);
          break;
        default: {
          const byte = chunk[at] as number;
          if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) at++;
          else at = this.scanStructure(byte, at);
        }
      }
      if (at < 0) break;
    }
    plainText.drop();
    if (at < 0) return false;
    if (this.captureFrom !== -1) this.carry(chunk, length);
    this.offset += length;
    return true;
  }

  /** The input ends here: true when it was exactly one JSON document. */
  end(): boolean {
    if (this.problem !== null) return false;
    if (this.state === NUMBER && this.depth === 0 && NUMBER_MAY_END[this.numberState] === true) this.state = END;
    if (this.state !== END) this.problem = 'syntax';
    return this.problem === null;
  }

  private fail(problem: ScanProblem): number {
    this.problem = problem;
    return -1;
  }

  private scanStructure(byte: number, at: number): number {
    switch (this.state) {
      case FIRST_ITEM:
        if (byte === 0x5d) return this.close(ARRAY, at);
        return this.beginValue(byte, at);
      case VALUE:
        return this.beginValue(byte, at);
      case FIRST_KEY:
        if (byte === 0x7d) return this.close(OBJECT, at);
        return this.beginKey(byte, at);
      case KEY:
        return this.beginKey(byte, at);
      case COLON:
        if (byte !== 0x3a) return this.fail('syntax');
        this.state = VALUE;
        return at + 1;
      case AFTER:
        if (byte === 0x2c) {
          this.state = this.stack[this.depth] === OBJECT ? KEY : VALUE;
          return at + 1;
        }
        if (byte === 0x7d) return this.close(OBJECT, at);
        if (byte === 0x5d) return this.close(ARRAY, at);
        return this.fail('syntax');
      default:
        return this.fail('syntax');
    }
  }

  private close(kind: number, at: number): number {
    if (this.stack[this.depth] !== kind) return this.fail('syntax');
    this.depth--;
    this.state = this.depth === 0 ? END : AFTER;
    return at + 1;
  }

  private open(kind: number, at: number): number {
    if (this.wanted) {
      this.wanted = false;
      this.sink.container(this.wantedDepth);
    }
    if (this.depth === this.maxDepth) return this.fail('depth');
    if (this.depth === 0 && kind === OBJECT) this.rootObject = this.offset + at;
    this.stack[++this.depth] = kind;
    this.state = kind === OBJECT ? FIRST_KEY : FIRST_ITEM;
    return at + 1;
  }

  private beginKey(byte: number, at: number): number {
    if (byte !== QUOTE) return this.fail('syntax');
    this.isKey = true;
    if (this.depth <= this.watchDepth && this.allObjects()) this.capture(at + 1);
    this.beginString();
    return at + 1;
  }

  /** Keys below an array are nobody's business. */
  private allObjects(): boolean {
    for (let level = 1; level < this.depth; level++) if (this.stack[level] !== OBJECT) return false;
    return true;
  }

  private beginString(): void {
    this.state = STRING;
    this.escaped = false;
  }

  private capture(from: number): void {
    this.captureFrom = from;
    this.captured = '';
  }

  /** Keeps what was captured in a chunk that ends; gives up on what is too long. */
  private carry(chunk: Buffer, end: number): void {
    if (this.captured.length <= MAX_NAME_BYTES) {
      this.captured += chunk.toString('latin1', this.captureFrom, Math.min(end, this.captureFrom + MAX_NAME_BYTES + 1));
    }
  }

  /** The captured text, decoded; null when it was too long. */
  private takeCaptured(chunk: Buffer, end: number): string | null {
    this.carry(chunk, end);
    this.captureFrom = -1;
    const raw = this.captured;
    if (raw.length > MAX_NAME_BYTES) return null;
    const text = NOT_ASCII.test(raw) ? Buffer.from(raw, 'latin1').toString('utf8') : raw;
    return this.escaped ? (JSON.parse(`"${text}"`) as string) : text;
  }

  private beginValue(byte: number, at: number): number {
    if (byte === 0x7b) return this.open(OBJECT, at);
    if (byte === 0x5b) return this.open(ARRAY, at);
    if (this.wanted) {
      this.wantedStart = this.offset + at;
      this.capture(byte === QUOTE ? at + 1 : at);
    }
    if (byte === QUOTE) {
      this.isKey = false;
      this.beginString();
      return at + 1;
    }
    this.escaped = false;
    if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) {
      this.state = NUMBER;
      this.numberState = beginNumber(byte);
      return at + 1;
    }
    const literal = LITERALS[byte];
    if (literal === undefined) return this.fail('syntax');
    this.state = LITERAL;
    this.literal = literal;
    this.literalAt = 1;
    return at + 1;
  }

  private scanString(chunk: Buffer, from: number): number {
    const length = chunk.length;
    let at = from;
    while (at < length) {
      if (this.utf8Left === 0) {
        // Many runs are short: a call would cost more than they.
        const near = Math.min(length, at + SHORT);
        while (at < near && PLAIN[chunk[at] as number] === 1) at++;
        if (at < length && (at === near || (chunk[at] as number) >= 0x80)) at = plainText.end(chunk, at);
        if (at === length) return at;
      }
      const byte = chunk[at] as number;
      if (this.utf8Left > 0) {
        if (byte < this.utf8Low || byte > this.utf8High) return this.fail('utf8');
        this.utf8Left--;
        this.utf8Low = 0x80;
        this.utf8High = 0xbf;
        at++;
      } else if (byte === QUOTE) {
        return this.endString(chunk, at);
      } else if (byte === BACKSLASH) {
        this.escaped = true;
        // Most come with what they escape.
        if (at + 1 === length || ESCAPES[chunk[at + 1] as number] !== 1) {
          this.state = ESCAPE;
          return at + 1;
        }
        at += 2;
      } else if (byte < 0x80 || !this.beginUtf8(byte)) {
        return this.fail(byte < 0x80 ? 'syntax' : 'utf8');
      } else {
        at++;
      }
    }
    return at;
  }

  /** Table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing above U+10FFFF. */
  private beginUtf8(byte: number): boolean {
    if (byte >= 0xc2 && byte <= 0xdf) {
      this.utf8Left = 1;
    } else if (byte >= 0xe0 && byte <= 0xef) {
      this.utf8Left = 2;
      if (byte === 0xe0) this.utf8Low = 0xa0;
      if (byte === 0xed) this.utf8High = 0x9f;
    } else if (byte >= 0xf0 && byte <= 0xf4) {
      this.utf8Left = 3;
      if (byte === 0xf0) this.utf8Low = 0x90;
      if (byte === 0xf4) this.utf8High = 0x8f;
    } else {
      return false;
    }
    return true;
  }

  private endString(chunk: Buffer, at: number): number {
    if (this.isKey) {
      this.state = COLON;
      if (this.captureFrom !== -1) {
        this.wanted = this.sink.key(this.depth, this.takeCaptured(chunk, at));
        this.wantedDepth = this.depth;
      }
    } else {
      this.endScalar('string', chunk, at, at + 1);
    }
    return at + 1;
  }

  private endScalar(kind: ScalarKind, chunk: Buffer, textEnd: number, end: number): void {
    this.state = this.depth === 0 ? END : AFTER;
    if (!this.wanted) return;
    this.wanted = false;
    this.sink.value(this.wantedDepth, kind, this.takeCaptured(chunk, textEnd), this.wantedStart, this.offset + end);
  }

  private scanEscape(byte: number, at: number): number {
    if (byte === 0x75) {
      this.state = HEX;
      this.hexLeft = 4;
      return at + 1;
    }
    if (ESCAPES[byte] !== 1) return this.fail('syntax');
    this.state = STRING;
    return at + 1;
  }

  private scanHex(byte: number, at: number): number {
    const lower = byte | 0x20;
    if (!((byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x66))) return this.fail('syntax');
    if (--this.hexLeft === 0) this.state = STRING;
    return at + 1;
  }

  private scanNumber(chunk: Buffer, from: number): number {
    const length = chunk.length;
    let state = this.numberState;
    let at = from;
    while (at < length) {
      const next = NUMBER_STEPS[(state << 8) | (chunk[at] as number)] as number;
      if (next === -1) break;
      state = next;
      at++;
    }
    this.numberState = state;
    if (at === length) return length;
    if (NUMBER_MAY_END[state] !== true) return this.fail('syntax');
    this.endScalar('number', chunk, at, at);
    return at;
  }

  private scanLiteral(chunk: Buffer, from: number): number {
    const { word, kind } = this.literal;
    let at = from;
    while (at < chunk.length && this.literalAt < word.length) {
      if (chunk[at] !== word.charCodeAt(this.literalAt)) return this.fail('syntax');
      at++;
      this.literalAt++;
    }
    if (this.literalAt === word.length) this.endScalar(kind, chunk, at, at);
    return at;
  }
}
