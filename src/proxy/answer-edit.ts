/** Puts the asked name where the engine's answer says its own: the value of `model` at depth 1, or under `response` or `message`. */
import { KIB, type Bytes } from '../units.ts';
import { JsonScanner, type ScalarKind, type ScanSink } from './json-scan.ts';
import { MAX_HELD_FRAME } from './limits.ts';

/** Answers may nest as deep as they like; beyond this they are passed on without an edit. */
const ANSWER_DEPTH = 512;

/** Edits one JSON document that comes in pieces. Holds back at most what lies between the key and the end of its value. */
export class ModelEditor implements ScanSink {
  private readonly replacement: Buffer;
  private readonly scanner = new JsonScanner(this, 2, ANSWER_DEPTH);
  /** Nothing is left to edit: all further bytes pass. */
  private done = false;
  private parent = '';
  private held: Buffer[] = [];
  private heldAt = 0;
  private heldBytes = 0;
  private editStart = -1;
  private editEnd = -1;

  /** @param replacement the JSON text of the asked name */
  constructor(replacement: Buffer) {
    this.replacement = replacement;
  }

  /** The pieces that may go out now. */
  push(chunk: Buffer): readonly Buffer[] {
    if (this.done) return [chunk];
    const valid = this.scanner.write(chunk);
    this.held.push(chunk);
    this.heldBytes += chunk.length;
    if (this.editStart !== -1) return this.edited();
    if (valid && this.scanner.pending && this.heldBytes <= MAX_HELD_FRAME) return [];
    if (!valid || this.heldBytes > MAX_HELD_FRAME) this.done ||= !valid || this.scanner.pending;
    return this.release();
  }

  /** What was held back when the document ended too early. */
  end(): readonly Buffer[] {
    this.done = true;
    return this.release();
  }

  /** Offsets of the name, where one was found. */
  get name(): { readonly start: number; readonly end: number } | null {
    return this.editStart === -1 ? null : { start: this.editStart, end: this.editEnd };
  }

  key(depth: number, key: string | null): boolean {
    if (depth === 1) this.parent = key ?? '';
    if (this.done || this.editStart !== -1 || key !== 'model') return false;
    return depth === 1 || this.parent === 'response' || this.parent === 'message';
  }

  value(_depth: number, kind: ScalarKind, text: string | null, start: number, end: number): void {
    if (kind !== 'string' || text === null) return;
    this.editStart = start;
    this.editEnd = end;
  }

  container(): void {
    // A `model` that is no string is not a name.
  }

  private edited(): readonly Buffer[] {
    const whole = this.held.length === 1 ? (this.held[0] as Buffer) : Buffer.concat(this.held);
    const before = whole.subarray(0, this.editStart - this.heldAt);
    const after = whole.subarray(this.editEnd - this.heldAt);
    this.done = true;
    this.held = [];
    return [before, this.replacement, after].filter((piece) => piece.length > 0);
  }

  private release(): readonly Buffer[] {
    const pieces = this.held;
    this.heldAt += this.heldBytes;
    this.heldBytes = 0;
    this.held = [];
    return pieces;
  }
}

const MODEL_KEY = Buffer.from('"model"');
const DATA = Buffer.from('data:');
const BRACE = 0x7b;

/** What is remembered of an event: engines write the name early. */
const MAX_REMEMBERED: Bytes = 1 * KIB;
const NOTHING: Buffer = Buffer.alloc(0);

/** Replaces the name in the events of one stream. */
export class EventEditor {
  private readonly replacement: Buffer;
  /**
   * The last event with a name, from its first byte to the end of the name; as it came, and edited. One that begins with
   * the same bytes has its name in the same place: nothing need be scanned.
   */
  private beginning = NOTHING;
  private edited = NOTHING;

  /** @param replacement the JSON text of the asked name */
  constructor(replacement: Buffer) {
    this.replacement = replacement;
  }

  /** One complete server-sent event with the name in its data replaced; the event itself when there is none. */
  edit(event: Buffer): Buffer {
    const { length } = this.beginning;
    if (length > 0 && event.length > length && event.compare(this.beginning, 0, length, 0, length) === 0)
      return Buffer.concat([this.edited, event.subarray(length)]);
    return this.scanned(event);
  }

  private scanned(event: Buffer): Buffer {
    if (!event.includes(MODEL_KEY)) return event;
    const data = dataStart(event);
    const open = data === -1 ? -1 : event.indexOf(BRACE, data);
    if (open === -1) return event;
    const name = nameIn(event.subarray(open, lineEnd(event, open)));
    if (name === null) return event;
    const beginning = event.subarray(0, open + name.end);
    const edited = Buffer.concat([event.subarray(0, open + name.start), this.replacement]);
    if (beginning.length <= MAX_REMEMBERED) {
      this.beginning = Buffer.from(beginning);
      this.edited = edited;
    }
    return Buffer.concat([edited, event.subarray(open + name.end)]);
  }
}

/** Where the name is in one JSON document. */
function nameIn(document: Buffer): { readonly start: number; readonly end: number } | null {
  const editor = new ModelEditor(NOTHING);
  editor.push(document);
  return editor.name;
}

function lineEnd(frame: Buffer, from: number): number {
  for (let at = from; at < frame.length; at++) if (frame[at] === 0x0a || frame[at] === 0x0d) return at;
  return frame.length;
}

/** Where the first `data:` line begins; -1 when there is none. */
export function dataStart(frame: Buffer): number {
  let at = frame.indexOf(DATA);
  while (at > 0 && frame[at - 1] !== 0x0a && frame[at - 1] !== 0x0d) at = frame.indexOf(DATA, at + 1);
  return at;
}
