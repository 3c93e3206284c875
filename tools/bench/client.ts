/** One client connection of the load: keeps alive, checks every answer whole. */
import { connect, type Socket } from 'node:net';

export interface Asked {
  readonly path: string;
  readonly body: Buffer;
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

const HEAD_END = '\r\n\r\n';
const DATA = Buffer.from('data: {');
const DONE = Buffer.from('data: [DONE]');
const END_OF_CHUNKS = Buffer.from('0\r\n\r\n');
const TOO_MANY = 429;
const OK = 200;

export class LoadClient {
  private socket: Socket | null = null;
  private readonly port: number;
  private readonly headers: string;
  private asked: Asked | null = null;
  private done: ((answer: Answered) => void) | null = null;
  private onEvent: (() => void) | null = null;
  private head = '';
  private status = 0;
  private left = -1;
  private events = 0;
  private sawNonce = false;
  private sawDone = false;
  private tail: Buffer = Buffer.alloc(0);

  constructor(port: number, headers: Readonly<Record<string, string>>) {
    this.port = port;
    this.headers = Object.entries(headers)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('');
  }

  /** `onEvent`: called for each read that brings events. */
  ask(asked: Asked, onEvent: (() => void) | null = null): Promise<Answered> {
    this.asked = asked;
    this.onEvent = onEvent;
    this.head = '';
    this.status = 0;
    this.left = -1;
    this.events = 0;
    this.sawNonce = false;
    this.sawDone = false;
    this.tail = Buffer.alloc(0);
    const head = `POST ${asked.path} HTTP/1.1\r\nhost: 127.0.0.1:${this.port}\r\ncontent-type: application/json\r\n${this.headers}content-length: ${asked.body.length}\r\n\r\n`;
    return new Promise((resolve) => {
      this.done = resolve;
      const socket = this.socket ?? this.open();
      socket.cork();
      socket.write(head, 'latin1');
      socket.write(asked.body);
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
    socket.on('error', () => undefined);
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
    if (!this.sawNonce) this.sawNonce = body.includes(`nonce:${asked.nonce}`);
    if (this.left > 0) {
      this.left -= body.length;
      return;
    }
    let found = 0;
    for (let at = body.indexOf(DATA); at !== -1; at = body.indexOf(DATA, at + DATA.length)) found++;
    this.events += found;
    if (found > 0) this.onEvent?.();
    // What was split over two reads shows in the joint of their ends.
    const joint = this.tail.length === 0 ? body : Buffer.concat([this.tail, body]);
    if (!this.sawDone && joint.includes(DONE)) this.sawDone = true;
    if (this.sawDone && joint.subarray(-END_OF_CHUNKS.length).equals(END_OF_CHUNKS)) this.left = 0;
    this.tail = Buffer.from(joint.subarray(-24));
  }

  private finish(broken: string | null): void {
    const { done, asked } = this;
    if (done === null || asked === null) return;
    this.done = null;
    done({ status: this.status, fault: broken ?? this.faultOf(asked), events: this.events });
  }

  private faultOf(asked: Asked): string | null {
    if (this.status === TOO_MANY) return null;
    if (this.status !== OK) return `status ${this.status}`;
    if (!this.sawNonce) return 'another answer than asked for';
    // An event that two reads share is counted in neither.
    if (asked.events !== null && (this.events > asked.events || this.events < asked.events * 0.95)) {
      return `${this.events} events of ${asked.events}`;
    }
    return asked.events !== null && !this.sawDone ? 'no last event' : null;
  }
}
