/**
 * A connection in memory: at one end a socket as Node's streams see it, which the gateway holds; at the other a party of
 * the world, a client or an engine. Bytes arrive late, in pieces, in order; an end behind them, a reset over them.
 */
import { Duplex } from 'node:stream';
import type { Bytes, Milliseconds } from '../../../src/units.ts';
import type { Random } from '../random.ts';
import type { Time } from './time.ts';

export interface WireRules {
  /** One way. */
  readonly latencyMs: Milliseconds;
  /** Pieces are at most so long; 0 = as they were sent. */
  readonly pieceBytes: number;
  /** What may be under way to a party that does not read. */
  readonly windowBytes: number;
  /** What a socket takes before it says that it is enough. */
  readonly bufferBytes?: number;
}

/** What a party hears of its end. */
export interface Party {
  received(bytes: Buffer): void;
  /** No more will come: the other side has ended its half, or is gone. */
  ended(how: 'end' | 'reset'): void;
}

const DEFAULT_BUFFER: Bytes = 16_384;
/** Of what is sent at once. */
const MAX_PIECES = 400;
/** A system hands over no more in one piece. */
const MOST_AT_ONCE = 16_384;

interface Piece {
  readonly bytes: Buffer | null;
  readonly at: Milliseconds;
}

/** One direction: what was sent and has not arrived. */
class Lane {
  readonly pieces: Piece[] = [];
  bytes = 0;
  /** When all that was sent has arrived. */
  lastAt: Milliseconds = 0;
  private readonly time: Time;
  private readonly random: Random;
  private readonly rules: WireRules;
  private readonly arrived: () => void;

  constructor(time: Time, random: Random, rules: WireRules, arrived: () => void) {
    this.time = time;
    this.random = random;
    this.rules = rules;
    this.arrived = arrived;
  }

  send(bytes: Buffer | null, whole = false): void {
    if (bytes === null || whole) {
      this.add(bytes);
      return;
    }
    // What is long comes in larger ones: its many borders show nothing new.
    const pieceBytes = this.rules.pieceBytes === 0 ? 0 : Math.max(this.rules.pieceBytes, bytes.length / MAX_PIECES);
    for (let from = 0; from < bytes.length;) {
      const drawn = pieceBytes === 0 ? bytes.length : this.random.int(1, Math.ceil(pieceBytes));
      const length = Math.min(MOST_AT_ONCE, drawn);
      this.add(bytes.subarray(from, from + length));
      from += length;
    }
  }

  /** The next piece that has arrived. */
  take(): Piece | undefined {
    const [first] = this.pieces;
    if (first === undefined || first.at > this.time.now) return undefined;
    this.pieces.shift();
    this.bytes -= first.bytes?.length ?? 0;
    return first;
  }

  clear(): void {
    this.pieces.length = 0;
    this.bytes = 0;
  }

  private add(bytes: Buffer | null): void {
    const { latencyMs } = this.rules;
    const jitter = latencyMs === 0 ? 0 : this.random.int(0, latencyMs);
    this.lastAt = Math.max(this.lastAt, this.time.now + jitter);
    this.pieces.push({ bytes, at: this.lastAt });
    this.bytes += bytes?.length ?? 0;
    this.time.after(this.lastAt - this.time.now, this.arrived);
  }
}

export interface WireOptions {
  readonly time: Time;
  readonly random: Random;
  readonly rules: WireRules;
  /** A server's sockets may stay half open; a client's end when the other side does. */
  readonly halfOpen: boolean;
  /** The process that holds the socket is still there. */
  readonly alive: () => boolean;
}

/** The gateway's end. */
export class WireSocket extends Duplex {
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort = 40_000;
  bytesRead = 0;
  bytesWritten = 0;
  connecting = false;
  letGoAt: Milliseconds = Number.POSITIVE_INFINITY;
  readonly far: FarEnd;
  private readonly options: WireOptions;
  private readonly incoming: Lane;
  private readonly outgoing: Lane;
  private wanted = false;
  private stuck: { readonly bytes: Buffer; readonly done: (error?: Error | null) => void } | null = null;
  private finishing: ((error?: Error | null) => void) | null = null;

