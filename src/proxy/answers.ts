/** The three kinds of answers of an engine, on their way to the client: a stream of events, a plain body, an error. */
import { gatewayError, type GatewayError } from '../errors.ts';
import { EventEditor, ModelEditor } from './answer-edit.ts';
import type { Endpoint } from './endpoints.ts';
import { renameInError, saysGoingDown, shapedErrorBody, withoutCredentials } from './engine-errors.ts';
import { JsonScanner } from './json-scan.ts';
import { MAX_ERROR_BODY, MAX_HELD_FRAME } from './limits.ts';
import { withoutFields, type UpstreamHead } from './response-headers.ts';
import { FrameGate, splitFrames } from './sse.ts';
import { errorInFrame, isSilent } from './stream-events.ts';
import { StreamWatch, type Usage } from './stream-watch.ts';

/** What an answer may do to the exchange it belongs to. */
export interface AnswerSide {
  readonly endpoint: Endpoint;
  readonly requestId: string;
  /** The name that the client wrote, and the engine's. */
  readonly asked: string;
  readonly served: string;
  /** What we added to the head of the request to the engine. */
  readonly upstreamFields: Readonly<Record<string, string>>;
  readonly headSent: boolean;
  /** An engine that goes down may be replaced by another attempt. */
  readonly mayReturn: boolean;
  sendHead(status: number, headers: readonly string[]): void;
  /** False: wait for the client. */
  send(piece: Buffer): boolean;
  /** The whole answer is out. */
  completed(failed: boolean, usage: Usage): void;
  /** An error of the engine instead of an answer: status and shaped body. */
  engineError(head: UpstreamHead, status: number, body: Buffer): void;
  /** The connection broke before anything of the answer reached the client. */
  lost(detail: string): void;
  /** The engine says that it goes down. Nothing of its answer reached the client. */
  goingDown(relay: () => void): void;
  /** The answer cannot be completed. `torn`: in the middle of an event. */
  broken(error: GatewayError, torn: boolean, sequenceNumber: number): void;
}

export interface Answer {
  /** False pauses the engine. */
  data(chunk: Buffer): boolean;
  end(): void;
  failed(detail: string): void;
  /** For an error that comes from elsewhere (deadline, cut): how it is to be told. */
  readonly torn: boolean;
  readonly isStream: boolean;
  sequenceNumber(): number;
}

const endedEarly = (): GatewayError =>
  gatewayError('upstream_lost', 'The engine ended its answer before it was complete.');

const NO_USAGE: Usage = { promptTokens: null, completionTokens: null };
const LENGTH_ONLY: ReadonlySet<string> = new Set(['content-length']);
const REPLACED_IN_STREAMS: ReadonlySet<string> = new Set(['content-length', 'cache-control', 'x-accel-buffering']);

export const STREAM_HEADERS: readonly string[] = [
  ...['cache-control', 'no-cache, no-transform'],
  ...['x-accel-buffering', 'no'],
];

/** Server-sent events. */
export class StreamAnswer implements Answer {
  readonly isStream = true;
  private readonly side: AnswerSide;
  private readonly head: UpstreamHead;
  private readonly gate = new FrameGate(MAX_HELD_FRAME);
  private readonly watch: StreamWatch;
  private readonly editor: EventEditor | null;
  private started = false;
  private over = false;
  /** Events without data before the first with data: they decide nothing. */
  private silent: Buffer[] = [];

  constructor(side: AnswerSide, head: UpstreamHead) {
    this.side = side;
    this.head = head;
    this.watch = new StreamWatch(side.endpoint.dialect);
    this.editor = side.asked === side.served ? null : new EventEditor(Buffer.from(JSON.stringify(side.asked)));
  }

  get torn(): boolean {
    return this.gate.torn;
  }

  sequenceNumber(): number {
    return this.watch.lastSequenceNumber() + 1;
  }

  data(chunk: Buffer): boolean {
    if (this.over) return true;
    const events = this.gate.push(chunk);
    return events === null || this.relay(events);
  }

  end(): void {
    if (this.over) return;
    const rest = this.gate.rest();
    if (rest !== null) this.relay(rest);
    if (this.over) return;
    this.over = true;
    if (!this.started) {
      this.side.lost('a stream without an event');
      return;
    }
    const ending = this.watch.streamEnding();
    const complete = ending.terminal && (this.head.delimited || this.side.endpoint.dialect !== null);
    if (complete) this.side.completed(ending.failed, ending.usage);
    else this.side.broken(endedEarly(), this.torn, this.sequenceNumber());
  }

  failed(detail: string): void {
    if (this.over) return;
    this.over = true;
    if (this.started) this.side.broken(endedEarly(), this.torn, this.sequenceNumber());
    else this.side.lost(detail);
  }

  private relay(events: Buffer): boolean {
    if (!this.started && !this.begin(events)) return true;
    const out = this.editor === null ? events : edited(events, this.editor);
    this.watch.push(out);
    return this.side.send(out);
  }

  /** The first event decides whether this is an answer at all. */
  private begin(events: Buffer): boolean {
    if (isSilent(events) && !this.gate.torn && this.silent.length < 64) {
      this.silent.push(events);
      return false;
    }
    const first = splitFrames(events).find((frame) => !isSilent(frame)) ?? events;
    const error = errorInFrame(first);
    if (error === null) {
      this.start();
      return true;
    }
    this.over = true;
    const tell = (): void => {
      this.side.engineError(this.head, error.status, shaped(this.side, error.body, error.status));
    };
    if (this.side.mayReturn && saysGoingDown(first)) this.side.goingDown(tell);
    else tell();
    return false;
  }

