/**
 * A pretended engine for measurements: answers at the least cost that Node allows. What it does stands in the request's body:
 * `"stream":true` with `"max_tokens":N` events, `"every":MS` between them (0 = as fast as the sockets take them, one event of each
 * stream per turn of the loop), `"hold":MS` before a plain answer, and `nonce:WORD`, which comes back in every answer. An event
 * carries the moment it was sent: `@` and microseconds of the machine's monotonic clock, 16 digits.
 *
 *   node tools/bench/engine.mjs --port 9100 [--tell FILE]
 *
 * `--tell`: a line with the wall clock in microseconds once it listens.
 */
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:net';
import process from 'node:process';

const HEAD_END = Buffer.from('\r\n\r\n');
const JSON_FILLER = 'x'.repeat(700);
const EVENT_FILLER = 'y'.repeat(120);
const STAMP_DIGITS = 16;
const LAST = Buffer.from('e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n', 'latin1');
const STREAM_HEAD =
  'HTTP/1.1 200 OK\r\ndate: now\r\nserver: bench\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n';
/** The asks of a connection end within so many bytes of its end: a long prompt comes before. */
const TAIL = 512;

/**
 * @param {string} head
 * @param {Buffer} body
 */
function readAsk(head, body) {
  const tail = body.toString('latin1', Math.max(0, body.length - TAIL));
  /** @param {string} name */
  const number = (name) => Number(new RegExp(`"${name}":(\\d+)`).exec(tail)?.[1] ?? 0);
  return {
    path: head.slice(head.indexOf(' ') + 1, head.indexOf(' ', head.indexOf(' ') + 1)),
    stream: tail.includes('"stream":true'),
    events: number('max_tokens'),
    every: number('every'),
    hold: number('hold'),
    nonce: /nonce:(\w+)/.exec(tail)?.[1] ?? '',
  };
}

/** @param {string} body */
const plain = (body) =>
  `HTTP/1.1 200 OK\r\ndate: now\r\nserver: bench\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

/** @param {string} nonce */
function eventParts(nonce) {
  const before = `data: {"id":"bench","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"nonce:${nonce} @`;
  const after = ` ${EVENT_FILLER}"}}]}\n\n`;
  const size = before.length + STAMP_DIGITS + after.length;
  return { before: `${size.toString(16)}\r\n${before}`, after: `${after}\r\n` };
}

const stamp = () => String(process.hrtime.bigint() / 1000n).padStart(STAMP_DIGITS, '0');

/** Streams that nothing paces. @type {Set<() => void>} */
const eager = new Set();
let turning = false;

function turn() {
  for (const step of eager) step();
  turning = eager.size > 0;
  if (turning) setImmediate(turn);
}

class Connection {
  /** @type {Buffer[]} */
  received = [];
  size = 0;
  need = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer;

  /** @param {import('node:net').Socket} socket */
  constructor(socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (data) => this.data(data));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => clearInterval(this.timer));
  }

  /** @param {Buffer} data */
  data(data) {
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

  /** @param {ReturnType<typeof readAsk>} ask */
  answer(ask) {
    if (ask.path === '/health') this.socket.write(plain('{}'));
    else if (ask.path === '/v1/models') this.socket.write(plain('{"object":"list","data":[{"id":"bench"}]}'));
    else if (ask.stream) this.stream(ask);
    else {
      const body = `{"id":"bench","choices":[{"message":{"role":"assistant","content":"nonce:${ask.nonce} ${JSON_FILLER}"}}]}`;
      if (ask.hold === 0) this.socket.write(plain(body), 'latin1');
      else this.timer = setTimeout(() => this.socket.write(plain(body), 'latin1'), ask.hold);
    }
  }

  /** @param {ReturnType<typeof readAsk>} ask */
  stream(ask) {
    const { socket } = this;
    const { before, after } = eventParts(ask.nonce);
    let left = ask.events;
    socket.write(STREAM_HEAD, 'latin1');
    const one = () => socket.write(`${before}${stamp()}${after}`, 'latin1');
    if (ask.every > 0) {
      // Streams of one moment do not tick together.
      this.timer = setTimeout(() => {
        this.timer = setInterval(() => {
          if (left-- > 0) one();
          else {
            clearInterval(this.timer);
            socket.write(LAST);
          }
        }, ask.every);
      }, Math.random() * ask.every);
      return;
    }
    const step = () => {
      if (socket.destroyed) eager.delete(step);
      else if (left === 0) {
        eager.delete(step);
        socket.write(LAST);
      } else if (!socket.writableNeedDrain) {
        left -= 1;
        one();
      }
    };
    eager.add(step);
    if (turning) return;
    turning = true;
    setImmediate(turn);
  }
}

/** @param {string} name */
const flag = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);

const server = createServer((socket) => void new Connection(socket));
server.listen({ port: Number(flag('--port')), host: '127.0.0.1', backlog: 4_096 }, () => {
  const file = flag('--tell');
  if (file !== undefined) appendFileSync(file, `${Math.round((performance.timeOrigin + performance.now()) * 1_000)}\n`);
});
process.on('SIGTERM', () => process.exit(0));
