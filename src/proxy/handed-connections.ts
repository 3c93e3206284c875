/** Connections that another process has accepted: a server that binds nothing, and is given them one by one. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export class HandedConnections {
  /** The listener of these connections; null before it listens and once it accepts no more. */
  private server: Server | null = null;
  private readonly open = new Set<Socket>();
  private readonly emptied: (() => void)[] = [];
  private readonly gone: () => void;

  /** `gone` is called once for each connection that was given: when it is closed. */
  constructor(gone: () => void = () => undefined) {
    this.gone = gone;
  }

  attach(server: Server): void {
    this.server = server;
    // What Node does of its own when a server listens: it begins to look for heads that are overdue.
    server.emit('listening');
  }

  give(socket: Socket): void {
    this.open.add(socket);
    socket.once('close', () => {
      this.open.delete(socket);
      this.gone();
      if (this.open.size > 0) return;
      for (const tell of this.emptied.splice(0)) tell();
    });
    // https://nodejs.org/api/http.html#event-connection: a server takes connections that it has not accepted itself.
    if (this.server === null) socket.destroy();
    else this.server.emit('connection', socket);
  }

  /** None is taken any more; resolves when the last is closed. */
  async detach(): Promise<void> {
    this.server?.close();
    this.server = null;
    if (this.open.size === 0) return;
    await new Promise<void>((resolve) => {
      this.emptied.push(resolve);
    });
  }
}