  private start(): void {
    this.started = true;
    if (!this.side.headSent) {
      const headers = withoutFields(this.head.headers, REPLACED_IN_STREAMS);
      this.side.sendHead(this.head.status, [...headers, ...STREAM_HEADERS]);
    }
    for (const events of this.silent) this.side.send(events);
    this.silent = [];
  }
}

function edited(events: Buffer, editor: EventEditor): Buffer {
  const frames = splitFrames(events);
  return frames.length === 1 ? editor.edit(events) : Buffer.concat(frames.map((frame) => editor.edit(frame)));
}

function shaped(side: AnswerSide, body: Buffer, status: number): Buffer {
  const told = withoutCredentials(renameInError(body, side.served, side.asked), side.upstreamFields);
  return shapedErrorBody(told, status, side.endpoint.errors, side.requestId);
}

const IGNORE_KEYS = { key: () => false, value: () => undefined, container: () => undefined };
/** Far beyond what an engine sends; only bounds the check of answers whose end nothing marks. */
const CHECK_DEPTH = 512;

/** Everything else that is not an error: JSON, text, audio. */
export class PlainAnswer implements Answer {
  readonly torn = false;
  readonly isStream = false;
  private readonly side: AnswerSide;
  private readonly head: UpstreamHead;
  private readonly watch: StreamWatch | null;
  private readonly editor: ModelEditor | null;
  /** Without a length the end of the connection says nothing: only JSON can tell that it is whole. */
  private readonly check: JsonScanner | null;
  private started = false;
  private over = false;

  constructor(side: AnswerSide, head: UpstreamHead) {
    this.side = side;
    this.head = head;
    const isJson = /^application\/(?:[\w.+-]+\+)?json\b/.test(head.contentType);
    this.watch = isJson ? new StreamWatch(null) : null;
    this.editor =
      isJson && side.asked !== side.served ? new ModelEditor(Buffer.from(JSON.stringify(side.asked))) : null;
    this.check = isJson && !head.delimited ? new JsonScanner(IGNORE_KEYS, 0, CHECK_DEPTH) : null;
  }

  sequenceNumber(): number {
    return 0;
  }

  data(chunk: Buffer): boolean {
    if (this.over || this.isUnexpected()) return true;
    this.watch?.push(chunk);
    this.check?.write(chunk);
    if (this.editor === null) return this.send(chunk);
    let ready = true;
    for (const piece of this.editor.push(chunk)) ready = this.send(piece) && ready;
    return ready;
  }

  end(): void {
    if (this.over || this.isUnexpected()) return;
    for (const piece of this.editor?.end() ?? []) this.send(piece);
    this.over = true;
    const whole = this.head.delimited || (this.check?.end() ?? false);
    if (!whole) {
      if (this.started) this.side.broken(endedEarly(), false, 0);
      else this.side.lost('an answer without a length');
      return;
    }
    this.start();
    const ending = this.watch?.plainEnding();
    this.side.completed(ending?.failed ?? false, ending?.usage ?? NO_USAGE);
  }

  failed(detail: string): void {
    if (this.over) return;
    this.over = true;
    if (this.started) this.side.broken(endedEarly(), false, 0);
    else this.side.lost(detail);
  }

  /** A heartbeat has promised a stream. */
  private isUnexpected(): boolean {
    if (this.started || !this.side.headSent) return false;
    this.over = true;
    const error = gatewayError('upstream_protocol_error', 'The engine answered a request for a stream without one.');
    this.side.broken(error, false, 0);
    return true;
  }

  private send(piece: Buffer): boolean {
    this.start();
    return this.side.send(piece);
  }

  private start(): void {
    if (this.started) return;
    this.started = true;
    const keepsLength = this.editor === null && this.head.delimited;
    this.side.sendHead(
      this.head.status,
      keepsLength ? this.head.headers : withoutFields(this.head.headers, LENGTH_ONLY),
    );
  }
}

/** A status of 400 and above: read whole, so that its shape can be told. */
export class ErrorAnswer implements Answer {
  readonly torn = false;
  readonly isStream = false;
  private readonly side: AnswerSide;
  private readonly head: UpstreamHead;
  private readonly pieces: Buffer[] = [];
  private bytes = 0;
  private over = false;

  constructor(side: AnswerSide, head: UpstreamHead) {
    this.side = side;
    this.head = head;
  }

  sequenceNumber(): number {
    return 0;
  }

  data(chunk: Buffer): boolean {
    if (this.over) return true;
    this.pieces.push(chunk);
    this.bytes += chunk.length;
    if (this.bytes > MAX_ERROR_BODY) this.end();
    return true;
  }

  end(): void {
    if (this.over) return;
    this.over = true;
    const body = Buffer.concat(this.pieces);
    const { status } = this.head;
    const tell = (): void => {
      this.side.engineError(this.head, status, shaped(this.side, body, status));
    };
    if (this.side.mayReturn && status >= 500 && saysGoingDown(body)) this.side.goingDown(tell);
    else tell();
  }

  failed(detail: string): void {
    if (this.over) return;
    this.over = true;
    this.side.lost(detail);
  }
}
