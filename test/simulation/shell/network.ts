/** The loopback of a world: a gateway's server without a port of the system's, and its way to engines. */
import { Server, type ServerOptions } from 'node:http';
import type { AddressInfo, OnReadOpts, Socket } from 'node:net';
import type { Network } from '../../../src/proxy/network.ts';
import { TIMER_MAX, type Bytes } from '../../../src/units.ts';
import type { Random } from '../random.ts';
import type { Time } from './time.ts';
import { WireSocket, type FarEnd, type WireRules } from './wire.ts';

const PORT = 9_000;

/** Node's own server, parser and response objects; only the listening is ours. */
class WireServer extends Server {
  readonly #sockets = new Set<Socket>();
  #open = false;
  #closed: (() => void)[] = [];

  constructor(options: ServerOptions) {
    // Its look for late heads goes by the clock of the system, which means nothing here.
    super({ ...options, connectionsCheckingInterval: TIMER_MAX });
    Object.defineProperty(this, 'listening', { get: () => this.#open });
    this.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        this.#settle();
      });
    });
  }

  override listen(...given: unknown[]): this {
    const told = given.at(-1);
    this.#open = true;
    this.emit('listening');
    if (typeof told === 'function') queueMicrotask(() => told());
    return this;
  }

  override address(): AddressInfo {
    return { address: '127.0.0.1', family: 'IPv4', port: PORT };
  }

  override close(told?: (error?: Error) => void): this {
    this.#open = false;
    super.close(() => undefined);
    this.#closed.push(() => told?.());
    this.#settle();
    return this;
  }

  #settle(): void {
    if (this.#open || this.#sockets.size > 0) return;
    for (const told of this.#closed.splice(0)) told();
  }
}

/** Who listens at a port. */
export interface Listening {
  readonly listening: boolean;
  accept(far: FarEnd): void;
}

export interface LoopbackOptions {
  readonly time: Time;
  /** The process whose loopback it is. */
  readonly life: { readonly alive: boolean };
  /** How a connection to a port goes. */
  readonly engines: { fate(port: number, random: Random): Listening | 'refused' | 'swallowed' };
  readonly random: Random;
  readonly rules: () => WireRules;
}

export class Loopback implements Network {
  readonly #options: LoopbackOptions;
  readonly #servers: WireServer[] = [];
  readonly #sockets = new Set<WireSocket>();

  constructor(options: LoopbackOptions) {
    this.#options = options;
  }

  /** Sockets that this process holds. */
  get open(): number {
    return this.#sockets.size;
  }

  /** The most that one of them holds of what the other side has not taken. */
  get mostBuffered(): Bytes {
    let most = 0;
    for (const socket of this.#sockets) most = Math.max(most, socket.writableLength);
    return most;
  }

  get accepts(): boolean {
    return this.#options.life.alive && this.#servers.some((server) => server.listening);
  }

  createServer(options: ServerOptions): Server {
    const server = new WireServer(options);
    this.#servers.push(server);
    return server;
  }

  connect({ port, onread }: { readonly port: number; readonly onread?: OnReadOpts }): Socket {
    const { time, random, rules, engines } = this.#options;
    const socket = this.#socket(false);
    socket.connecting = true;
    if (onread !== undefined) socket.on('data', (bytes: Buffer) => handOver(bytes, onread));
    const fate = engines.fate(port, random);
    if (fate === 'swallowed') return socket as unknown as Socket;
    time.after(random.next() * rules().latencyMs, () => {
      if (!this.#options.life.alive || socket.destroyed) return;
      socket.connecting = false;
      if (fate === 'refused' || !fate.listening) {
        socket.broken('ECONNREFUSED');
      } else {
        fate.accept(socket.far);
        socket.emit('connect');
      }
    });
    return socket as unknown as Socket;
  }

  /** A client's new connection; undefined = refused. */
  accept(): FarEnd | undefined {
    const server = this.#servers.find((one) => one.listening);
    if (server === undefined || !this.#options.life.alive) return undefined;
    const socket = this.#socket(true);
    server.emit('connection', socket);
    return socket.far;
  }

  /** The process is gone: its system tells everybody at the other ends. */
  orphan(): void {
    for (const socket of this.#sockets) socket.far.orphaned();
    this.#sockets.clear();
  }

  #socket(halfOpen: boolean): WireSocket {
    const { time, random, rules, life } = this.#options;
    const socket = new WireSocket({ time, random, rules: rules(), halfOpen, alive: () => life.alive });
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    return socket;
  }
}

/** As Node's sockets do where they are given a buffer to read into. */
function handOver(bytes: Buffer, { buffer, callback }: OnReadOpts): void {
  const room = typeof buffer === 'function' ? buffer() : buffer;
  room.set(bytes);
  callback(bytes.length, room);
}
