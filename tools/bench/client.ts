/** One client connection of the load: keeps alive, checks every answer whole. */
import { connect, type Socket } from 'node:net';
import { ChunkReader } from './chunks.ts';

export interface Asked {
  readonly path: string;
  /** In pieces, so that a long prompt is made once. */
  readonly body: readonly Buffer[];
  readonly nonce: string;
  /** Events that a stream must bring; null = a plain answer. */
  readonly events: number | null;
}

export interface Answered {
  readonly status: number;
  /** In words; null = as it had to be. */
  readonly fault: string | null;
  readonly events: number;
}

/** Told while an answer comes. */
export interface Listener {
  /** For each read that brings events: milliseconds since the engine sent the first of them. */
  event?(delay: number): void;
}

const HEAD_END = '\r\n\r\n';
const DATA = Buffer.from('data: {');
const DONE = Buffer.from('data: [DONE]');
const LF = 10;
const STAMP_SIGN = Buffer.from(' @');
const STAMP_DIGITS = 16;
/** The longest that is looked for across two reads. */
const JOINT = 24;
const NOTHING: Buffer = Buffer.alloc(0);
const TOO_MANY = 429;
const OK = 200;

const now = (): number => Number(process.hrtime.bigint() / 1_000n) / 1_000;

export class LoadClient {
  private socket: Socket | null = null;
  private readonly port: number;
  private readonly headers: string;
  private asked: Asked | null = null;
  private done: ((answer: Answered) => void) | null = null;
  private listener: Listener = {};
  private head = '';
  private status = 0;
  /** The server says that it ends the connection with this answer: servers allow so many requests on each. */
  private last = false;
  /** Bytes that are still to come; null: the answer comes in chunks, or its head is not there yet. */
  private left: number | null = null;
  private events = 0;
  private sawNonce = false;
  private sawDone = false;
  private tail = NOTHING;
  private chunks: ChunkReader = this.newChunks();

  constructor(port: number, headers: Readonly<Record<string, string>>) {
    this.port = port;
    this.headers = Object.entries(headers)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('');
  }

  ask(asked: Asked, listener: Listener = {}): Promise<Answered> {
    this.asked = asked;
    this.listener = listener;
    this.head = '';
    this.status = 0;
    this.last = false;
    this.left = null;
    this.events = 0;
    this.sawNonce = false;
    this.sawDone = false;
    this.tail = NOTHING;
    this.chunks = this.newChunks();
    const head = `POST ${asked.path} HTTP/1.1\r\nhost: 127.0.0.1:${this.port}\r\ncontent-type: application/json\r\n${this.headers}content-length: ${asked.body.reduce((sum, { length }) => sum + length, 0)}\r\n\r\n`;
    return new Promise((resolve) => {
      this.done = resolve;
      const socket = this.socket ?? this.open();
      socket.cork();
      socket.write(head, 'latin1');
      for (const piece of asked.body) socket.write(piece);
      socket.uncork();
    });
  }

  close(): void {
    this.done = null;
    this.socket?.destroy();
  }

  private newChunks(): ChunkReader {
    return new ChunkReader((content) => this.look(content));
  }

  private open(): Socket {
    const socket = connect({ port: this.port, host: '127.0.0.1', noDelay: true });
    this.socket = socket;
    socket.on('data', (data: Buffer) => {
      if (this.socket === socket) this.data(data);
    });
    // What went wrong is told by the close that follows.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      // One that said that it would end has been let go of.
      if (this.socket !== socket) return;
      this.socket = null;
      this.finish('the connection was closed');
    });
    return socket;
  }

  private data(data: Buffer): void {
    let body = data;
    if (this.status === 0) {
      const text = this.head + data.toString('latin1');
      const end = text.indexOf(HEAD_END);
      if (end < 0) {
        this.head = text;
        return;
      }
      body = data.subarray(end + HEAD_END.length - this.head.length);
      const head = text.slice(0, end);
      this.status = Number(head.slice(9, 12));
      this.last = /\r\nconnection: close\b/i.test(head);
      const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
      this.left = length === undefined ? null : Number(length);
    }
    if (body.length > 0) this.take(body);
    const all = this.left === null ? this.chunks.ended || this.chunks.fault !== null : this.left <= 0;
    if (all && this.status !== 0) this.finish(null);
  }

  private take(body: Buffer): void {
    if (this.left !== null) {
      this.left -= body.length;
      this.look(body);
      return;
    }
    const before = this.events;
    this.chunks.read(body);
    if (this.events > before) this.listener.event?.(delayOf(body));
  }

  /** `content`: a piece of the answer, without its framing. Mostly one event; what was split over two shows in both together. */
  private look(content: Buffer): void {
    const whole = this.tail.length === 0 ? content : Buffer.concat([this.tail, content]);
    if (!this.sawNonce && this.asked !== null) this.sawNonce = whole.includes(`nonce:${this.asked.nonce}`);
    let rest = 0;
    for (let at = whole.indexOf(DATA); at !== -1; at = whole.indexOf(DATA, rest)) {
      this.events++;
      rest = at + DATA.length;
    }
    if (!this.sawDone) this.sawDone = whole.includes(DONE);
    // Of an event that ended nothing is waited for.
    this.tail = whole.at(-1) === LF ? NOTHING : whole.subarray(Math.max(rest, whole.length - JOINT));
  }

  private finish(broken: string | null): void {
    const { done, asked } = this;
    if (done === null || asked === null) return;
    this.done = null;
    if (this.last) {
      const { socket } = this;
      this.socket = null;
      socket?.destroy();
    }
    done({ status: this.status, fault: broken ?? this.faultOf(asked), events: this.events });
  }

  private faultOf(asked: Asked): string | null {
    if (this.left !== null && this.left < 0) return `${-this.left} bytes too many`;
    if (this.chunks.fault !== null) return this.chunks.fault;
    if (this.status === TOO_MANY) return null;
    if (this.status !== OK) return `status ${this.status}`;
    if (!this.sawNonce) return 'another answer than asked for';
    if (asked.events !== null && this.events !== asked.events) return `${this.events} events of ${asked.events}`;
    return asked.events !== null && !this.sawDone ? 'no last event' : null;
  }
}

function delayOf(body: Buffer): number {
  const at = body.indexOf(STAMP_SIGN) + STAMP_SIGN.length;
  return at < STAMP_SIGN.length ? 0 : now() - Number(body.toString('latin1', at, at + STAMP_DIGITS)) / 1_000;
}
