/**
 * A TCP proxy on loopback that does to connections what networks do: late, slow, in pieces, cut, reset, silent, corrupted,
 * parted. `up` is what goes to the target, `down` what comes back. Bytes are counted per connection and direction, from when
 * the toxics were set: so a fault can be placed in the middle of an exchange on a connection that has served before.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface Strike {
  /** So many bytes pass before it. */
  readonly byte: number;
  /**
   * `cut`: both ends get a FIN. `reset`: both get a RST. `stall`: nothing more, and nothing closes. `corrupt`: that one byte
   * becomes another. `half-close`: a FIN in this direction alone.
   */
  readonly does: 'cut' | 'reset' | 'stall' | 'corrupt' | 'half-close';
  /** Only the first connection that gets so far. */
  readonly once?: boolean;
}

export interface Toxics {
  /** Every piece is so much late, in milliseconds. */
  readonly latency?: number;
  /** Later still by up to so much, in milliseconds, differently each time and the same in every run. */
  readonly jitter?: number;
  /** Bytes per second. */
  readonly bandwidth?: number;
  /** No piece is longer, in bytes, and each is a packet of its own. */
  readonly slice?: number;
  readonly at?: Strike;
}

export interface AllToxics {
  readonly up?: Toxics;
  readonly down?: Toxics;
  /** A connection on which nothing moved for so long gets a FIN at both ends, in milliseconds. */
  readonly closeIdle?: number;
}

/** What becomes of a new connection: `ignore` accepts it and never reads it. */
export type Accepting = 'pass' | 'reset' | 'ignore';

const BYTE = 0xff;

export class FaultProxy implements AsyncDisposable {
  /** Port on loopback that new connections go to. */
  target: number;
  accepting: Accepting = 'pass';
  /** Connections accepted so far. */
  accepted = 0;
  /** Bytes passed on so far, over all connections. */
  readonly passed = { up: 0, down: 0 };
  readonly #links = new Set<Link>();
  #server: Server;
  #port = 0;
  #toxics: AllToxics = {};
  readonly #struck = new Set<Strike>();
  #parted = false;
  readonly #waiting: (() => void)[] = [];

  private constructor(target: number) {
    this.target = target;
    this.#server = this.#listener();
  }

