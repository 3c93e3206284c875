/**
 * Reads the answers of one connection, strictly (RFC 9112 §2 to §7): what is not framed without doubt is a fault, and
 * nothing of the read that holds it is passed on. Made for engines of our own, which have no reason to write anything else.
 */
import { readAnswerHead, type AnswerHead } from './answer-head.ts';
import { ChunkedBody } from './chunked-body.ts';
import { MAX_HEADER_BYTES } from './limits.ts';

/** Hears, for each answer: interim*, head, data*, whole; or, at any point and last, fault. */
export interface AnswerSink {
  interim(status: number): void;
  /** Name, value, name, value … as written. False: nothing more until go(). */
  head(status: number, fields: readonly string[]): boolean;
  /** Of the body, never empty. False: nothing more until go(). */
  data(piece: Buffer): boolean;
  /** `reusable`: the connection may carry another request. */
  whole(reusable: boolean): void;
  fault(detail: string): void;
}

const HEAD = 0;
const LENGTH = 1;
const CHUNKS = 2;
/** Until the connection ends. */
const REST = 3;
/** Between answers, or after a fault. */
const OVER = 4;
type Part = typeof HEAD | typeof LENGTH | typeof CHUNKS | typeof REST | typeof OVER;

const SWITCHING_PROTOCOLS = 101;
const CONTINUE = 100;
const OK = 200;
const BEGINNING = 'HTTP/1.';
const END_OF_HEAD = '\r\n\r\n';

export class AnswerReader {
  private readonly sink: AnswerSink;
  private part: Part = OVER;
  /** Of a head that is not complete yet. */
  private text = '';
  /** Bytes of the body still to come, when its length is known. */
  private left = 0;
  private readonly chunks = new ChunkedBody();
  private reusable = false;
  /** The sink said to wait. */
  waiting = false;
  private readonly backlog: Buffer[] = [];
  private endIsDue = false;
  /** The connection has ended, and with it this answer, once the backlog is told. */
  private cameToEnd = false;

  constructor(sink: AnswerSink) {
    this.sink = sink;
  }

  /** The whole answer is here; its end is not told yet. */
  get complete(): boolean {
    return this.endIsDue;
  }

  /** An answer may come now. */
  expect(): void {
    this.part = HEAD;
    this.text = '';
    this.waiting = false;
    this.backlog.length = 0;
    this.endIsDue = false;
    this.cameToEnd = false;
  }

  /** Whatever comes is nobody's any more. */
  stop(): void {
    this.part = OVER;
    this.backlog.length = 0;
    this.endIsDue = false;
  }

  /** The sink can take more. */
  go(): void {
    this.waiting = false;
    for (;;) {
      const chunk = this.backlog.shift();
      if (chunk === undefined) break;
      this.readBody(chunk);
      if (this.waiting) return;
    }
    if (this.cameToEnd) this.finish();
    else if (this.endIsDue) this.end();
  }

  push(chunk: Buffer): void {
    if (this.waiting) {
      this.backlog.push(chunk);
      return;
    }
    let at = 0;
    while (this.part === HEAD) {
      at = this.readHead(chunk, at);
      if (at < 0) return;
    }
    if (at < chunk.length) this.readBody(at === 0 ? chunk : chunk.subarray(at));
  }

  /** The connection has ended. True when that is how this answer is to end; it is told as soon as the sink lets it. */
  closed(): boolean {
    this.reusable = false;
    if (this.endIsDue) return true;
    if (this.part !== REST) return false;
    if (this.waiting) this.cameToEnd = true;
    else this.finish();
    return true;
  }

  /** The offset behind the head; negative: more is needed, or nothing more will be read. */
  private readHead(chunk: Buffer, from: number): number {
    const before = this.text.length;
    // Of a body in the same read only as much is looked at as a head may be long.
    const text = this.text + chunk.toString('latin1', from, from + MAX_HEADER_BYTES + END_OF_HEAD.length);
    const end = text.indexOf(END_OF_HEAD, Math.max(0, before - END_OF_HEAD.length));
    if (end < 0 ? text.length > MAX_HEADER_BYTES : end > MAX_HEADER_BYTES) return this.fail('its head is too long');
    if (end < 0) {
      // What speaks first may wait for an answer itself: it would never end its head.
      if (!BEGINNING.startsWith(text.slice(0, BEGINNING.length)))
        return this.fail('its first line is not a status line');
      this.text = text;
      return -1;
    }
    this.text = '';
    const head = readAnswerHead(text.slice(0, end));
    if (typeof head === 'string') return this.fail(head);
    const behind = from + end + END_OF_HEAD.length - before;
    if (head.status < OK) {
      // Nobody asked for one of these; what follows them would be another protocol, or nothing.
      if (head.status === SWITCHING_PROTOCOLS || head.status === CONTINUE)
        return this.fail(`bad answer ${head.status}`);
      this.sink.interim(head.status);
      return this.part === HEAD && behind < chunk.length ? behind : -1;
    }
    return this.begin(head, chunk, behind);
  }

  private begin(head: AnswerHead, chunk: Buffer, behind: number): number {
    this.reusable = head.keepAlive;
    this.left = head.length ?? 0;
    this.part = head.chunked ? CHUNKS : head.length === null ? REST : LENGTH;
    this.chunks.reset();
    // The body's first bytes are checked before the head is told: what is badly framed is an error, not a broken answer.
    if (this.part === CHUNKS && behind < chunk.length && !this.chunks.isSound(chunk, behind)) {
      return this.fail(BAD_CHUNKS);
    }
    this.waiting = !this.sink.head(head.status, head.fields);
    if (this.part === LENGTH && this.left === 0) {
      if (behind < chunk.length) this.reusable = false;
      this.finish();
      return -1;
    }
    if (this.waiting && behind < chunk.length) {
      this.backlog.push(chunk.subarray(behind));
      return -1;
    }
    return behind;
  }

  private readBody(chunk: Buffer): void {
    if (this.part === REST) {
      this.pass(chunk);
    } else if (this.part === LENGTH) {
      const mine = chunk.length <= this.left ? chunk : chunk.subarray(0, this.left);
      if (mine.length < chunk.length) this.reusable = false;
      this.left -= mine.length;
      this.pass(mine);
      if (this.left === 0) this.finish();
    } else if (this.part === CHUNKS) {
      const payload = this.chunks.read(chunk);
      if (payload === null) {
        this.fail(BAD_CHUNKS);
        return;
      }
      if (this.chunks.excess > 0) this.reusable = false;
      if (payload.length > 0) this.pass(payload);
      if (this.chunks.ended) this.finish();
    }
  }

  private pass(piece: Buffer): void {
    if (!this.sink.data(piece)) this.waiting = true;
  }

  private finish(): void {
    this.part = OVER;
    this.cameToEnd = false;
    if (this.waiting) this.endIsDue = true;
    else this.end();
  }

  private end(): void {
    this.endIsDue = false;
    this.sink.whole(this.reusable);
  }

  private fail(detail: string): -1 {
    this.stop();
    this.sink.fault(detail);
    return -1;
  }
}

const BAD_CHUNKS = 'its chunks are badly framed';
