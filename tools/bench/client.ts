/** One client connection of the load: keeps alive, checks every answer whole. */
import { connect, type Socket } from 'node:net';

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
const END_OF_CHUNKS = Buffer.from('0\r\n\r\n');
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
  private left = -1;
  private events = 0;
  private sawNonce = false;
  private sawDone = false;
  private tail = NOTHING;

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
    this.left = -1;
    this.events = 0;
    this.sawNonce = false;
    this.sawDone = false;
    this.tail = NOTHING;
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

  private open(): Socket {
    const socket = connect({ port: this.port, host: '127.0.0.1', noDelay: true });
    this.socket = socket;
    socket.on('data', (data: Buffer) => this.data(data));
    // What went wrong is told by the close that follows.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
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
      const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
      this.left = length === undefined ? -1 : Number(length);
    }
    if (body.length > 0) this.take(body);
    if (this.left === 0) this.finish(null);
  }

  private take(body: Buffer): void {
    const { asked } = this;
    if (asked === null) return;
    // What was split over two reads shows in the joint of their ends.
    const joint = this.tail.length === 0 ? NOTHING : Buffer.concat([this.tail, body.subarray(0, JOINT)]);
    if (!this.sawNonce) this.sawNonce = body.includes(`nonce:${asked.nonce}`) || joint.includes(`nonce:${asked.nonce}`);
    this.tail = body.length >= JOINT ? body.subarray(-JOINT) : Buffer.concat([this.tail, body]).subarray(-JOINT);
    if (this.left > 0) {
      this.left -= body.length;
      return;
    }
    const found = count(body) + split(joint, joint.length - Math.min(JOINT, body.length));
    this.events += found;
    if (found > 0) this.listener.event?.(delayOf(body));
    if (!this.sawDone) this.sawDone = body.includes(DONE) || joint.includes(DONE);
    if (this.sawDone && this.tail.subarray(-END_OF_CHUNKS.length).equals(END_OF_CHUNKS)) this.left = 0;
  }

  private finish(broken: string | null): void {
    const { done, asked } = this;
    if (done === null || asked === null) return;
    this.done = null;
    done({ status: this.status, fault: broken ?? this.faultOf(asked), events: this.events });
  }

  private faultOf(asked: Asked): string | null {
    if (this.left < 0) return `${-this.left} bytes too many`;
    if (this.status === TOO_MANY) return null;
    if (this.status !== OK) return `status ${this.status}`;
    if (!this.sawNonce) return 'another answer than asked for';
    if (asked.events !== null && this.events !== asked.events) return `${this.events} events of ${asked.events}`;
    return asked.events !== null && !this.sawDone ? 'no last event' : null;
  }
}

function count(body: Buffer): number {
  let found = 0;
  for (let at = body.indexOf(DATA); at !== -1; at = body.indexOf(DATA, at + DATA.length)) found++;
  return found;
}

/** Events whose first bytes stand before `seam` and whose last stand behind it. */
function split(joint: Buffer, seam: number): number {
  const from = Math.max(0, seam - DATA.length + 1);
  const at = joint.indexOf(DATA, from);
  return at !== -1 && at < seam ? 1 : 0;
}

function delayOf(body: Buffer): number {
  const at = body.indexOf(STAMP_SIGN) + STAMP_SIGN.length;
  return at < STAMP_SIGN.length ? 0 : now() - Number(body.toString('latin1', at, at + STAMP_DIGITS)) / 1_000;
}