  static async listen(target: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    await proxy.#bind(0);
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  get open(): number {
    return this.#links.size;
  }

  get toxics(): AllToxics {
    return this.#toxics;
  }

  /** Hold for open connections too, which are counted anew. */
  set toxics(toxics: AllToxics) {
    this.#toxics = toxics;
    this.#struck.clear();
    for (const link of this.#links) link.countAnew();
  }

  /** New connections are refused; open ones go on. */
  async refuse(): Promise<void> {
    const closing = this.#server;
    await new Promise<void>((resolve) => {
      closing.close(() => resolve());
      // The server waits for what it accepted; its port is free at once.
      setImmediate(resolve);
    });
  }

  /** On the same port. */
  async listenAgain(): Promise<void> {
    if (this.#server.listening) return;
    this.#server = this.#listener();
    await this.#bind(this.#port);
  }

  /** No byte and no end passes either way, on open connections or new ones; what is sent meanwhile arrives after `heal`. */
  partition(): void {
    this.#parted = true;
  }

  heal(): void {
    this.#parted = false;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** Ends every open connection, at both ends. */
  endAll(how: 'fin' | 'reset'): void {
    for (const link of [...this.#links]) link.end(how);
  }

  /** Everything as at the beginning; open connections stay. */
  async restore(): Promise<void> {
    this.accepting = 'pass';
    this.toxics = {};
    this.heal();
    await this.listenAgain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.heal();
    this.endAll('reset');
    await this.refuse();
  }

  /** For the connections: resolves at once unless parted. */
  async whole(): Promise<void> {
    while (this.#parted) await new Promise<void>((go) => this.#waiting.push(go));
  }

  /** For the connections: false when it strikes only once and has. */
  strikes(strike: Strike): boolean {
    if (strike.once === true && this.#struck.has(strike)) return false;
    this.#struck.add(strike);
    return true;
  }

  closed(link: Link): void {
    this.#links.delete(link);
  }

  #listener(): Server {
    return createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => this.#take(socket));
  }

  async #bind(port: number): Promise<void> {
    this.#server.listen(port, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : 0;
  }

  #take(near: Socket): void {
    this.accepted += 1;
    near.on('error', () => undefined);
    if (this.accepting === 'reset') near.resetAndDestroy();
    else this.#links.add(new Link(this, near, this.accepting === 'ignore' ? null : this.target));
  }
}

/** One connection and its continuation. */
class Link {
  readonly #proxy: FaultProxy;
  readonly #near: Socket;
  readonly #far: Socket | null;
  #counted = { up: 0, down: 0 };
  #movedAt = performance.now();
  #watch: NodeJS.Timeout | null = null;
  #stalled = false;
  #random = 1;

  constructor(proxy: FaultProxy, near: Socket, target: number | null) {
    this.#proxy = proxy;
    this.#near = near;
    this.#far =
      target === null ? null : connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    near.once('close', () => this.#oneClosed(near, this.#far));
    this.#far?.on('error', () => undefined).once('close', () => this.#oneClosed(this.#far, near));
    if (this.#far === null) return;
    void this.#pass('up', near, this.#far);
    void this.#pass('down', this.#far, near);
    this.#watchIdle();
  }

  countAnew(): void {
    this.#counted = { up: 0, down: 0 };
    this.#movedAt = performance.now();
    this.#watchIdle();
  }

  end(how: 'fin' | 'reset'): void {
    for (const socket of [this.#near, this.#far]) {
      if (how === 'fin') socket?.destroySoon();
      else socket?.resetAndDestroy();
    }
  }

  #watchIdle(): void {
    if (this.#watch !== null) clearTimeout(this.#watch);
    this.#watch = null;
    const { closeIdle } = this.#proxy.toxics;
    if (closeIdle === undefined || this.#near.destroyed) return;
    const left = this.#movedAt + closeIdle - performance.now();
    if (left <= 0) this.end('fin');
    else this.#watch = setTimeout(() => this.#watchIdle(), left);
  }

  #oneClosed(closed: Socket | null, other: Socket | null): void {
    if (this.#watch !== null) clearTimeout(this.#watch);
    void this.#proxy.whole().then(() => {
      this.#proxy.closed(this);
      // A FIN has gone through #pass(); what ends otherwise was reset, or refused.
      if (other === null || other.destroyed) return;
      if (closed?.readableEnded === true && closed.errored === null) other.destroySoon();
      else other.resetAndDestroy();
    });
  }

  async #pass(way: 'up' | 'down', from: Socket, to: Socket): Promise<void> {
    try {
      for await (const read of from.iterator({ destroyOnReturn: false })) {
        for (const piece of this.#pieces(read as Buffer, way)) {
          await this.#proxy.whole();
          if (!(await this.#passPiece(way, piece, to))) return;
        }
      }
      await this.#proxy.whole();
      if (!to.destroyed) to.end();
      // Who is gone waits for nothing more.
      if (this.#stalled) this.end('fin');
    } catch {
      // It was reset: told in #oneClosed().
    }
  }

  #pieces(read: Buffer, way: 'up' | 'down'): readonly Buffer[] {
    const size = this.#proxy.toxics[way]?.slice ?? read.length;
    const pieces: Buffer[] = [];
    for (let at = 0; at < read.length; at += size) pieces.push(read.subarray(at, at + size));
    return pieces;
  }

  /** False: nothing more in this direction. */
  async #passPiece(way: 'up' | 'down', piece: Buffer, to: Socket): Promise<boolean> {
    const { latency = 0, jitter = 0, bandwidth, at } = this.#proxy.toxics[way] ?? {};
    const wait = latency + jitter * this.#chance() + (bandwidth === undefined ? 0 : (piece.length / bandwidth) * 1_000);
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    const before = this.#counted[way];
    const hit = at !== undefined && at.byte >= before && at.byte < before + piece.length && this.#proxy.strikes(at);
    if (!hit) return this.#write(way, piece, to);
    if (at.does === 'corrupt') {
      const other = Buffer.from(piece);
      other[at.byte - before] = (other[at.byte - before] ?? 0) ^ BYTE;
      return this.#write(way, other, to);
    }
    const rest = piece.subarray(0, at.byte - before);
    if (rest.length > 0) await this.#write(way, rest, to);
    if (at.does === 'stall') this.#stalled = true;
    else if (at.does === 'half-close') to.end();
    else if (at.does === 'cut') this.end('fin');
    else if (at.does === 'reset') await this.#resetAfter(rest, to);
    return false;
  }

  /** A RST throws away what the receiver has not read: it comes when what was to pass has arrived. */
  async #resetAfter(sent: Buffer, to: Socket): Promise<void> {
    if (sent.length > 0) await new Promise((resolve) => setTimeout(resolve, ARRIVES_MS));
    if (to.destroyed) return;
    this.end('reset');
  }

  async #write(way: 'up' | 'down', piece: Buffer, to: Socket): Promise<boolean> {
    if (to.destroyed) return false;
    this.#counted[way] += piece.length;
    this.#proxy.passed[way] += piece.length;
    this.#movedAt = performance.now();
    if (!to.write(piece)) await Promise.race([once(to, 'drain'), once(to, 'close')]);
    return !to.destroyed;
  }

  /** From 0 to 1. */
  #chance(): number {
    this.#random = (Math.imul(this.#random, 1_664_525) + 1_013_904_223) >>> 0;
    return this.#random / 2 ** 32;
  }
}

const ARRIVES_MS = 20;
