/**
 * A pretended engine for measurements: answers at once, or as a paced or an endless stream, at the least cost. What it
 * does stands in the request's body: `"max_tokens":N` events, `"every":MS` between them (0 = as fast as the socket takes
 * them), and `nonce:WORD`, which comes back in every answer.
 *
 *   tsx tools/bench/engine.ts --port 9100
 */
import { createServer, type Socket } from 'node:net';

const HEAD_END = Buffer.from('\r\n\r\n');
const JSON_FILLER = 'x'.repeat(700);
const EVENT_FILLER = 'y'.repeat(120);
/** Events written at once when nothing paces them. */
const BURST = 16;

interface Ask {
  readonly path: string;
  readonly stream: boolean;
  readonly events: number;
  readonly every: number;
  readonly nonce: string;
}

function readAsk(head: string, body: Buffer): Ask {
  // All of it stands at the end: a long prompt comes before.
  const tail = body.toString('latin1', Math.max(0, body.length - 512));
  const number = (name: string): number => Number(new RegExp(`"${name}":(\\d+)`).exec(tail)?.[1] ?? 0);
  return {
    path: head.slice(head.indexOf(' ') + 1, head.indexOf(' ', head.indexOf(' ') + 1)),
    stream: tail.includes('"stream":true'),
    events: number('max_tokens'),
    every: number('every'),
    nonce: /nonce:(\w+)/.exec(tail)?.[1] ?? '',
  };
}

const event = (nonce: string): Buffer => {
  const text = `data: {"id":"bench","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"nonce:${nonce} ${EVENT_FILLER}"}}]}\n\n`;
  return Buffer.from(`${text.length.toString(16)}\r\n${text}\r\n`, 'latin1');
};

const LAST = Buffer.from('e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n', 'latin1');
const STREAM_HEAD =
  'HTTP/1.1 200 OK\r\ndate: now\r\nserver: bench\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n';

function plain(body: string): string {
  return `HTTP/1.1 200 OK\r\ndate: now\r\nserver: bench\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

class Connection {
  private received: Buffer[] = [];
  private size = 0;
  private need = 0;
  private readonly socket: Socket;
  private timer: NodeJS.Timeout | null = null;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (data: Buffer) => this.data(data));
    socket.on('error', () => undefined);
    socket.on('close', () => this.timer?.[Symbol.dispose]());
  }

  private data(data: Buffer): void {
    this.received.push(data);
    this.size += data.length;
    if (this.size < this.need) return;
    let all = this.received.length === 1 ? data : Buffer.concat(this.received);
    for (;;) {
      const end = all.indexOf(HEAD_END);
      const head = end < 0 ? '' : all.toString('latin1', 0, end);
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      this.need = end < 0 ? 0 : end + HEAD_END.length + length;
      if (end < 0 || all.length < this.need) break;
      this.answer(readAsk(head, all.subarray(end + HEAD_END.length, this.need)));
      all = all.subarray(this.need);
      this.need = 0;
    }
    this.received = all.length > 0 ? [all] : [];
    this.size = all.length;
  }

  private answer(ask: Ask): void {
    if (ask.path === '/health') this.socket.write(plain('{}'));
    else if (ask.path === '/v1/models') this.socket.write(plain('{"object":"list","data":[{"id":"bench"}]}'));
    else if (ask.stream) this.stream(ask);
    else {
      this.socket.write(
        plain(
          `{"id":"bench","choices":[{"message":{"role":"assistant","content":"nonce:${ask.nonce} ${JSON_FILLER}"}}]}`,
        ),
      );
    }
  }

  private stream(ask: Ask): void {
    const one = event(ask.nonce);
    this.socket.write(STREAM_HEAD, 'latin1');
    let left = ask.events;
    if (ask.every === 0) {
      const go = (): void => {
        while (left > 0 && !this.socket.destroyed) {
          let ready = true;
          for (let count = 0; count < BURST && left > 0; count++, left--) ready = this.socket.write(one);
          if (!ready) {
            this.socket.once('drain', go);
            return;
          }
        }
        this.socket.write(LAST);
      };
      go();
      return;
    }
    // Streams of one moment do not tick together.
    setTimeout(() => {
      this.timer = setInterval(() => {
        if (left-- > 0) this.socket.write(one);
        else {
          clearInterval(this.timer ?? undefined);
          this.socket.write(LAST);
        }
      }, ask.every);
    }, Math.random() * ask.every);
  }
}

const port = Number(process.argv[process.argv.indexOf('--port') + 1]);
const server = createServer((socket) => void new Connection(socket));
server.listen({ port, host: '127.0.0.1', backlog: 4_096 });
process.on('SIGTERM', () => process.exit(0));
