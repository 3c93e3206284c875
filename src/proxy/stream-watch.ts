/** What an answer's end says: did it end as its API says, did it carry an error, how many tokens. Looks at the tail, once. */
import type { StreamDialect } from './endpoints.ts';
import { KIB, type Bytes } from '../units.ts';
import { TAIL_BYTES } from './limits.ts';

export interface Usage {
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
}

export interface Ending {
  /** The API's own last event was seen; for routes without one, true. */
  readonly terminal: boolean;
  /** An error event, or a finish that is an abort. */
  readonly failed: boolean;
  readonly usage: Usage;
}

const NO_USAGE: Usage = { promptTokens: null, completionTokens: null };

const DONE = /(?<=^|[\r\n])data: ?\[DONE\][ \t]*(?:[\r\n]|$)/y;
const MESSAGE_STOP = /(?:^|[\r\n])event: ?message_stop[\r\n]|"type": ?"message_stop"/;
const ERROR_DATA = /(?:^|[\r\n])data: ?\{ ?"error" ?: ?[{"]/;
const ERROR_EVENT = /(?:^|[\r\n])event: ?error[\r\n]/;
const ABORTED = /"finish_reason": ?"abort"/;

/** Room for copies at first; more when it is needed. */
const FIRST_ROOM: Bytes = 1 * KIB;
const NOTHING: Buffer = Buffer.alloc(0);

/**
 * Keeps a copy of an answer's end. The pieces themselves would outlive their turn: thousands of small objects that the
 * collector has to move, and to find again when they are old.
 */
export class StreamWatch {
  /** The first piece, while it is the only one: nothing is copied of an answer that comes at once. */
  private only: Buffer | null = null;
  /** Of several pieces: a ring, once it is as large as it may be. */
  private kept = NOTHING;
  /** Where the next byte goes. */
  private end: Bytes = 0;
  private wrapped = false;
  private lastResponseEvent: 'open' | 'ended' | 'failed' = 'open';
  private readonly dialect: StreamDialect | null;

  constructor(dialect: StreamDialect | null) {
    this.dialect = dialect;
  }

  /** Of a stream: complete events. */
  push(piece: Buffer): void {
    if (this.kept.length > 0) {
      this.keep(piece);
    } else if (this.only === null) {
      this.only = piece;
    } else {
      this.keep(this.only);
      this.keep(piece);
      this.only = NOTHING;
    }
    if (this.dialect === 'responses') this.lastResponseEvent = responseEvent(piece, this.lastResponseEvent);
  }

  private keep(piece: Buffer): void {
    const from = Math.max(0, piece.length - TAIL_BYTES);
    const size = piece.length - from;
    if (this.end + size > this.kept.length && this.kept.length < TAIL_BYTES) this.grow(this.end + size);
    const first = Math.min(size, this.kept.length - this.end);
    piece.copy(this.kept, this.end, from, from + first);
    this.end += first;
    if (first === size) return;
    // The oldest bytes give way.
    piece.copy(this.kept, 0, from + first);
    this.end = size - first;
    this.wrapped = true;
  }

  private grow(size: Bytes): void {
    let room = Math.max(this.kept.length, FIRST_ROOM);
    while (room < Math.min(size, TAIL_BYTES)) room *= 2;
    const into = Buffer.allocUnsafeSlow(room);
    this.kept.copy(into, 0, 0, this.end);
    this.kept = into;
  }

  /** How a stream ended. */
  streamEnding(): Ending {
    const text = this.tail();
    switch (this.dialect) {
      case 'responses':
        return {
          terminal: this.lastResponseEvent !== 'open',
          failed: this.lastResponseEvent === 'failed',
          usage: usageIn(text),
        };
      case 'messages': {
        const failed = text.includes('error') && ERROR_EVENT.test(text);
        return { terminal: failed || MESSAGE_STOP.test(text), failed, usage: usageIn(text) };
      }
      default: {
        const failed = (text.includes('"error"') && ERROR_DATA.test(text)) || isAborted(text);
        return { terminal: this.dialect === null || isDone(text), failed, usage: usageIn(text) };
      }
    }
  }

  /** How a plain JSON answer ended. */
  plainEnding(): Ending {
    const text = this.tail();
    return { terminal: true, failed: isAborted(text), usage: usageIn(text) };
  }

  /** The last `sequence_number` of a Responses stream; -1 when none is in sight. */
  lastSequenceNumber(): number {
    const all = [...this.tail().matchAll(/"sequence_number": ?(\d+)/g)];
    return Number(all[all.length - 1]?.[1] ?? -1);
  }

  private tail(): string {
    const { only, kept, end } = this;
    if (kept.length === 0) return only === null ? '' : only.toString('latin1', Math.max(0, only.length - TAIL_BYTES));
    return (this.wrapped ? kept.toString('latin1', end) : '') + kept.toString('latin1', 0, end);
  }
}

/** A Responses stream's last event may be larger than the tail: its name stands at its beginning, its type at its end. */
function responseEvent(events: Buffer, before: 'open' | 'ended' | 'failed'): 'open' | 'ended' | 'failed' {
  const end = events.length - 3;
  const from = Math.max(events.lastIndexOf('\n\n', end), events.lastIndexOf('\r\n\r\n', end - 2));
  const start = from === -1 ? 0 : from;
  const head = events.toString('latin1', start, start + 64).trimStart();
  const name =
    /^event: ?(\S+)/.exec(head)?.[1] ?? /"type": ?"([\w.]+)"\s*\}\s*$/.exec(events.toString('latin1', -96))?.[1];
  if (name === 'response.completed' || name === 'response.incomplete' || name === 'response.cancelled') return 'ended';
  if (name === 'response.failed' || name === 'error') return 'failed';
  return name === undefined ? before : 'open';
}

/** Characters of a usage object that are looked at; real ones take a tenth. */
const USAGE_LENGTH = 2_048;
const USAGE = '"usage":';
const LAST = '[DONE]';
/** Characters of its line before it: `data: `, or `data:`. */
const BEFORE_LAST = [6, 5];

/** Looking for a fixed text first costs a fraction of the expression, which hardly ever finds anything. */
const isAborted = (text: string): boolean => text.includes('"abort"') && ABORTED.test(text);

/** Mostly the very last of a stream: looked for from its end on. */
function isDone(text: string): boolean {
  for (let at = text.lastIndexOf(LAST); at > 0; at = text.lastIndexOf(LAST, at - 1)) {
    for (const before of BEFORE_LAST) {
      DONE.lastIndex = at - before;
      if (DONE.test(text)) return true;
    }
  }
  return false;
}

function usageIn(text: string): Usage {
  let at = -1;
  // Backwards would be many times as slow.
  for (let next = text.indexOf(USAGE); next !== -1; next = text.indexOf(USAGE, next + USAGE.length)) {
    if (text.startsWith('{', next + USAGE.length) || text.startsWith(' {', next + USAGE.length)) at = next;
  }
  if (at === -1) return NO_USAGE;
  const usage = text.slice(at, at + USAGE_LENGTH);
  return {
    promptTokens: numberAfter(usage, /"(?:prompt|input)_tokens": ?(\d+)/),
    completionTokens: numberAfter(usage, /"(?:completion|output)_tokens": ?(\d+)/),
  };
}

function numberAfter(text: string, pattern: RegExp): number | null {
  const digits = pattern.exec(text)?.[1];
  return digits === undefined ? null : Number(digits);
}
