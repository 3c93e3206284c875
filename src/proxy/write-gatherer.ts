/**
 * One write per client and turn of the loop: what several readings cause for one client goes out together, and all
 * readings of a turn come before all writes.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../platform/platform.ts';

export class WriteGatherer {
  private readonly clock: Clock;
  private held: Socket[] = [];

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Holds this socket's writes back until the end of the turn. */
  hold(socket: Socket): void {
    if (socket.writableCorked > 0) return;
    socket.cork();
    if (this.held.push(socket) === 1) this.clock.afterReads(this.release);
  }

  private readonly release = (): void => {
    const sockets = this.held;
    this.held = [];
    for (const socket of sockets) socket.uncork();
  };
}