  constructor(options: WireOptions) {
    const writableHighWaterMark = options.rules.bufferBytes ?? DEFAULT_BUFFER;
    super({ allowHalfOpen: options.halfOpen, autoDestroy: true, emitClose: true, writableHighWaterMark });
    const { time, random, rules } = options;
    this.options = options;
    this.incoming = new Lane(time, random, rules, () => this.pump());
    this.outgoing = new Lane(time, random, rules, () => this.far.pump());
    this.far = new FarEnd(this, this.incoming, this.outgoing);
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  /** Node's own patience with sockets is not part of this world; the gateway has its own. */
  setTimeout(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  resetAndDestroy(): this {
    this.outgoing.clear();
    this.far.reset = true;
    return this.destroy();
  }

  override _read(): void {
    this.wanted = true;
    this.pump();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (!this.options.alive()) return;
    this.stuck = { bytes: chunk, done };
    this.room();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.finishing = done;
    this.room();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { stuck } = this;
    this.letGoAt = this.options.time.now;
    this.stuck = null;
    this.finishing = null;
    this.incoming.clear();
    if (!this.options.alive()) return;
    this.outgoing.send(null);
    done(error);
    // As a handle does that is closed with a write under way.
    stuck?.done();
  }

  /** The system takes more when what is under way has arrived. */
  room(): void {
    const { stuck, finishing } = this;
    if (stuck !== null && this.outgoing.bytes < this.options.rules.windowBytes) {
      this.stuck = null;
      this.bytesWritten += stuck.bytes.length;
      this.outgoing.send(stuck.bytes);
      stuck.done();
    } else if (stuck === null && finishing !== null) {
      this.finishing = null;
      this.outgoing.send(null);
      finishing();
    }
  }

  /** The machine cut it: nothing that was sent and did not arrive will. */
  broken(code: string): void {
    this.incoming.clear();
    this.outgoing.clear();
    if (this.destroyed || !this.options.alive()) return;
    this.destroy(Object.assign(new Error(code), { code }));
  }

  private pump(): void {
    while (this.wanted && this.options.alive() && !this.destroyed) {
      const piece = this.incoming.take();
      if (piece === undefined) return;
      if (piece.bytes === null) this.push(null);
      else {
        this.bytesRead += piece.bytes.length;
        this.wanted = this.push(piece.bytes);
      }
    }
  }
}

/** The other end: a party's. */
export class FarEnd {
  party: Party | null = null;
  reset = false;
  /** Neither side will hear of the other any more. */
  closed = false;
  private reading = true;
  private sentEnd = false;
  private heardEnd = false;
  private readonly socket: WireSocket;
  private readonly incoming: Lane;
  private readonly outgoing: Lane;

  /** `toSocket` and `fromSocket`, as the lanes run. */
  constructor(socket: WireSocket, toSocket: Lane, fromSocket: Lane) {
    this.socket = socket;
    this.outgoing = toSocket;
    this.incoming = fromSocket;
  }

  /** The gateway has let go of its end, whether that is heard here already or not. */
  get abandoned(): boolean {
    return this.socket.destroyed;
  }

  /** Of the bytes that were sent, those that the gateway has taken. */
  get taken(): number {
    return this.socket.bytesRead;
  }

  /** When the gateway let go of its end; not yet = never. */
  get letGoAt(): Milliseconds {
    return this.socket.letGoAt;
  }

  /** When all that was sent from here has arrived. */
  get arrivesAt(): Milliseconds {
    return this.outgoing.lastAt;
  }

  /** False when nobody will get it. `whole`: it arrives in one piece. */
  send(bytes: Buffer | string, whole = false): boolean {
    if (this.closed || this.sentEnd) return false;
    this.outgoing.send(typeof bytes === 'string' ? Buffer.from(bytes) : bytes, whole);
    return true;
  }

  end(): void {
    if (this.closed || this.sentEnd) return;
    this.sentEnd = true;
    this.outgoing.send(null);
  }

  /** Cuts it; what is under way either way is lost. */
  cut(code = 'ECONNRESET'): void {
    if (this.closed) return;
    this.closed = true;
    this.socket.broken(code);
  }

  pauseReading(): void {
    this.reading = false;
  }

  resumeReading(): void {
    this.reading = true;
    this.pump();
  }

  /** The process at the other end is gone without a word; its system says so. */
  orphaned(): void {
    if (this.closed) return;
    this.incoming.clear();
    this.hear('reset');
  }

  pump(): void {
    while (this.reading && !this.closed) {
      const piece = this.incoming.take();
      if (piece === undefined) break;
      if (piece.bytes === null) this.hear(this.reset ? 'reset' : 'end');
      else this.party?.received(piece.bytes);
    }
    this.socket.room();
  }

  private hear(how: 'end' | 'reset'): void {
    if (this.heardEnd) {
      this.closed = true;
      return;
    }
    this.heardEnd = true;
    if (how === 'reset' || this.socket.destroyed) this.closed = true;
    this.party?.ended(how);
  }
}
