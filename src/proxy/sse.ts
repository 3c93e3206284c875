/** Where server-sent events end (WHATWG HTML §9.2.5: lines end with CRLF, LF or CR; an empty line ends an event). */

const LF = 0x0a;
const CR = 0x0d;

const IN_LINE = 0;
/** At the start of a line. */
const AT_START = 1;
/** At the start of a line, after a CR: a LF would still belong to it. */
const AFTER_CR = 2;

export class FrameSplitter {
  private state = AT_START;
  /** The CR just seen ended an event. */
  private closedByCr = false;

  /** What follows begins a new event. */
  reset(): void {
    this.state = AT_START;
    this.closedByCr = false;
  }

  /** Offsets behind each event that ends in this chunk, ascending. */
  push(chunk: Buffer): readonly number[] {
    const ends: number[] = [];
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      if (byte === LF && this.state === AFTER_CR) {
        // The second half of a CRLF. If its CR ended an event, the event ends here.
        if (this.closedByCr) {
          if (ends.length > 0 && ends[ends.length - 1] === at) ends.pop();
          ends.push(at + 1);
        }
        this.state = AT_START;
        this.closedByCr = false;
      } else if (byte === LF || byte === CR) {
        const empty = this.state !== IN_LINE;
        this.state = byte === CR ? AFTER_CR : AT_START;
        this.closedByCr = empty && byte === CR;
        if (empty) ends.push(at + 1);
      } else {
        this.state = IN_LINE;
        this.closedByCr = false;
      }
    }
    return ends;
  }
}

/** Cuts a stream into complete events; what is incomplete is held back, up to a bound. */
export class FrameGate {
  private readonly splitter = new FrameSplitter();
  private held: Buffer[] = [];
  private heldBytes = 0;
  private readonly limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes of an incomplete event have been passed on, because it grew beyond the bound. */
  torn = false;

  /**
   * Complete events, as one buffer, or null when none is complete. A stream that is sent event by event passes as it
   * came: the common case looks at two bytes.
   */
  push(chunk: Buffer): Buffer | null {
    const length = chunk.length;
    if (this.heldBytes === 0 && !this.torn && length > 2 && chunk[length - 1] === LF && chunk[length - 2] === LF) {
      this.splitter.reset();
      return chunk;
    }
    const ends = this.splitter.push(chunk);
    const last = ends[ends.length - 1] ?? 0;
    if (last > 0) {
      const whole = this.take(chunk.subarray(0, last));
      this.torn = false;
      this.hold(chunk.subarray(last));
      return whole;
    }
    this.hold(chunk);
    if (this.heldBytes <= this.limit) return null;
    this.torn = true;
    return this.take(null);
  }

  /** What is still held back at the end of the stream. */
  rest(): Buffer | null {
    return this.heldBytes === 0 ? null : this.take(null);
  }

  private hold(piece: Buffer): void {
    if (piece.length === 0) return;
    this.held.push(piece);
    this.heldBytes += piece.length;
  }

  private take(more: Buffer | null): Buffer {
    if (more !== null) this.held.push(more);
    const whole = this.held.length === 1 ? (this.held[0] as Buffer) : Buffer.concat(this.held);
    this.held = [];
    this.heldBytes = 0;
    return whole;
  }
}

const TWO_LINE_ENDS = Buffer.from('\n\n');

/** The complete events in a buffer that ends with one. */
export function splitFrames(events: Buffer): readonly Buffer[] {
  if (!events.includes(CR)) return splitAtLineFeeds(events);
  const ends = new FrameSplitter().push(events);
  const frames: Buffer[] = [];
  let from = 0;
  for (const end of ends) {
    frames.push(events.subarray(from, end));
    from = end;
  }
  if (from < events.length) frames.push(events.subarray(from));
  return frames;
}

/** The same where lines end with LF alone, as engines end them: without a look at every byte. */
function splitAtLineFeeds(events: Buffer): readonly Buffer[] {
  const frames: Buffer[] = [];
  for (let from = 0; from < events.length;) {
    const at = events.indexOf(TWO_LINE_ENDS, from);
    const end = events[from] === LF ? from + 1 : at === -1 ? events.length : at + TWO_LINE_ENDS.length;
    frames.push(from === 0 && end === events.length ? events : events.subarray(from, end));
    from = end;
  }
  return frames;
}
