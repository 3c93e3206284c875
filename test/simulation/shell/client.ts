/** Clients of a world: each asks its requests in turn on a connection that it keeps, reads fast or slowly, and may leave. */
import type { Milliseconds } from '../../../src/units.ts';
import type { Random } from '../random.ts';
import { readAnswer, type ReadAnswer } from './answer-parser.ts';
import type { Time } from './time.ts';
import type { FarEnd, Party } from './wire.ts';

export type Leaving =
  | { readonly when: 'never' }
  | { readonly when: 'after'; readonly ms: Milliseconds }
  /** As soon as so many bytes of the answer have come; 1 = at its head. */
  | { readonly when: 'bytes'; readonly count: number }
  | { readonly when: 'done' };

export interface Order {
  readonly nonce: string;
  readonly model: string;
  readonly stream: boolean;
  readonly pad: number;
  /** Before it is asked. */
  readonly pauseMs: Milliseconds;
  readonly leaving: Leaving;
  /** How it leaves: both ways closed, its own half alone, or without a word. */
  readonly how: 'close' | 'half' | 'reset';
  /** Between two readings; 0 = reads at once. */
  readonly readEveryMs: Milliseconds;
  /** Its body comes in two parts, so long apart. */
  readonly bodyPauseMs: Milliseconds;
}

/** One request and what came of it, as its client saw it. */
export interface Exchange {
  readonly order: Order;
  readonly askedAt: Milliseconds;
  /** Which life of the gateway took the connection. */
  readonly life: number;
  bytes: Buffer;
  answer: ReadAnswer | null;
  /** The client left before its end. */
  left: boolean;
  over: boolean;
  /** The whole request was sent before the client left. */
  sentAll: boolean;
}

export interface ClientWorld {
  readonly time: Time;
  readonly connect: () => { readonly far: FarEnd; readonly life: number } | undefined;
  readonly begun: (exchange: Exchange) => void;
  readonly ended: (exchange: Exchange) => void;
}

/** Slow readers lose patience with themselves: byte by byte a large answer would take an hour. */
const SLOW_READS = 400;
const LAST_CHUNK = '0\r\n\r\n';
/** Bytes of an answer's end in which its last chunk is looked for. */
const TAIL = 16;
/** Pieces after which it is read in any case. */
const LOOK_EVERY = 50;
const RETRY_CONNECT: Milliseconds = 500;

export class Client implements Party {
  readonly #world: ClientWorld;
  readonly #random: Random;
  readonly #orders: Order[];
  #far: FarEnd | null = null;
  #life = 0;
  #current: Exchange | null = null;
  #slowReads = 0;
  #pieces = 0;
  done = false;

  constructor(world: ClientWorld, random: Random, orders: readonly Order[]) {
    this.#world = world;
    this.#random = random;
    this.#orders = [...orders];
    this.#next();
  }

  received(bytes: Buffer): void {
    const exchange = this.#current;
    if (exchange === null) return;
    exchange.bytes = exchange.bytes.length === 0 ? bytes : Buffer.concat([exchange.bytes, bytes]);
    const answer = this.#read(exchange);
    const { leaving, readEveryMs } = exchange.order;
    if (leaving.when === 'bytes' && exchange.bytes.length >= leaving.count && answer?.complete !== true) {
      this.#leave(exchange);
    } else if (answer !== null && (answer.complete || answer.malformed !== null)) {
      this.#finish(exchange);
    } else if (readEveryMs > 0 && this.#slowReads < SLOW_READS) {
      this.#slowReads += 1;
      this.#far?.pauseReading();
      const far = this.#far;
      this.#world.time.after(this.#random.around(readEveryMs), () => far?.resumeReading());
    }
  }

  ended(): void {
    const far = this.#far;
    this.#far = null;
    far?.end();
    const exchange = this.#current;
    if (exchange === null) return;
    exchange.answer = readAnswer(exchange.bytes, true);
    this.#finish(exchange);
  }

  /** Read anew where something may have changed: its head has come, or what looks like its end. Long ones are long to read. */
  #read(exchange: Exchange): ReadAnswer | null {
    this.#pieces += 1;
    const { answer, bytes } = exchange;
    const looksWhole = answer?.fields.get('transfer-encoding') !== 'chunked' || bytes.includes(LAST_CHUNK, -TAIL);
    if (looksWhole || this.#pieces % LOOK_EVERY === 0) exchange.answer = readAnswer(bytes, false);
    return exchange.answer;
  }

  #next(): void {
    const order = this.#orders.shift();
    if (order === undefined) {
      this.done = true;
      this.#far?.end();
      return;
    }
    this.#world.time.after(order.pauseMs, () => this.#ask(order));
  }

  #ask(order: Order): void {
    if (this.#far === null) {
      const found = this.#world.connect();
      if (found === undefined) {
        this.#world.time.after(RETRY_CONNECT, () => this.#ask(order));
        return;
      }
      this.#far = found.far;
      this.#life = found.life;
      found.far.party = this;
    }
    const far = this.#far;
    const exchange: Exchange = {
      order,
      askedAt: this.#world.time.now,
      life: this.#life,
      bytes: Buffer.alloc(0),
      answer: null,
      left: false,
      over: false,
      sentAll: false,
    };
    this.#current = exchange;
    this.#slowReads = 0;
    this.#world.begun(exchange);
    this.#send(far, exchange);
    if (order.leaving.when === 'after') {
      this.#world.time.after(order.leaving.ms, () => {
        if (!exchange.over) this.#leave(exchange);
      });
    }
  }

  #send(far: FarEnd, exchange: Exchange): void {
    const { nonce, model, stream, pad, bodyPauseMs } = exchange.order;
    const body = JSON.stringify({ messages: [{ content: 'x'.repeat(pad) }], user: nonce, stream, model });
    const head =
      `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n` +
      `x-request-id: ${nonce}\r\ncontent-length: ${body.length}\r\n\r\n`;
    const split = bodyPauseMs === 0 ? body.length : body.length >> 1;
    far.send(head + body.slice(0, split));
    if (bodyPauseMs === 0) {
      exchange.sentAll = true;
      return;
    }
    this.#world.time.after(bodyPauseMs, () => {
      if (exchange.over || this.#far !== far) return;
      far.send(body.slice(split));
      exchange.sentAll = true;
    });
  }

  #leave(exchange: Exchange): void {
    exchange.left = true;
    const far = this.#far;
    this.#far = null;
    if (far !== null) {
      far.party = null;
      if (exchange.order.how === 'reset') far.cut();
      else far.end();
      // Whoever has closed its side does not stand in the way of what comes.
      far.resumeReading();
    }
    this.#finish(exchange);
  }

  #finish(exchange: Exchange): void {
    if (exchange.over) return;
    exchange.over = true;
    if (this.#far !== null || exchange.left) exchange.answer = readAnswer(exchange.bytes, false);
    this.#current = null;
    this.#world.ended(exchange);
    const { answer, order } = exchange;
    const last = answer === null || answer.fields.get('connection') === 'close' || !answer.complete;
    if (this.#far !== null && (last || order.leaving.when === 'done')) {
      const far = this.#far;
      this.#far = null;
      far.party = null;
      far.end();
    }
    this.#next();
  }
}
