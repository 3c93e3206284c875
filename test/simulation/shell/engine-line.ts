/** One connection to an engine: requests are read, answered as their manner says, and noted. */
import type { Milliseconds } from '../../../src/units.ts';
import { Random } from '../random.ts';
import { bodyOf, errorOf, eventsOf, GOING_DOWN, mannerOf, type Asked, type Manner } from './answers.ts';
import { check } from './checks.ts';
import type { EngineProcess } from './engine.ts';
import type { FarEnd, Party } from './wire.ts';

/** One request that reached an engine, and what became of it there. */
export interface Reception {
  readonly nonce: string;
  readonly engine: EngineProcess;
  readonly line: EngineLine;
  readonly manner: Manner;
  readonly asked: Asked;
  /** The model that the request names, and the key it came with. */
  readonly model: string;
  readonly authorization: string;
  /** The connection had served before. */
  readonly reused: boolean;
  /** Bytes of the answer, head included, that were sent off. */
  sent: number;
  /** The whole answer was sent, rightly ended. */
  complete: boolean;
  /** When the whole of it reaches the gateway; never while it is not complete. */
  arrivesAt: Milliseconds;
  /** Nothing more will be sent. */
  over: boolean;
}

const EXTRA = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}';
const HEAD_END = '\r\n\r\n';

export class EngineLine implements Party {
  private readonly engine: EngineProcess;
  private readonly far: FarEnd;
  private text = Buffer.alloc(0);
  private served = 0;
  private current: Reception | null = null;
  private closed = false;
  private saidClose = false;

  constructor(engine: EngineProcess, far: FarEnd) {
    this.engine = engine;
    this.far = far;
    far.party = this;
  }

  /** It has a request that the gateway has not given up. */
  get isWorking(): boolean {
    return this.current !== null && !this.far.abandoned;
  }

  /** The gateway was there when the whole answer arrived. */
  hasDelivered({ arrivesAt }: Reception): boolean {
    return arrivesAt < this.far.letGoAt;
  }

  isWorkingOn(reception: Reception): boolean {
    return this.isWorking && this.current === reception;
  }

  received(bytes: Buffer): void {
    check('used_closing', !this.saidClose, () => 'a connection is used that its engine said it would close');
    if (this.closed) return;
    this.text = Buffer.concat([this.text, bytes]);
    const at = this.text.indexOf(HEAD_END);
    if (at === -1 || this.current !== null) return;
    const head = this.text.toString('latin1', 0, at);
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
    const end = at + HEAD_END.length + length;
    if (this.text.length < end) return;
    const body = this.text.toString('utf8', at + HEAD_END.length, end);
    this.text = this.text.subarray(end);
    this.begin(head, body);
  }

  ended(): void {
    this.close();
  }

  /** The process or its system ends the connection. */
  cut(): void {
    this.far.cut();
    this.close();
  }

  private close(): void {
    if (this.closed) return;
    this.closed = true;
    this.far.end();
    this.engine.lines.delete(this);
    this.over();
  }

  private over(): void {
    if (this.current === null) return;
    this.current.over = true;
    this.current = null;
  }

  private begin(head: string, body: string): void {
    const { engine } = this;
    const { model, stream, user } = JSON.parse(body) as { model: string; stream?: boolean; user: string };
    const asked = { nonce: user, stream: stream === true };
    const random = new Random(engine.world.seed, `manner ${user} ${engine.process.pid}`);
    const reception: Reception = {
      nonce: user,
      engine,
      line: this,
      manner: mannerOf(random, engine.world.rules().temper),
      asked,
      model,
      authorization: /\r\nauthorization: ([^\r]*)/i.exec(head)?.[1] ?? '',
      reused: this.served > 0,
      sent: 0,
      complete: false,
      arrivesAt: Number.POSITIVE_INFINITY,
      over: false,
    };
    this.served += 1;
    this.current = reception;
    engine.world.received(reception);
    this.after(reception, reception.manner.thinkMs, () => this.answer(reception));
  }

  private after(reception: Reception, delay: number, act: () => void): void {
    this.engine.after(delay, () => {
      if (!this.closed && this.current === reception) act();
    });
  }

  private send(reception: Reception, text: string): void {
    if (this.far.send(text)) reception.sent += Buffer.byteLength(text);
  }

