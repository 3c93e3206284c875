/**
 * Accepts for all workers, and hands each connection to the one that has the fewest: a socket that they all listened on would
 * give a burst to whoever wakes first. It listens from the first moment to the last, whichever workers live.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Address } from '../proxy/proxy.ts';
import type { Logger } from '../telemetry/telemetry.ts';
import type { WorkerHandle } from './worker-handle.ts';

/** As of a listener of this process. */
const BACKLOG = 4_096;

type Taker = Pick<WorkerHandle, 'serves' | 'connections' | 'travelling' | 'hand'>;

export interface ConnectionHallOptions {
  readonly workers: () => readonly Taker[];
  readonly log: Logger;
  /** Connections of clients, all workers together and those that wait here included: beyond it they are closed at once. */
  readonly limit: number;
  /** Of one worker: its descriptors are its own. */
  readonly limitOfWorker: number;
  /** Of those that wait here, or have not arrived where they were handed to: they have descriptors of this process. */
  readonly limitWaiting: number;
}

export class ConnectionHall {
  readonly #options: ConnectionHallOptions;
  readonly #server: Server;
  /** Accepted, and no worker can take them yet. */
  #waiting: Socket[] = [];

  constructor(options: ConnectionHallOptions) {
    this.#options = options;
    // Nothing is read here: the first byte is the worker's.
    this.#server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  listen({ host, port }: Address): Promise<{ readonly port: number }> {
    const server = this.#server;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, backlog: BACKLOG }, () => {
        server.off('error', reject);
        server.on('error', (error) => this.#options.log.error({ err: error }, 'a listener failed'));
        resolve({ port: (server.address() as AddressInfo).port });
      });
    });
  }

  /** Hands over what waits, as far as there is somebody to take it. */
  dispatch(): void {
    while (this.#waiting.length > 0) {
      const worker = this.#least();
      if (worker === null) return;
      const socket = this.#waiting.shift();
      if (socket) worker.hand(socket);
    }
  }

  close(): void {
    if (this.#server.listening) this.#server.close();
    for (const socket of this.#waiting) socket.destroy();
    this.#waiting = [];
  }

  #accept(socket: Socket): void {
    socket.on('error', () => undefined);
    const { workers, limit, limitWaiting } = this.#options;
    let open = this.#waiting.length;
    let here = open;
    for (const { connections, travelling } of workers()) {
      open += connections;
      here += travelling;
    }
    if (open >= limit || here >= limitWaiting) {
      socket.destroy();
      return;
    }
    this.#waiting.push(socket);
    this.dispatch();
  }

  #least(): Taker | null {
    let least: Taker | null = null;
    for (const worker of this.#options.workers()) {
      if (!worker.serves || worker.connections >= this.#options.limitOfWorker) continue;
      if (least === null || worker.connections < least.connections) least = worker;
    }
    return least;
  }
}