  private answer(reception: Reception): void {
    const { manner, nonce } = reception;
    const length = (body: string): string => `content-length: ${Buffer.byteLength(body)}\r\n`;
    const json = 'content-type: application/json\r\n';
    const whole = (status: number, fields: string, body: string): void => {
      this.write(reception, [`HTTP/1.1 ${status} Status\r\n${fields}${length(body)}\r\n${body}`], 'length');
    };
    switch (manner.fault) {
      case 'error':
        return whole(manner.status, json, errorOf(nonce, 'the engine says no'));
      case 'going_down':
        return whole(500, json, errorOf(nonce, GOING_DOWN));
      case 'not_http':
        this.send(reception, 'SSH-2.0-OpenSSH_9.2\r\n');
        return this.close();
      case 'encoded':
        return whole(200, `${json}content-encoding: gzip\r\n`, '?');
      case 'redirect':
        return whole(307, 'location: http://elsewhere/\r\n', '');
      case 'interims':
        return this.send(reception, 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(20));
      default:
        return this.good(reception);
    }
  }

  private good(reception: Reception): void {
    const { manner, asked, nonce, engine } = reception;
    const { framing } = manner;
    const type = asked.stream ? 'text/event-stream; charset=utf-8' : 'application/json';
    const parts = asked.stream ? [...eventsOf(asked, manner, engine.served)] : [bodyOf(asked, manner, engine.served)];
    if (asked.stream && manner.fault === 'error_event')
      parts.unshift(`data: ${errorOf(nonce, 'the engine gave up')}\n\n`);
    const bytes = Buffer.byteLength(parts.join(''));
    const fields = {
      length: `content-length: ${bytes}\r\n`,
      chunked: 'transfer-encoding: chunked\r\n',
      until_closed: '',
    }[framing];
    const closing = manner.closes === 'announced' ? 'connection: close\r\n' : '';
    const pieces = [`HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\n${closing}${fields}\r\n`];
    for (let from = 0; from < parts.length; from += manner.perWrite) {
      const piece = parts.slice(from, from + manner.perWrite).join('');
      pieces.push(framing === 'chunked' ? `${Buffer.byteLength(piece).toString(16)}\r\n${piece}\r\n` : piece);
    }
    if (framing === 'chunked') pieces.push('0\r\n\r\n');
    this.write(reception, pieces, framing);
  }

  /** Piece by piece, until the fault strikes. */
  private write(reception: Reception, pieces: readonly string[], framing: Manner['framing']): void {
    const { manner } = reception;
    const strikes = ['truncated', 'reset', 'hang', 'crash'].includes(manner.fault);
    const total = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const limit = strikes ? Math.floor(Math.min(manner.faultAt * total, total - 1)) : Number.POSITIVE_INFINITY;
    const next = (index: number): void => {
      const piece = pieces[index];
      if (piece === undefined) return this.finish(reception, framing);
      const left = limit - reception.sent;
      if (left < piece.length) {
        if (left > 0) this.send(reception, piece.slice(0, left));
        return this.strike(reception);
      }
      const last = index === pieces.length - 1;
      // In the same piece as the end: what comes later nobody can tell from the answer to the next request.
      const extra = last && manner.fault === 'extra_bytes' && framing !== 'until_closed';
      if (last) reception.complete = true;
      if (extra) this.far.send(`${piece}${EXTRA}`, true);
      else this.send(reception, piece);
      if (last) reception.arrivesAt = this.far.arrivesAt;
      this.engine.generated += 1;
      // The last bytes of chunks come with what they end.
      const gap = piece === '0\r\n\r\n' || pieces[index + 1] === '0\r\n\r\n' ? 0 : manner.gapMs;
      this.after(reception, gap, () => next(index + 1));
    };
    next(0);
  }

  private strike(reception: Reception): void {
    const { engine } = this;
    const { fault } = reception.manner;
    engine.world.mark(`engine.${fault}`);
    if (fault === 'hang') return;
    if (fault === 'crash') {
      engine.exit(1);
    } else if (fault === 'reset') {
      this.cut();
    } else {
      this.close();
    }
  }

  private finish(reception: Reception, framing: Manner['framing']): void {
    const { manner } = reception;
    this.over();
    this.saidClose = manner.closes === 'announced' && manner.fault === 'none';
    if (framing === 'until_closed' || manner.closes !== 'no') this.close();
    else if (this.text.length > 0) this.received(Buffer.alloc(0));
  }
}
